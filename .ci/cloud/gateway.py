"""Adds API Gateway behaviour to LocalStack: gateway responses, binary and compressed requests, signatures, and usage plans' rates
and quotas.

Sources, all in the API Gateway Developer Guide: "Gateway responses for REST APIs", "Enable payload compression for an API",
"Working with binary media types for REST APIs", "Variables for data transformations",
"Usage plans and API keys for REST APIs". With IAM authorization, `userArn` identifies the principal.
"""

import base64
import gzip
import io
import json
import re
import threading
import time
import zlib
from collections import Counter

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from localstack.aws.app import LocalstackAwsGateway
from localstack.http import Response
from localstack.services.apigateway.helpers import get_rest_api_container
from localstack.services.apigateway.legacy import provider
from localstack.services.apigateway.next_gen.execute_api import gateway_response
from localstack.services.apigateway.next_gen.execute_api.handlers import api_key_validation, gateway_exception, parse
from localstack.services.apigateway.next_gen.execute_api.integrations import aws
from localstack.services.apigateway.next_gen.execute_api.moto_helpers import get_usage_plan_keys, get_usage_plans

# The largest request that API Gateway accepts ("Amazon API Gateway quotas").
MAX_PAYLOAD = 10 * 1024 * 1024

EXTENSION = "x-amazon-apigateway-gateway-responses"

# A variable in a gateway response template. A variable without a value becomes an empty string.
VARIABLE = re.compile(r"\$context\.([A-Za-z]+(?:\.[A-Za-z]+)*)")


# The Authorization header of a signed request. The scope consists of the date, the region and the service.
SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=test/\d{8}/(?P<region>[\w-]+)/execute-api/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[\w;-]+), ?Signature=(?P<signature>\w+)"
)

# The ids of the APIs that require signed requests.
SIGNED_APIS = set()


def import_gateway_responses(import_api):
    """Wraps LocalStack's import of an OpenAPI document, so that it keeps the document's gateway responses and IAM authorization."""

    def wrapped(rest_api, context, request):
        document = request["body"].read()
        request["body"] = io.BytesIO(document)
        result = import_api(rest_api, context=context, request=request)
        responses = get_rest_api_container(context, request["restApiId"]).gateway_responses
        responses.clear()
        document = json.loads(document)
        if any("AWS_IAM" in of for of in document["paths"]["/"]["post"]["security"]):
            SIGNED_APIS.add(request["restApiId"])
        for kind, of in document.get(EXTENSION, {}).items():
            responses[kind] = gateway_response.build_gateway_response(
                kind,
                status_code=str(of["statusCode"]) if "statusCode" in of else None,
                response_parameters=of.get("responseParameters"),
                response_templates=of.get("responseTemplates"),
                default_response=False,
            )
        return result

    return wrapped


def respond(self, exception, context):
    """Renders the gateway response of an error: its status, headers and template."""
    kind = exception.type.value if hasattr(exception.type, "value") else exception.type
    response = gateway_response.get_gateway_response_or_default(kind, context.deployment.rest_api.gateway_responses)
    status = int(response.get("statusCode") or exception.status_code or 500)
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": exception.code}
    for name, value in (response.get("responseParameters") or {}).items():
        headers[name.removeprefix("gatewayresponse.header.")] = value.strip("'")
    template = (response.get("responseTemplates") or {}).get("application/json", '{"message":$context.error.messageString}')
    # `messageString` is a quoted JSON string; LocalStack stores the message without quotes.
    error = {**context.context_variables["error"], "messageString": json.dumps(exception.message), "responseType": kind}
    variables = {**context.context_variables, "error": error}

    def value(match):
        found = variables
        for name in match[1].split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return "" if found is None else str(found)

    return Response(VARIABLE.sub(value, template), headers=headers, status=status)


def is_signed(request):
    """Returns whether botocore computes the same signature for the request."""
    found = SIGNATURE.fullmatch(request.headers.get("Authorization", ""))
    if not found:
        return False
    names = [name for name in found["headers"].split(";") if name != "host"]
    headers = {name: request.headers[name] for name in names}
    signed = AWSRequest(request.method, request.url, headers, request.environ["attest.body"])
    signed.context["timestamp"] = request.headers["X-Amz-Date"]
    signer = SigV4Auth(Credentials("test", "test"), "execute-api", found["region"])
    return signer.signature(signer.string_to_sign(signed, signer.canonical_request(signed)), signed) == found["signature"]


def keep_body(chain, context, response):
    """Keeps the raw bytes of an API request, before LocalStack parses forms and decompresses gzip."""
    request = context.request
    if request.path.startswith("/_aws/execute-api/"):
        request.environ["attest.body"] = request.get_data(cache=True)
        request.environ["attest.is_signed"] = is_signed(request)
        request.environ["attest.encoding"] = request.headers.get("Content-Encoding", "identity").lower()
        request.headers.remove("Content-Encoding")


def decompress(request):
    body = request.environ["attest.body"]
    try:
        match request.environ["attest.encoding"]:
            case "identity":
                pass
            case "gzip":
                body = gzip.decompress(body)
            case "deflate":
                body = zlib.decompress(body)
            case _:
                raise gateway_response.UnsupportedMediaTypeError("Unsupported Media Type")
    except (OSError, EOFError, zlib.error):
        raise gateway_response.UnsupportedMediaTypeError("Unsupported Media Type") from None
    if len(body) > MAX_PAYLOAD:
        raise gateway_response.RequestTooLargeError("Request Too Long")
    return body


def prepare(parser, chain, context, response):
    """Initializes the context as LocalStack does, and then reads the body, so that its errors can be rendered."""
    prepare.original(parser, chain, context, response)
    context.invocation_request["body"] = decompress(context.request)


def proxy_event(integration, context):
    """Creates the event for the function. Its body is base64 if the media type is binary, and text otherwise.

    In text, bytes that are not UTF-8 are replaced. LocalStack alone would decide by the body's bytes.
    """
    event = proxy_event.original(integration, context)
    body = context.integration_request["body"]
    binary = context.deployment.rest_api.rest_api.get("binaryMediaTypes") or []
    is_binary = "*/*" in binary or context.invocation_request["headers"].get("Content-Type") in binary
    event["body"] = (base64.b64encode(body).decode() if is_binary else body.decode(errors="replace")) or None
    event["isBase64Encoded"] = is_binary
    return event


def returns_binary(mime_type, binary_media_types):
    """Returns whether a function's base64 response is decoded. LocalStack does not treat `*/*` as every media type."""
    return "*/*" in binary_media_types or returns_binary.original(mime_type, binary_media_types)


class Buckets:
    """A token bucket per API key: `rate` tokens per second, at most `burst` at once."""

    def __init__(self):
        self.lock, self.buckets = threading.Lock(), {}

    def take(self, key, rate, burst):
        with self.lock:
            now = time.monotonic()
            tokens, since = self.buckets.get(key, (burst, now))
            tokens = min(burst, tokens + (now - since) * rate)
            self.buckets[key] = (tokens - 1 if tokens >= 1 else tokens, now)
            return tokens >= 1


BUCKETS = Buckets()

# Counts the requests per API key.
REQUESTS = Counter()


def authorize(handler, chain, context, response):
    """Checks the signature, then the API key as LocalStack does, then the rate and the quota of its usage plan."""
    if context.api_id in SIGNED_APIS:
        if not context.request.environ["attest.is_signed"]:
            raise gateway_response.MissingAuthTokenError("Missing Authentication Token")
        context.context_variables["identity"]["userArn"] = f"arn:aws:iam::{context.account_id}:root"
    authorize.original(handler, chain, context, response)
    key = context.context_variables["identity"].get("apiKeyId")
    where = {"account_id": context.account_id, "region_name": context.region}
    for plan in get_usage_plans(**where):
        rate, quota = plan.get("throttle") or {}, plan.get("quota") or {}
        is_of_stage = any(stage.get("apiId") == context.api_id for stage in plan.get("apiStages", []))
        if not key or not is_of_stage or not any(of["id"] == key for of in get_usage_plan_keys(usage_plan_id=plan["id"], **where)):
            continue
        if rate.get("rateLimit") and not BUCKETS.take(key, float(rate["rateLimit"]), float(rate.get("burstLimit") or 1)):
            raise gateway_response.ThrottledError("Too Many Requests")
        REQUESTS[key] += 1
        if quota.get("limit") and REQUESTS[key] > int(quota["limit"]):
            raise gateway_response.QuotaExceededError("Limit Exceeded")


def replace(owner, name, function):
    """Replaces a function of a class or a module. The replacement calls the former one as `function.original`."""
    function.original = getattr(owner, name)
    setattr(owner, name, function)


def install():
    provider.import_api_from_openapi_spec = import_gateway_responses(provider.import_api_from_openapi_spec)
    gateway_exception.GatewayExceptionHandler.create_exception_response = respond
    parse.restore_payload = lambda request: b""
    replace(parse.InvocationRequestParser, "__call__", prepare)
    replace(aws.RestApiAwsProxyIntegration, "create_lambda_input_event", proxy_event)
    replace(aws, "mime_type_matches_binary_media_types", returns_binary)
    replace(api_key_validation.ApiKeyValidationHandler, "__call__", authorize)
    initialize = LocalstackAwsGateway.__init__

    def initialize_and_keep_body(self, *arguments):
        initialize(self, *arguments)
        self.request_handlers.insert(0, keep_body)

    LocalstackAwsGateway.__init__ = initialize_and_keep_body
