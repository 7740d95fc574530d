"""Tests that the default stack's endpoint keeps its contract through API Gateway."""

import base64
import gzip
import json
import re
import subprocess
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from stack import ROOT, trace

LIMIT = 4 * 1024 * 1024

# The expected status for each event. `repeated_id` repeats the id of `all_fields`.
EVENTS = {
    "tests/prod_attest.json": 201,
    "events/all_fields.json": 201,
    "events/base64.json": 201,
    "events/idempotency_key.json": 201,
    "events/minimal.json": 201,
    "events/not_json.json": 400,
    "events/not_utf8.json": 400,
    "events/repeated_id.json": 409,
    "events/schema_violations.json": 400,
}


def problem(answer, status, kind):
    """Asserts that a response is a problem of this kind, and returns it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["status"]) == (f"urn:attest:problem:{kind}", status)
    assert body["title"] and body["detail"]
    return body


def test_the_command_of_the_readme_stores_a_trace(stack):
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    local = "http://127.0.0.1:9080/prod -H 'x-api-key: …'"
    [command] = [block for block in blocks if block.startswith(f"curl -X POST {local}")]
    command = command.replace(local, f"{stack.url} -H 'x-api-key: {stack.key}'")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    stored = json.loads(stack.object(json.loads(done.stdout)["key"]))
    assert stored["messages"] == [{"role": "user", "content": "Hello!"}]


def test_every_event_has_an_expected_status():
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "events").rglob("*.json")]
    assert sorted(files) == sorted(EVENTS.keys() - {"tests/prod_attest.json"})


def test_every_event_is_answered_as_the_request_it_came_from(stack):
    for file, status in EVENTS.items():
        event = json.loads((ROOT / file).read_text())
        body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
        names = ("Content-Type", "Content-Encoding", "Idempotency-Key")
        headers = {name: value for name, value in event["headers"].items() if name in names}
        answer = stack.post(body, event["path"].rstrip("/"), **headers)
        assert answer.status_code == status, (file, answer.text)
        if status == 201:
            stored = stack.object(answer.json()["key"])
            sent = json.loads(body)
            assert {name: value for name, value in json.loads(stored).items() if name in sent} == sent, file


def test_what_is_stored_is_what_was_sent(stack):
    sent = '{"model":"Ünïcode/ß","created":1,"messages":[],"id":"a","object":"o","system_fingerprint":"f","n":1.10e400}'
    answer = stack.post(sent.encode())
    assert answer.status_code == 201
    assert stack.object(answer.json()["key"]) == sent.encode()


def test_repeated_requests_are_answered_with_200(stack):
    sent = trace(id=str(uuid.uuid4()))
    answers = [stack.post(sent) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert len({answer.text for answer in answers}) == 1


def test_an_idempotency_key_makes_repeats_safe_without_an_id(stack):
    key = str(uuid.uuid4())
    answers = [stack.post(trace(), Idempotency_Key=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]


def test_a_different_trace_under_a_taken_id_is_a_conflict(stack):
    taken = str(uuid.uuid4())
    first = stack.post(trace(id=taken))
    problem(stack.post(trace(id=taken, created=2)), 409, "taken")
    assert json.loads(stack.object(first.json()["key"]))["created"] == 1795305600


@pytest.mark.parametrize("is_same", [True, False])
def test_of_64_requests_with_one_id_exactly_one_is_stored(stack, is_same):
    shared = str(uuid.uuid4())
    with ThreadPoolExecutor(64) as pool:
        traces = [trace(id=shared, created=1 if is_same else n) for n in range(64)]
        statuses = sorted(answer.status_code for answer in pool.map(stack.post, traces))
    assert statuses == ([200] * 63 + [201] if is_same else [201] + [409] * 63)


def sized(size):
    """Returns a trace of exactly this many bytes."""
    whole = json.dumps(trace(padding="", id=str(uuid.uuid4())))
    return whole.replace('"padding": ""', f'"padding": "{"x" * (size - len(whole))}"').encode()


def test_a_trace_at_the_limit_is_stored(stack):
    body = sized(LIMIT)
    assert len(body) == LIMIT
    assert stack.post(body).status_code == 201


def test_a_trace_one_byte_over_the_limit_is_refused(stack):
    assert str(LIMIT) in problem(stack.post(sized(LIMIT + 1)), 413, "too-large")["detail"]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_requests_are_decompressed(stack, encoding, compress, content_type):
    body = json.dumps(trace(id=str(uuid.uuid4()), object="o", system_fingerprint="f")).encode()
    answer = stack.post(compress(body), Content_Encoding=encoding, Content_Type=content_type)
    assert answer.status_code == 201, answer.text
    assert stack.object(answer.json()["key"]) == body


def test_invalid_bodies_are_refused_with_the_place_of_each_error(stack):
    assert "UTF-8" in problem(stack.post(b'{"model": "\xff"}'), 400, "not-utf8")["detail"]
    syntax = problem(stack.post('{"model":\n oops}'), 400, "not-json")
    assert (syntax["line"], syntax["column"]) == (2, 2)
    invalid = problem(stack.post(trace(created="now", messages=[{"role": 1}])), 400, "invalid")
    assert {"/created", "/messages/0/role"} <= {error["pointer"] for error in invalid["errors"]}


def test_errors_of_the_gateway_are_problem_details(stack):
    problem(stack.post(trace(), key="wrong"), 403, "forbidden")
    problem(stack.post(trace(), "/no/such/route"), 403, "gateway")
    problem(stack.post(trace(), Content_Encoding="br"), 415, "gateway")
    problem(stack.post(b"not gzip", Content_Encoding="gzip"), 415, "gateway")


def test_every_gateway_response_renders_as_problem_details(stack):
    # The documented variables, as API Gateway fills them in. Any other variable stays empty, and would break the JSON.
    variables = {"$context.error.messageString": '"a \\"message\\""', "$context.error.responseType": "TYPE"}
    found = boto3.client("apigateway").get_gateway_responses(restApiId=stack.api)["items"]
    defined = {of["responseType"]: of for of in found if not of["defaultResponse"]}
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "THROTTLED", "INTEGRATION_TIMEOUT"} <= defined.keys()
    for kind, of in defined.items():
        template = of["responseTemplates"]["application/json"]
        for name, value in variables.items():
            template = template.replace(name, value)
        body = json.loads(re.sub(r"\$context\.[\w.]+", "", template))
        assert str(body.get("status")) == str(of.get("statusCode")), kind
        assert body["type"].startswith("urn:attest:problem:") and body["title"] and body["detail"], kind
        assert of["responseParameters"]["gatewayresponse.header.Content-Type"] == "'application/problem+json'", kind


def test_a_key_over_its_rate_is_throttled_with_problem_details(stack):
    gateway = boto3.client("apigateway")
    stages = [{"apiId": stack.api, "stage": "prod"}]
    plan = gateway.create_usage_plan(name="slow", apiStages=stages, throttle={"rateLimit": 1, "burstLimit": 1})["id"]
    key = gateway.create_api_key(name="slow", enabled=True)
    gateway.create_usage_plan_key(usagePlanId=plan, keyId=key["id"], keyType="API_KEY")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: stack.post(trace(), key=key["value"]), range(8)))
    refused = [answer for answer in answers if answer.status_code != 201]
    assert refused
    for answer in refused:
        problem(answer, 429, "throttled")
        assert answer.headers["Retry-After"] == "1"


def test_the_log_has_a_line_per_request_and_no_content(stack):
    secret = str(uuid.uuid4())
    sent = trace(messages=[{"role": "user", "content": secret}])
    key = stack.post(sent).json()["key"]
    stack.post(trace(messages=[{"role": secret, "content": 1}]))
    lines = eventually(lambda: log_lines(stack), lambda lines: any(key in line for line in lines))
    [line] = [json.loads(line) for line in lines if key in line]
    assert line["status"] == 201
    assert not any(secret in line for line in lines)


def log_lines(stack):
    pages = boto3.client("logs").get_paginator("filter_log_events").paginate(logGroupName=stack.outputs["LogGroup"])
    return [event["message"] for page in pages for event in page["events"]]


def eventually(read, is_there, seconds=60):
    """Reads repeatedly until an asynchronous write is visible."""
    deadline = time.monotonic() + seconds
    while not is_there(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_the_binary_is_built_for_the_architecture(stack):
    function = boto3.client("lambda").get_function(FunctionName=stack.function)
    architecture = function["Configuration"]["Architectures"]
    machine = Path(ROOT / ".aws-sam/build/OlmoeAttestS3LoggingFunction/bootstrap").read_bytes()[18:20]
    # e_machine of ELF: 62 is x86-64, 183 is AArch64.
    assert {62: ["x86_64"], 183: ["arm64"]}[int.from_bytes(machine, "little")] == architecture
