"""Tests that every kind of response is logged: mislabelled streams, bodies that are not JSON objects, background responses."""

import gzip
import json

import brotli
import httpx2
import openai
import pytest
from test_capture import COMPLETION, MESSAGES, RESPONSE, STREAMS, provider

import attest_client
from attest_client import body, capture, streams
from stand_ins import Server


@pytest.fixture
def server():
    with Server(provider) as server:
        yield server


ANSWERS = {
    "a stream labelled as text": ("text/plain", True, "stream"),
    "a stream labelled as JSON": ("application/json", True, "stream"),
    "a stream in another case": ("Text/Event-Stream; charset=utf-8", False, "stream"),
    "a stream without a label": (None, True, "stream"),
    "a stream that was not asked for": (None, False, "stream"),
    "lines of JSON": ("application/x-ndjson", True, "lines"),
    "one chunk as JSON": ("application/json", True, "chunk"),
    "JSON labelled as a stream": ("text/event-stream", True, "json"),
    "JSON in UTF-16": ("application/json", False, "utf-16"),
    "JSON after a byte order mark": ("application/json", False, "bom"),
}
HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
CHUNKS = [
    {**HEAD, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    for text, finish in (("Blue ", None), ("whale", "stop"))
]
BODIES = {
    "stream": b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in CHUNKS),
    "lines": b"".join(json.dumps(chunk).encode() + b"\n" for chunk in CHUNKS),
    "chunk": json.dumps(CHUNKS[1]).replace("whale", "Blue whale").encode(),
    "json": COMPLETION.replace(b"Hi", b"Blue whale"),
    "utf-16": COMPLETION.replace(b"Hi", b"Blue whale").decode().encode("utf-16"),
    "bom": b"\xef\xbb\xbf" + COMPLETION.replace(b"Hi", b"Blue whale"),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_an_answer_is_a_stream_because_of_what_was_asked_and_what_arrives(logged, answer, size):
    label, is_asked, body = ANSWERS[answer]
    content = BODIES[body]
    parts = (content[at : at + size] for at in range(0, len(content), size))
    headers = {"content-type": label} if label else {}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=parts))
    client = attest_client.http_client(transport=transport)
    with client.stream("POST", "http://h/v1/chat/completions", json={"model": "m", "stream": is_asked}) as response:
        assert response.read() == content
    [trace] = logged()
    assert trace["messages"][-1]["content"].startswith("Blue whale")
    assert "incomplete" not in trace and "error" not in trace


UNPARSED = {
    "a list": (b'[{"text": "Blue whale"}]', [{"text": "Blue whale"}], "the body is not a JSON object"),
    "a text": (b"<p>Blue whale", "<p>Blue whale", "the body is not JSON"),
    "nothing": (b"", "", "the body is not JSON"),
    "bytes": (b"\xff\xfd\x01", "//0B", "the body is not text"),
    "too many levels": (b"[" * 1_000 + b"]" * 1_000, "[" * 1_000 + "]" * 1_000, "the body is not JSON"),
}


@pytest.mark.parametrize("answer", UNPARSED)
@pytest.mark.parametrize("label", ["application/json", "text/event-stream"])
def test_an_answer_that_is_no_object_is_logged_as_it_arrived_and_counted(logged, answer, label):
    content, body, reason = UNPARSED[answer]
    with Server(lambda *_: (200, {"content-type": label}, content)) as server:
        url = f"{server.url}/v1/chat/completions"
        assert attest_client.http_client().post(url, json={"model": "m", "messages": MESSAGES}).content == content
    [trace] = logged()
    if answer == "nothing" and label != "application/json":
        assert trace["incomplete"] == "ended"
        return
    assert trace["error"] == {"status": 200, "body": body, "reason": reason}
    assert attest_client.counters()["unparsed"] == 1


@pytest.mark.parametrize(
    ("content", "body"),
    [(b"", ""), (b"not JSON", "not JSON"), (b"[1]", [1]), (b'"a"', "a"), (b"\xff\xfd", "//0="), (b"1.50", 1.5)],
)
def test_a_request_that_is_no_object_is_logged_as_its_body(server, logged, content, body):
    attest_client.http_client().post(f"{server.url}/v1/chat/completions", content=content)
    [trace] = logged()
    assert trace["request"] == ({"body": body} if body != "" else {"body": ""})


def test_the_answer_of_a_background_response_is_logged_when_it_is_retrieved(logged):
    final = {**json.loads(RESPONSE), "background": True}
    states = iter(["queued", "in_progress", "completed", "completed"])

    def respond(path, *_):
        status = next(states)
        return 200, {}, json.dumps(final if status == "completed" else {**final, "status": status, "output": []}).encode()

    with Server(respond) as server:
        sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client())
        response = sdk.responses.create(model="gpt-5", input="Hi", background=True)
        while response.status != "completed":
            response = sdk.responses.retrieve(response.id)
        sdk.responses.retrieve(response.id)
    queued, completed = sorted(logged(), key=lambda trace: len(trace["messages"]))
    assert (queued["incomplete"], queued["response"]["status"]) == ("background", "queued")
    assert completed["messages"][0]["content"] == "Hi" and completed["messages"][1]["content"] == "Hi"
    assert "incomplete" not in completed and completed["response"]["status"] == "completed"


def test_a_long_response_is_cut_off_and_counted(logged, monkeypatch):
    monkeypatch.setattr(body, "LIMIT", 1_000)
    monkeypatch.setattr(capture, "LIMIT", 1_000)
    content = (STREAMS / "openai-chat.text.sse").read_bytes()
    plain = COMPLETION.replace(b"Hi", b"x" * 2_000)
    for encoding in (None, "gzip", "br"):
        for part in (content, plain):
            encoded = {"gzip": gzip.compress, "br": brotli.compress}.get(encoding, bytes)(part)
            headers = {"content-encoding": encoding} if encoding else {}
            with Server(lambda *_, headers=headers, encoded=encoded: (200, headers, encoded)) as server:
                response = attest_client.http_client().post(f"{server.url}/v1/chat/completions", json={"model": "m"})
                assert response.content == part
    traces = logged()
    assert [trace["incomplete"] for trace in traces] == ["truncated"] * 6
    assert all(trace.get("choices") or len(trace["error"]["body"]) == 1_000 for trace in traces)
    assert attest_client.counters()["truncated"] == 6


CALLS = json.loads((STREAMS / "calls.json").read_bytes())
"""Cases shared with the TypeScript client."""


def respond(request):
    name = request.url.path.rstrip("/").removesuffix("/cancel").rpartition("/")[2]
    return httpx2.Response(200, json={"id": name, "object": "response", "status": "completed", "background": name != "resp_1"})


@pytest.mark.parametrize(("method", "path", "api"), CALLS["paths"])
def test_the_captured_paths_are_those_of_the_other_client(logged, method, path, api):
    client = attest_client.http_client(transport=httpx2.MockTransport(respond), extra={"user": "u-1"})
    client.request(method, f"http://h{path}", content=b"{}")
    assert [(trace["api"], trace["log"]) for trace in logged()] == ([(api, {"user": "u-1"})] if api else [])


@pytest.mark.parametrize(("content", "request_"), CALLS["requests"])
def test_a_request_is_logged_as_the_other_client_does(logged, content, request_):
    attest_client.http_client(transport=httpx2.MockTransport(respond)).post("http://h/v1/responses", content=content)
    [trace] = logged()
    assert trace["request"] == request_


def test_counters_and_levels_are_those_of_the_other_client(logged):
    assert list(attest_client.counters()) == CALLS["counters"]
    for levels in (CALLS["levels"], CALLS["levels"] + 1):
        deep = b"[" * (levels - 1) + b"]" * (levels - 1)
        content = b'{"a":%s}' % deep
        attest_client.http_client(transport=httpx2.MockTransport(respond)).post("http://h/v1/responses", content=content)
        value = 1
        for _ in range(levels - 1):
            value = [value]
        attest_client.log_trace({"model": "m", "a": value, "n": levels}, {})
    assert sorted("body" in trace["request"] for trace in logged()) == [False, False, False, True]
    texts = [json.dumps(trace["request"].get("a")).count("[") for trace in logged() if "n" in trace["request"]]
    assert sorted(texts) == [119, 120]


def test_a_fault_while_a_response_is_read_never_reaches_the_application(logged, monkeypatch):
    def broken(*_):
        raise RuntimeError("secret content")

    monkeypatch.setattr(streams.Chat, "add", broken)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=iter([BODIES["stream"]] * 2)))
    client = attest_client.http_client(transport=transport)
    with client.stream("POST", "http://h/v1/chat/completions", json={"stream": True}) as response:
        assert response.read() == BODIES["stream"] * 2
    assert attest_client.counters()["lost"] == 2
    assert not attest_client.flush(20)  # a loss is reported once
    [trace] = logged()
    assert trace["incomplete"] == "ended"
