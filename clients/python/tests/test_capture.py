"""Tests the HTTP clients in the real SDKs, against a provider stand-in and the local endpoint."""

import asyncio
import gc
import gzip
import json
import pathlib
import socket
import subprocess
import sys
import threading
import zlib

import anthropic
import brotli
import httpx
import httpx2
import openai
import pytest
import zstandard

import attest_client
from attest_client import client, mapping, streams, values
from stand_ins import Server

STREAMS = pathlib.Path(__file__).parents[2] / "streams"
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
TEXT_STREAM = {"content-type": "text/event-stream"}
MESSAGES = [{"role": "user", "content": "Grüße"}]

COMPLETION = (
    b'{"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000.50, "model": "gpt-4o", "choices": [{"index": 0,'
    b' "message": {"role": "assistant", "content": "Hi \\ud83d\\ude00"}, "finish_reason": "stop"}], "usage": {"cost": 0.10}}'
)
RESPONSE = (
    b'{"id": "resp_1", "object": "response", "created_at": 1700000001, "model": "gpt-5", "status": "completed", "output":'
    b' [{"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hi",'
    b' "annotations": []}]}]}'
)
MESSAGE = (
    b'{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [{"type": "tool_use", "id": "t",'
    b' "name": "f", "input": {"a": 1.50}}], "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}}'
)


def provider(path, _, body):
    is_stream = b'"stream":true' in body.replace(b" ", b"")
    for end, whole, stream in (
        ("/chat/completions", COMPLETION, "openai-chat.choices.sse"),
        ("/responses", RESPONSE, "openai-responses.custom-tool.sse"),
        ("/v1/messages", MESSAGE, "anthropic.tool-use.sse"),
    ):
        if path.partition("?")[0].endswith(end):
            if is_stream:
                content = (STREAMS / stream).read_bytes()
                return 200, TEXT_STREAM, [content[at : at + 700] for at in range(0, len(content), 700)]
            return 200, {}, whole
    return 200, {}, b'{"object": "list", "data": [], "path": "%s"}' % path.encode()


@pytest.fixture
def server():
    with Server(provider) as server:
        yield server


def stored_bytes(endpoint):
    [path] = endpoint.paths()
    return path.read_bytes()


@LIBRARIES
def test_one_line_logs_every_call_of_the_sdks(server, logged, endpoint, library):
    openai_client = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client(library=library))
    claude = anthropic.Anthropic(base_url=server.url, api_key="sk", http_client=attest_client.http_client())
    openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES, temperature=0.5)
    openai_client.responses.create(model="gpt-5", input="Hi", instructions="Be brief")
    claude.messages.create(model="claude", max_tokens=9, system="Be brief", messages=MESSAGES)
    logged()
    traces = endpoint.whole()
    request, response = mapping.rebuild(traces["openai-chat"])
    assert json.loads(values.dumps(request)) == {"model": "gpt-4o", "messages": MESSAGES, "temperature": 0.5}
    assert response == values.loads(COMPLETION)
    request, response = mapping.rebuild(traces["openai-responses"])
    assert request == {"model": "gpt-5", "input": "Hi", "instructions": "Be brief"}
    assert response == values.loads(RESPONSE)
    request, response = mapping.rebuild(traces["anthropic"])
    assert request == {"model": "claude", "max_tokens": 9, "system": "Be brief", "messages": MESSAGES}
    assert response == values.loads(MESSAGE)
    assert [message["role"] for message in traces["anthropic"]["messages"]] == ["system", "user", "assistant"]


@LIBRARIES
def test_asynchronous_calls_are_logged(server, logged, endpoint, library):
    async def calls():
        client = attest_client.async_http_client(library=library)
        async with openai.AsyncOpenAI(base_url=server.url, api_key="sk", http_client=client) as sdk:
            await sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES)
            stream = await sdk.responses.create(model="gpt-5", input="Hi", stream=True)
            return [event.type async for event in stream]

    assert "response.completed" in asyncio.run(calls())
    logged()
    traces = endpoint.whole()
    assert mapping.rebuild(traces["openai-chat"])[1] == values.loads(COMPLETION)
    assert traces["openai-responses"]["messages"][-1]["tool_calls"]
    assert "incomplete" not in traces["openai-responses"]


@LIBRARIES
def test_streams_are_logged_as_the_response_without_streaming(server, logged, endpoint, library):
    sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client(library=library))
    claude = anthropic.Anthropic(base_url=server.url, api_key="sk", http_client=attest_client.http_client())
    chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True))
    with claude.messages.stream(model="claude", max_tokens=9, messages=MESSAGES) as stream:
        message = stream.get_final_message()
    logged()
    traces = endpoint.whole()
    assert len(traces["openai-chat"]["choices"]) == 3 and len(chunks) > 10
    recorded = (STREAMS / "anthropic.tool-use.sse").read_bytes()
    response = mapping.rebuild(traces["anthropic"])[1]
    assert values.dumps(response["content"]) == values.dumps(streams.assemble("anthropic", recorded).response["content"])
    assert traces["anthropic"]["messages"][-1]["tool_calls"][0]["function"]["arguments"] == message.content[1].input
    assert not any("incomplete" in trace for trace in traces.values())


def test_the_bytes_of_the_provider_are_kept(server, logged, endpoint):
    client = attest_client.http_client()
    body = '{"model":"gpt-4o","messages":[{"role":"user","content":"a","n":[1.0,1e5,-0,12345678901234567890.10]}],"seed":2.50}'
    client.post(f"{server.url}/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    logged()
    text = stored_bytes(endpoint)
    for literal in (b"[1.0,1e5,-0,12345678901234567890.10]", b'"seed":2.50', b'"created":1700000000.50', b'"cost":0.10'):
        assert literal in text
    assert "\U0001f600".encode() in text and b'"created":1700000000,' in text


def test_no_header_is_logged(server, logged, endpoint):
    sdk = openai.OpenAI(
        base_url=server.url,
        api_key="sk-secret",
        organization="org-secret",
        default_headers={"x-secret": "header-secret"},
        http_client=attest_client.http_client(),
    )
    sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    logged()
    assert b"secret" not in stored_bytes(endpoint)


def test_other_paths_pass_untouched(server, logged):
    client = attest_client.http_client()
    for method, path in [
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/threads/t/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/chat/completions"),
    ]:
        response = client.request(method, server.url + path, content=b"{}")
        assert response.status_code == 200
        if "completions" not in path:
            assert response.json()["path"] == path
    assert logged() == []


@pytest.mark.parametrize(
    "path",
    [
        "/openai/deployments/d/chat/completions?api-version=1",
        "/api/v1/chat/completions",
        "/openai/v1/responses/",
        "/v1/messages?beta=true",
        "/anthropic/messages",
    ],
)
def test_every_place_of_an_api_is_logged(server, logged, path):
    attest_client.http_client().post(server.url + path, json={"messages": MESSAGES})
    assert len(logged()) == 1


ENCODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@LIBRARIES
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_stream", [False, True])
def test_compressed_responses_are_decoded(logged, library, encoding, is_stream):
    if encoding not in attest_client.http_client(library=library).headers["accept-encoding"]:
        pytest.skip("the library neither decodes nor requests it")
    content = (STREAMS / "openai-chat.text.sse").read_bytes() if is_stream else COMPLETION
    body = ENCODINGS[encoding](content)
    headers = {"content-encoding": encoding, **(TEXT_STREAM if is_stream else {})}
    with Server(lambda *_: (200, headers, [body[:100], body[100:]])) as server:
        sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client(library=library))
        if is_stream:
            assert list(sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True))
        else:
            assert sdk.chat.completions.create(model="m", messages=MESSAGES).id == "chatcmpl-1"
    [trace] = logged()
    assert trace["messages"][1]["content"] and "incomplete" not in trace


def chunked_stream(gate, *, breaks=False, encoding=None):
    """Returns a stream that sends its second half, or breaks its connection, when the gate opens."""
    events = (STREAMS / "openai-chat.text.sse").read_bytes().split(b"\n\n")
    half = len(events) // 2

    def respond(handler):
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("transfer-encoding", "chunked")
        if encoding:
            handler.send_header("content-encoding", encoding)
        handler.end_headers()
        compressor = zlib.compressobj(wbits=31)
        for part in (events[:half], events[half:]):
            data = b"".join(event + b"\n\n" for event in part)
            if encoding:
                data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            handler.wfile.flush()
            gate.wait(30)
            if breaks:
                return
        handler.wfile.write(b"0\r\n\r\n")

    return respond


@LIBRARIES
def test_a_streamed_chunk_is_never_held_back(logged, library):
    """The second half is sent only after the application has read the whole first half."""
    gate = threading.Event()
    with Server(lambda *_: chunked_stream(gate)) as server:
        sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client(library=library))
        chunks = iter(sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True))
        half = len((STREAMS / "openai-chat.text.sse").read_bytes().split(b"\n\n")) // 2
        text = "".join(next(chunks).choices[0].delta.content or "" for _ in range(half))
        assert text and client._client is None or not client._client._pending
        gate.set()
        rest = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    [trace] = logged()
    assert trace["messages"][1]["content"] == text + rest


@LIBRARIES
@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_the_application_closes_is_incomplete(logged, library, encoding, is_async):
    gate = threading.Event()
    with Server(lambda *_: chunked_stream(gate, encoding=encoding)) as server:
        if is_async:

            async def read():
                client = attest_client.async_http_client(library=library)
                sdk = openai.AsyncOpenAI(base_url=server.url, api_key="sk", http_client=client)
                async with await sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
                    return [(await anext(stream)).choices[0].delta.content or "" for _ in range(5)]

            text = "".join(asyncio.run(read()))
        else:
            sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client(library=library))
            with sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
                text = "".join(next(stream).choices[0].delta.content or "" for _ in range(5))
        gate.set()
    [trace] = logged()
    assert trace["incomplete"] == "closed"
    assert text and trace["messages"][1]["content"].startswith(text)


@LIBRARIES
def test_a_stream_that_the_network_breaks_is_incomplete(logged, library):
    gate = threading.Event()
    gate.set()
    with Server(lambda *_: chunked_stream(gate, breaks=True)) as server:
        sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client(library=library))
        with pytest.raises((httpx.RemoteProtocolError, httpx2.RemoteProtocolError, openai.APIConnectionError)):
            list(sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    [trace] = logged()
    assert trace["incomplete"] == "broken" and trace["messages"][1]["content"]


def test_a_stream_without_its_last_event_is_incomplete(logged):
    body = (STREAMS / "anthropic.text.sse").read_bytes().partition(b"event: message_delta")[0]
    with Server(lambda *_: (200, TEXT_STREAM, body)) as server:
        attest_client.http_client().post(f"{server.url}/v1/messages", json={"model": "m", "messages": MESSAGES})
    [trace] = logged()
    assert (trace["incomplete"], trace["messages"][1]["content"]) == ("ended", "Hello there!")


def test_an_abandoned_stream_is_logged_when_it_is_collected(logged):
    gate = threading.Event()
    with Server(lambda *_: chunked_stream(gate)) as server:
        client = attest_client.http_client()
        sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=client)
        stream = sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        next(stream)
        del stream
        gc.collect()
        gate.set()
    [trace] = logged()
    assert trace["incomplete"] == "closed"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_is_never_read_is_logged_when_it_is_collected(logged, is_async):
    gate = threading.Event()
    with Server(lambda *_: chunked_stream(gate)) as server:
        if is_async:

            async def start():
                client = attest_client.async_http_client()
                await openai.AsyncOpenAI(base_url=server.url, api_key="sk", http_client=client).chat.completions.create(
                    model="m", messages=MESSAGES, stream=True
                )

            asyncio.run(start())
        else:
            sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client())
            sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        gc.collect()
        gate.set()
    [trace] = logged()
    assert (trace["incomplete"], trace["messages"]) == ("closed", MESSAGES)


UNFINISHED = {
    "never read": "",
    "partly read": "next(chunks)",
    "partly read, and sys.exit": "next(chunks); sys.exit(3)",
    "read by a daemon thread": (
        "import threading\nread = threading.Event()\n"
        "def go():\n    next(chunks); read.set(); list(chunks)\nthreading.Thread(target=go, daemon=True).start(); read.wait()"
    ),
    "read by the parent of a fork": "next(chunks)\nif os.fork() == 0: sys.exit()\nos.wait()",
    "read by a child of multiprocessing": (
        "import multiprocessing\nchild = multiprocessing.get_context('fork').Process(target=lambda: next(start()))\n"
        "child.start(); child.join(); os._exit(0)"
    ),
}


@pytest.mark.parametrize("program", UNFINISHED)
def test_a_stream_that_is_not_finished_when_the_process_ends_is_logged_once(endpoint, environment, tmp_path, program):
    gate = threading.Event()
    script = """
import os, sys, attest_client, openai
def start():
    sdk = openai.OpenAI(base_url=sys.argv[1], api_key="sk", http_client=attest_client.http_client(), max_retries=0)
    return iter(sdk.chat.completions.create(model="m", messages=[], stream=True))
"""
    script += ("" if "multiprocessing" in program else "chunks = start()\n") + UNFINISHED[program]
    with Server(lambda *_: chunked_stream(gate)) as server:
        command = [sys.executable, "-c", script, server.url]
        done = subprocess.run(command, env=environment(endpoint.url), capture_output=True, text=True, timeout=60)
        gate.set()
    assert "Traceback" not in done.stderr, done.stderr
    assert attest_client.flush(20)
    [trace] = endpoint.traces()
    assert trace["incomplete"] == "closed"


def fails(status):
    return lambda *_: (status, {}, b'{"error": {"message": "no", "code": "x"}}')


@LIBRARIES
@pytest.mark.parametrize("failures", [False, True])
def test_failed_calls_are_logged_if_asked_for(logged, library, failures):
    client = attest_client.http_client(library=library, failures=failures)
    with Server(fails(429)) as server:
        sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=client, max_retries=0)
        with pytest.raises(openai.RateLimitError):
            sdk.chat.completions.create(model="m", messages=MESSAGES)
        with pytest.raises(openai.RateLimitError):
            sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    sdk = openai.OpenAI(base_url="http://127.0.0.1:1", api_key="sk", http_client=client, max_retries=0)
    with pytest.raises(openai.APIConnectionError):
        sdk.responses.create(model="m", input="a")
    traces = {trace["api"]: trace for trace in logged()}
    if not failures:
        assert traces == {}
        return
    assert traces["openai-chat"]["error"] == {"status": 429, "body": {"error": {"message": "no", "code": "x"}}}
    assert traces["openai-chat"]["messages"] == MESSAGES
    assert traces["openai-responses"]["error"]["type"] == "ConnectError"


def test_an_error_within_a_stream_is_logged(logged):
    start = (STREAMS / "anthropic.text.sse").read_bytes().partition(b"event: content_block_stop")[0]
    error = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
    with Server(lambda *_: (200, TEXT_STREAM, start + error)) as server:
        claude = anthropic.Anthropic(base_url=server.url, api_key="sk", http_client=attest_client.http_client())
        with pytest.raises(anthropic.APIStatusError):
            list(claude.messages.create(model="m", max_tokens=1, messages=MESSAGES, stream=True))
    [trace] = logged()
    assert trace["incomplete"] == "error" and trace["error"]["body"]["type"] == "overloaded_error"
    assert trace["messages"][1]["content"] == "Hello there!"


def test_mask_sees_each_trace_before_it_is_written(server, logged, endpoint, tmp_path):
    def mask(trace):
        assert not any("Grüße" in file.read_text() for file in (tmp_path / "spool").glob("*.jsonl"))
        return values.loads(values.dumps(trace).replace("Grüße".encode(), b"***"))

    attest_client.http_client(mask=mask).post(f"{server.url}/v1/chat/completions", json={"model": "m", "messages": MESSAGES})
    attest_client.log_trace({"model": "m", "messages": MESSAGES}, {}, mask=mask)
    assert [trace["messages"][0]["content"] for trace in logged()] == ["***", "***"]


@pytest.mark.parametrize("mask", [lambda trace: 1 / 0, lambda trace: None, lambda trace: "text"])
def test_nothing_is_written_if_mask_fails(server, logged, caplog, mask):
    response = attest_client.http_client(mask=mask).post(
        f"{server.url}/v1/chat/completions", json={"model": "m", "messages": MESSAGES}
    )
    assert response.content == COMPLETION
    assert logged() == [] and attest_client.counters()["unmasked"] == 1
    assert "mask" in caplog.text and "Grüße" not in caplog.text


def test_a_problem_of_the_log_never_reaches_the_application(server, logged, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("secret content")

    monkeypatch.setattr(mapping, "to_trace", broken)
    sdk = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client(failures=True))
    assert sdk.chat.completions.create(model="m", messages=MESSAGES).id == "chatcmpl-1"
    assert list(sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    attest_client.log_trace({"model": "m"}, {})
    assert attest_client.counters()["lost"] == 3
    assert "secret" not in caplog.text


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b'"a"', b"\xff\xfe", b'{"messages": 1}'])
def test_requests_that_are_not_calls_pass(server, logged, body):
    response = attest_client.http_client().post(f"{server.url}/v1/embeddings", content=body)
    assert response.status_code == 200
    logged()


def test_without_an_endpoint_the_first_call_warns_once(server, environment, monkeypatch, caplog, tmp_path):
    environment("http://127.0.0.1:1")
    monkeypatch.delenv("ATTEST_URL")
    monkeypatch.delenv("ATTEST_API_KEY")
    client = attest_client.http_client()
    assert caplog.text == ""
    for _ in range(3):
        assert client.post(f"{server.url}/v1/chat/completions", json={"messages": MESSAGES}).content == COMPLETION
        attest_client.log_trace({"model": "m"}, {})
    assert len(caplog.records) == 1 and "ATTEST_URL and ATTEST_API_KEY" in caplog.text
    assert attest_client.flush(1) and not (tmp_path / "spool").exists()


def test_the_clients_have_the_defaults_of_the_sdks():
    for library in (httpx, httpx2):
        assert attest_client.http_client(library=library).follow_redirects
        assert attest_client.http_client(library=library, follow_redirects=False).follow_redirects is False
        assert isinstance(attest_client.http_client(library=library), library.Client)
        assert isinstance(attest_client.async_http_client(library=library), library.AsyncClient)


TCP_OPTIONS = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
KEEPALIVE = {"SO_KEEPALIVE": socket.SOL_SOCKET} | dict.fromkeys(TCP_OPTIONS, socket.IPPROTO_TCP)


def socket_options(response):
    connection = response.extensions["network_stream"].get_extra_info("socket")
    return {name: connection.getsockopt(level, getattr(socket, name)) for name, level in KEEPALIVE.items() if hasattr(socket, name)}


@pytest.mark.parametrize("sdk", ["anthropic", "openai"])
@pytest.mark.parametrize("is_async", [False, True])
def test_sockets_have_the_options_of_the_sdk(server, logged, sdk, is_async):
    """Compares with the SDKs' own clients. This client adds the options that the SDK cannot set."""

    async def options(client):
        name = ("Async" if is_async else "") + {"anthropic": "Anthropic", "openai": "OpenAI"}[sdk]
        made = getattr(sys.modules[sdk], name)(base_url=server.url, api_key="sk", **({"http_client": client} if client else {}))
        found = []
        if sdk == "anthropic":
            call = made.messages.with_streaming_response.create(model="m", max_tokens=9, messages=MESSAGES)
        else:
            call = made.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES)
        if is_async:
            async with call as response:
                found.append(socket_options(response.http_response))
                await response.read()
        else:
            with call as response:
                found.append(socket_options(response.http_response))
                response.read()
        return found

    client = attest_client.async_http_client() if is_async else attest_client.http_client()
    assert asyncio.run(options(client)) == asyncio.run(options(None))


def test_a_trace_of_the_application_is_still_called(server, logged):
    seen = []
    headers = {"anthropic-version": "2023-06-01"}
    extensions = {"trace": lambda event, info: seen.append(event)}
    client = attest_client.http_client()
    client.post(f"{server.url}/v1/messages", json={"model": "m", "messages": MESSAGES}, headers=headers, extensions=extensions)
    assert "connection.connect_tcp.complete" in seen
