"""Tests the duration of a call and the time until its first content, with a clock that the tests advance."""

import asyncio
import contextlib
import json
import pathlib
import time

import httpx2
import openai
import pytest

import attest_client
from attest_client import streams
from stand_ins import Server

STREAMS = pathlib.Path(__file__).parents[2] / "streams"
FIRST = json.loads((STREAMS / "first-content.json").read_bytes())
URLS = {"openai-chat": "/chat/completions", "openai-responses": "/responses", "anthropic": "/messages"}


@pytest.fixture
def clock(monkeypatch):
    """Replaces the monotonic clock with one that a test advances, in seconds: a list of one number."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def events(name):
    """Splits a recorded stream into its events."""
    text = (STREAMS / name).read_text().replace("\r\n", "\n").strip("\n")
    return [f"{event}\n\n".encode() for event in text.split("\n\n")]


class Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that arrives at one chunk per second of the clock."""

    def __init__(self, chunks, clock):
        self.chunks, self.clock = chunks, clock

    def __iter__(self):
        for chunk in self.chunks:
            self.clock[0] += 1
            yield chunk
        self.clock[0] += 1

    async def __aiter__(self):
        for chunk in self:
            yield chunk


def transport(chunks, clock, status=200, headers=None):
    return httpx2.MockTransport(lambda _: httpx2.Response(status, headers=headers, stream=Chunks(chunks, clock)))


def call(client, api, stream=True):
    request = {"model": "m", "messages": [], "stream": stream}
    return client.send(client.build_request("POST", f"http://provider/v1{URLS[api]}", json=request), stream=True)


def test_every_stream_begins_with_the_same_event_in_both_clients(logged, clock):
    assert set(FIRST) == {file.name for file in STREAMS.glob("*.sse")}
    for name in FIRST:
        chunks = events(name)
        client = attest_client.http_client(transport=transport(chunks, clock), extra={"file": name, "seconds": len(chunks) + 1})
        with contextlib.closing(call(client, name.partition(".")[0])) as response:
            assert b"".join(response.iter_raw()) == b"".join(chunks)
    traces = {trace["log"]["file"]: trace for trace in logged()}
    for name, first in FIRST.items():
        assert traces[name]["timing"] == {"duration": traces[name]["log"]["seconds"], "first_token": first}, name


def test_asynchronous_calls_are_timed_too(logged, clock):
    async def run():
        chunks = events("openai-chat.text.sse")
        client = attest_client.async_http_client(transport=transport(chunks, clock))
        response = await call(client, "openai-chat")
        async for _ in response.aiter_raw():
            pass
        return len(chunks)

    count = asyncio.run(run())
    [trace] = logged()
    assert trace["timing"] == {"duration": count + 1, "first_token": FIRST["openai-chat.text.sse"]}


@pytest.mark.parametrize(
    ("status", "chunks", "headers"),
    [
        (200, [b'{"model": "m", "choices": []}'], {}),
        (200, [b'{"model": "m",', b'"choices": []}'], {}),
        (200, [b"data: {}\n\n"], {"content-type": "text/event-stream"}),
        (500, [b'{"error": "x"}'], {}),
    ],
    ids=["whole", "in pieces", "a stream without content", "a failure"],
)
def test_an_answer_without_a_first_part_has_only_a_duration(logged, clock, status, chunks, headers):
    client = attest_client.http_client(transport=transport(chunks, clock, status, headers), failures=True)
    call(client, "openai-chat", stream=False).read()
    [trace] = logged()
    assert trace["timing"] == {"duration": len(chunks) + 1}


def test_a_call_without_a_response_has_a_duration(logged, clock):
    def fail(request):
        clock[0] += 2.5
        raise httpx2.ConnectError("refused", request=request)

    client = attest_client.http_client(transport=httpx2.MockTransport(fail), failures=True)
    with pytest.raises(httpx2.ConnectError):
        call(client, "openai-chat")
    [trace] = logged()
    assert trace["timing"] == {"duration": 2.5}


def test_a_stream_that_is_left_has_the_duration_until_then(logged, clock):
    chunks = events("openai-chat.text.sse")
    client = attest_client.http_client(transport=transport(chunks, clock))
    response = call(client, "openai-chat")
    iterator = response.iter_raw()
    for _ in range(3):
        next(iterator)
    clock[0] += 7
    response.close()
    [trace] = logged()
    assert (trace["incomplete"], trace["timing"]) == ("closed", {"duration": 10, "first_token": FIRST["openai-chat.text.sse"]})


def test_the_sdk_is_timed_by_a_real_clock(logged):
    chunks = events("openai-chat.text.sse")
    before = time.perf_counter()
    with Server(lambda *_: (200, {"content-type": "text/event-stream"}, chunks)) as server:
        client = openai.OpenAI(base_url=server.url, api_key="sk", http_client=attest_client.http_client())
        for _ in client.chat.completions.create(model="m", messages=[], stream=True):
            pass
    longest = time.perf_counter() - before
    [trace] = logged()
    assert 0 < trace["timing"]["first_token"] <= trace["timing"]["duration"] <= longest


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": "x", "usage": {}},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": ""}},
        {"type": "response.created", "response": {"output": []}},
        {"type": "response.output_text.delta", "delta": ""},
        {"type": ["x"], "delta": 1},
        {"type": "message", "content": []},
    ],
)
def test_an_event_without_a_part_of_the_answer_has_no_content(event):
    for api in URLS:
        stream = streams.Stream(api)
        stream.add(json.loads(json.dumps(event)))
        assert not stream.has_content
