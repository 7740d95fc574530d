"""Tests that the default stack stores spans and log records from a real exporter, and that `off` removes the routes and the function."""

import gzip
import json
import secrets
import time

import boto3
import pytest
from check import check, failures, unchecked
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from stack import Stack, trace
from variants import iam, kms_key, processed, resolve, works

QUESTION = [{"role": "user", "parts": [{"type": "text", "content": "Which port is the oldest?"}]}]
ANSWER = [{"role": "assistant", "parts": [{"type": "text", "content": "Byblos."}], "finish_reason": "stop"}]
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.input.messages": json.dumps(QUESTION),
    "gen_ai.output.messages": json.dumps(ANSWER),
    "gen_ai.usage.input_tokens": 7,
}
MESSAGES = [("user", "Which port is the oldest?"), ("assistant", "Byblos.")]


class Results:
    """An exporter that remembers what the real one returned for each batch."""

    def __init__(self, exporter):
        self.exporter, self.results = exporter, []

    def export(self, spans):
        self.results.append(self.exporter.export(spans))
        return self.results[-1]

    def __getattr__(self, name):
        return getattr(self.exporter, name)


def export(stack, count, **attributes):
    """Exports spans with the exporter's own code: protobuf, compressed with gzip. Returns its results and the ids of the spans."""
    exporter = Results(OTLPSpanExporter(f"{stack.url}/v1/traces", headers={"x-api-key": stack.key}, compression=Compression.Gzip))
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    spans = []
    for _ in range(count):
        span = provider.get_tracer("shop").start_span("chat gpt-4o", attributes={**CALL, **attributes})
        span.end()
        spans.append(span.get_span_context())
    provider.shutdown()
    return exporter.results, [f"{span.trace_id:032x}-{span.span_id:016x}" for span in spans]


def attribute(name, value):
    return {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def batch(**attributes):
    """Returns a batch of one span in OTLP's JSON encoding, and the id of its trace."""
    ids = {"traceId": secrets.token_hex(16), "spanId": secrets.token_hex(8)}
    attributes = [attribute(name, value) for name, value in {**CALL, **attributes}.items()]
    span = {**ids, "name": "chat", "startTimeUnixNano": str(time.time_ns()), "attributes": attributes}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}, "-".join(ids.values())


def stored(stack, key):
    """Returns the model, the messages and the whole span of a stored trace."""
    found = json.loads(stack.object(key))
    return found["model"], [(of["role"], of["content"]) for of in found["messages"]], found["otel"]


@pytest.fixture(scope="module")
def spans(aws):
    return Stack(aws, "open-telemetry").deploy(AlarmEmail="ops@example.com")


def is_absent(stack):
    """Asserts that the stack has neither OpenTelemetry routes nor resources, and stores plain traces."""
    body, _ = batch()
    for path in ("/v1/traces", "/v1/logs"):
        answer = stack.post(body, path, Content_Type="application/json")
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:attest:problem:gateway"), answer.text
    assert not [name for name in stack.resources() if name.startswith("Otlp")]
    assert "OtelLogGroup" not in stack.outputs
    works(stack)


def test_every_span_of_the_real_exporter_is_stored_once(spans):
    results, ids = export(spans, 600)
    assert set(results) == {SpanExportResult.SUCCESS}
    assert len(results) > 1
    keys = [key for key in spans.keys() if key.startswith("gpt-4o/") and key.removeprefix("gpt-4o/") in ids]
    assert sorted(keys) == sorted(f"gpt-4o/{of}" for of in ids)
    model, messages, otel = stored(spans, keys[0])
    assert (model, messages) == ("gpt-4o", MESSAGES)
    assert attribute("gen_ai.usage.input_tokens", 7) in otel["span"]["attributes"]
    assert otel["scope"]["name"] == "shop"
    # A plain trace goes to the other function, but the object's metadata states the same writer.
    plain = works(spans)
    assert spans.s3.head_object(Bucket=spans.bucket, Key=keys[0])["Metadata"] == plain["Metadata"]


def test_check_proves_the_promises_about_spans(spans):
    lines, left = check(spans)
    assert not failures(lines)
    assert not {"OpenTelemetry is off", "the endpoint has no route for OpenTelemetry"} & set(unchecked(lines).values())
    assert left == []


def test_json_with_and_without_gzip_is_stored_and_a_repeat_changes_nothing(spans):
    body, of = batch(**{"gen_ai.request.model": "json"})
    sent = json.dumps(body).encode()
    for headers in ({}, {"Content_Encoding": "gzip"}, {}):
        answer = spans.post(gzip.compress(sent) if headers else sent, "/v1/traces", Content_Type="application/json", **headers)
        assert (answer.status_code, answer.json()) == (200, {}), answer.text
        assert answer.headers["Content-Type"] == "application/json"
    assert [key for key in spans.keys() if key.startswith("json/")] == [f"json/{of}"]
    assert stored(spans, f"json/{of}")[:2] == ("json", MESSAGES)


def test_a_complete_log_record_is_stored(spans):
    record = {
        "eventName": "gen_ai.client.inference.operation.details",
        "timeUnixNano": str(time.time_ns()),
        "attributes": [attribute(name, value) for name, value in {**CALL, "gen_ai.request.model": "log"}.items()],
    }
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    answer = spans.post(body, "/v1/logs", Content_Type="application/json")
    assert (answer.status_code, answer.json()) == (200, {}), answer.text
    [key] = [key for key in spans.keys() if key.startswith("log/")]
    assert stored(spans, key)[:2] == ("log", MESSAGES)


def test_refusals_are_of_the_kind_that_an_exporter_does_not_repeat(spans):
    body, _ = batch()
    no_key = spans.post(body, "/v1/traces", key="wrong", Content_Type="application/json")
    assert (no_key.status_code, no_key.json()["type"]) == (403, "urn:attest:problem:forbidden")
    not_otlp = spans.post(b"\xff", "/v1/traces", Content_Type="application/x-protobuf")
    assert (not_otlp.status_code, not_otlp.headers["Content-Type"]) == (400, "application/x-protobuf")
    assert not_otlp.content.startswith(b"\x08\x03")  # google.rpc.Status with the code INVALID_ARGUMENT
    other_signal = spans.post(b"{}", "/v1/metrics", Content_Type="application/json")
    assert (other_signal.status_code, other_signal.json()["type"]) == (403, "urn:attest:problem:gateway")


def test_the_log_line_has_the_counts_and_no_content(spans):
    secret = secrets.token_hex(16)
    body, _ = batch(**{"gen_ai.system_instructions": secret})
    assert spans.post(body, "/v1/traces", Content_Type="application/json").status_code == 200
    logs = boto3.client("logs")

    def lines():
        events = logs.get_paginator("filter_log_events").paginate(logGroupName=spans.outputs["OtelLogGroup"])
        return [event["message"] for page in events for event in page["events"]]

    deadline = time.monotonic() + 60
    while not (found := [line for line in lines() if '"SpansStored":1' in line.replace(" ", "")]):
        assert time.monotonic() < deadline, lines()
        time.sleep(0.2)
    assert not [line for line in lines() if secret in line or "Byblos" in line]
    metrics = json.loads(found[0])["_aws"]["CloudWatchMetrics"][0]
    assert {"SpansReceived", "SpansStored", "SpansRejected"} <= {of["Name"] for of in metrics["Metrics"]}


def test_the_function_has_alarms_and_the_rights_of_the_storing_function_alone(spans):
    template = processed(spans)
    alarms = boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]
    function = [{"Name": "FunctionName", "Value": spans.named("OtlpFunction")}]
    found = {of["MetricName"] for of in alarms if of["Dimensions"] == function}
    assert found == {"SpansRejected", "BatchesRefused", "BatchesFailed", "Errors", "Throttles"}
    # LocalStack does not enforce policies, so this reads the deployed roles.
    roles = [template[name]["Properties"] for name in ("FunctionRole", "OtlpRole")]
    assert [of["ManagedPolicyArns"] for of in roles] == [[{"Ref": "StorePolicy"}]] * 2
    for role in roles:
        [statement] = [of for policy in role["Policies"] for of in policy["PolicyDocument"]["Statement"]]
        assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    # LocalStack has no dashboards.
    [_, names] = template["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    row = resolve(names["OtelRow"]["Fn::If"][1], {"OtlpFunction": "f", "AWS::Region": "us-east-1"})
    assert len(json.loads(f"[{row.removeprefix(',')}]")) == 3


def test_signatures_and_the_key_of_kms_apply_to_spans_too(aws):
    stack = Stack(aws, "Signed-Spans").deploy(**iam(), **kms_key())
    body, of = batch(**{"gen_ai.request.model": "signed"})
    unsigned, _ = export(stack, 1)
    assert unsigned == [SpanExportResult.FAILURE]
    answer = stack.post(body, "/v1/traces", Content_Type="application/json")
    assert (answer.status_code, answer.json()) == (200, {}), answer.text
    head = stack.s3.head_object(Bucket=stack.bucket, Key=f"signed/{of}")
    assert head["ServerSideEncryption"] == "aws:kms"
    assert "api-key-id" in head["Metadata"]
    lines, _ = check(stack)
    assert not failures(lines)
    assert "OpenTelemetry is off" not in unchecked(lines).values()
    security = processed(stack)["TraceApi"]["Properties"]["Body"]["paths"]["/v1/traces"]["Fn::If"][1]["post"]["Fn::If"][1]["security"]
    assert {"AWS_IAM": []} in security and {"api_key": []} in security


def test_off_removes_the_routes_and_the_function_and_keeps_the_traces_and_the_default_adds_them(spans):
    before = set(spans.keys())
    function = spans.named("OtlpFunction")
    spans.deploy(OpenTelemetry="off")
    is_absent(spans)
    assert before <= set(spans.keys())
    names = [of["FunctionName"] for of in boto3.client("lambda").list_functions()["Functions"]]
    assert function not in names
    spans.deploy()
    results, _ = export(spans, 1)
    assert results == [SpanExportResult.SUCCESS]
    assert spans.post(trace()).status_code == 201
