"""Tests that merging stream chunks loses no value and takes linear time."""

import asyncio
import gc
import json
import pathlib
import random
import sys
import time

import httpx2
import pytest

import attest_client
from attest_client import streams, values

FOLDER = pathlib.Path(__file__).parents[2] / "streams" / "servers"
APIS = ("openai-chat", "openai-responses", "anthropic")


def assembled(api, body):
    made = streams.assemble(api, body)
    result = {"response": made.response, "incomplete": made.incomplete(), "error": made.error, "unmerged": made.unmerged}
    return {name: value for name, value in result.items() if value is not None and value != []}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.sse")), ids=lambda file: file.stem)
def test_a_stream_of_another_server_has_its_result(file):
    result = assembled(file.name.partition(".")[0], file.read_bytes())
    assert json.loads(values.dumps(result)) == json.loads(file.with_suffix(".json").read_bytes())


class Chunks:
    """Generates random events. Every string and number is unique, so that a lost one is noticed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.count = 100_000

    def text(self):
        self.count += 1
        return f"<{self.count}>"

    def value(self, depth=0):
        kinds = ["text", "text", "text", "number", "true", "null", "object", "list"]
        kind = self.random.choice(kinds if depth < 2 else ["text", "number"])
        if kind == "object":
            return self.members(depth + 1)
        if kind == "list":
            return [self.value(depth + 1) for _ in range(self.random.randrange(3))]
        if kind == "number":
            self.count += 1
            return self.count
        return {"text": self.text(), "true": True, "null": None}[kind]

    def members(self, depth=0):
        names = ["content", "reasoning", "name", "a", "b", "id", "role", "tool_calls", "text", "thinking", "arguments", "function"]
        members = {name: self.value(depth) for name in self.random.sample(names, self.random.randrange(5))}
        return members | ({"index": self.random.randrange(3)} if self.random.random() < 0.3 else {})

    def event(self, api):
        event = self.members()
        if api == "openai-chat":
            part = self.random.choice(["delta", "delta", "delta", "message"])
            event["choices"] = [{"index": self.random.randrange(2), part: self.members(), **self.members()} for _ in range(2)]
            for place, choice in enumerate(event["choices"]):
                choice["index"] = place
        elif api == "anthropic":
            kinds = ["content_block_start", "content_block_delta", "content_block_delta", "message_delta", "other"]
            kind = self.random.choice(kinds)
            member = "content_block" if kind == "content_block_start" else "delta"
            event |= {"type": kind, "index": self.random.randrange(3), member: self.members()}
            event[member]["type"] = self.random.choice(["text_delta", "thinking_delta", "citations_delta", "signature_delta"])
        else:
            kind = self.random.choice(["output_text.delta", "output_item.added", "content_part.added", "refusal.done", "other"])
            event |= {"type": f"response.{kind}"}
            event |= {"output_index": self.random.randrange(3), "content_index": self.random.randrange(2)}
            event |= {"delta": self.text(), "item": self.members(), "part": self.members(), "refusal": self.text()}
            if kind == "output_text.delta":
                event = {name: event[name] for name in ("type", "output_index", "content_index", "delta")}
            if kind == "refusal.done":
                event = {name: event[name] for name in ("type", "output_index", "content_index", "refusal")}
        return event


def leaves(value):
    """Yields every string and number that `Chunks` has generated."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    elif isinstance(value, str) and value.startswith("<") or type(value) is int and value > 100_000:
        yield str(value)


@pytest.mark.parametrize("api", APIS)
def test_concatenating_and_merging_never_loses_a_value(api):
    for seed in range(400):
        chunks = Chunks(seed)
        events = [chunks.event(api) for _ in range(chunks.random.randrange(1, 12))]
        body = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)
        result = values.dumps(assembled(api, body)).decode()
        lost = [leaf for leaf in leaves(events) if leaf not in result]
        assert not lost, (seed, lost, events, result)


class Piece(str):
    """Counts the characters that are copied or compared, other than by a final `join`."""

    copied = 0

    def __add__(self, other):
        Piece.copied += len(self) + len(other)
        return Piece(str(self) + other)

    def startswith(self, *arguments):
        Piece.copied += len(self)
        return str.startswith(self, *arguments)

    def __eq__(self, other):
        Piece.copied += len(self) if isinstance(other, str) and len(self) == len(other) else 0
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def chat(**members):
    return {"choices": [{"index": 0, **members}]}


LONG = {
    "a text": lambda number: [chat(delta={"content": Piece("word")}) for _ in range(number)],
    "a name": lambda number: [
        chat(delta={"tool_calls": [{"index": 0, "function": {"name": Piece("word")}}]}) for _ in range(number)
    ],
    "a message in pieces": lambda number: [chat(message={"content": Piece(f"{place:06}")}) for place in range(number)],
    "calls": lambda number: [chat(delta={"tool_calls": [{"index": place, "id": f"c{place}"}]}) for place in range(number)],
    "calls of one index": lambda number: [chat(delta={"tool_calls": [{"index": 0, "id": f"c{place}"}]}) for place in range(number)],
    "choices": lambda number: [{"choices": [{"index": place, "delta": {"content": "a"}}]} for place in range(number)],
    "parts": lambda number: [chat(delta={"content": [{"type": "text", "text": "a"}, {"type": "image"}]}) for _ in range(number)],
}


@pytest.mark.parametrize("kind", LONG)
def test_the_work_is_linear(kind):
    def work(number):
        assembler = streams.Chat()
        events = LONG[kind](number)
        calls, Piece.copied = 0, 0

        def count(*_):
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            for event in events:
                assembler.add(event)
            assembler.finish()
        finally:
            sys.setprofile(None)
        return calls + Piece.copied

    assert work(4_000) < 5 * work(1_000)


def test_an_event_in_many_chunks_is_read_in_linear_time():
    chunks = [b"x"] * 200_000
    started = time.process_time()
    stream = streams.Stream("openai-chat")
    stream.feed(b'data: {"id": "')
    for chunk in chunks:
        stream.feed(chunk)
    stream.feed(b'", "choices": []}\n\n')
    assert len(stream.finish().response["id"]) == len(chunks)
    assert time.process_time() - started < 20  # quadratic work takes minutes


def test_a_stream_of_128_000_chunks_does_not_block_the_event_loop(logged):
    chunk = b'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
    content = chunk * 128_000 + b"data: [DONE]\n\n"

    async def parts():
        for at in range(0, len(content), 1 << 16):
            yield content[at : at + (1 << 16)]

    async def longest():
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=parts()))
        blocks = []
        async with attest_client.async_http_client(transport=transport) as client:
            async with client.stream("POST", "http://h/v1/chat/completions", json={"stream": True}) as response:
                last = time.thread_time()
                async for _ in response.aiter_bytes():
                    await asyncio.sleep(0)
                    blocks.append(time.thread_time() - last)
                    last = time.thread_time()
            blocks.append(time.thread_time() - last)
        return max(blocks)

    gc.collect()
    block = asyncio.run(longest())
    [trace] = logged()
    assert trace["messages"][-1]["content"] == "word" * 128_000
    assert block < 0.25, f"the longest block of the event loop takes {block:.3f} s of CPU"
