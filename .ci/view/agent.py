"""An agent's conversation, as a Chat Completions trace and as OpenTelemetry spans."""

import base64
import json
import struct
import zlib


def png(width=160, height=90):
    """Returns a small PNG image with a few colours, in base64."""
    rows = b"".join(
        b"\0" + bytes(channel for x in range(width) for channel in (40 + x // 16 * 16, 120 + y // 15 * 15, 200 - x // 16 * 8)) for y in range(height)
    )
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")).decode()


def wav():
    """Returns a tenth of a second of silence, in base64."""
    data = b"\0" * 1600
    header = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    return base64.b64encode(header + b"data" + struct.pack("<I", len(data)) + data).decode()


ANSWER = """The order left **Hamburg** this morning and arrives on *Friday*.

| step | time |
|---|---|
| packed | 08:10 |
| left the hub | 09:45 |

To follow it yourself:

```python
def where(order: str) -> str:
    # one call, no key
    return tracker.status(order)["place"]
```
"""


def chat(**more):
    """Returns the trace of a Chat Completions call with a developer's message, an image, tools, thinking and sources."""
    return {
        "id": "order-17",
        "model": "gpt-4o-2024-08-06",
        "created": 1_795_305_600,
        "messages": [
            {"role": "system", "content": "Answer from the shop's tools only.",
             "original": {"role": "developer", "content": "Answer from the shop's tools only."}},
            {"role": "user", "content": "Where is my order? This is the label.",
             "original": {"role": "user", "content": [
                 {"type": "text", "text": "Where is my order? This is the label."},
                 {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png()}"}}]}},
            {"role": "assistant", "content": "", "reasoning_content": "The label shows 17. I ask both tools.",
             "tool_calls": [
                 {"id": "call_1", "type": "function",
                  "function": {"name": "track_order", "arguments": '{"order": "17", "carrier": null}'}},
                 {"id": "call_2", "type": "function", "function": {"name": "refund_rules", "arguments": '{"country": "DE"}'}}],
             "original": {"role": "assistant", "content": None}},
            {"role": "user", "tool_call_id": "call_1", "content": '{"status": "in transit", "place": "Hamburg"}',
             "original": {"role": "tool", "content": '{"status": "in transit", "place": "Hamburg"}'}},
            {"role": "user", "tool_call_id": "call_2", "content": "14 days", "original": {"role": "tool", "content": "14 days"}},
            {"role": "assistant", "content": ANSWER, "annotations": [
                {"type": "url_citation", "url_citation": {"title": "Shipping", "url": "https://shop.test/shipping"}}]},
        ],
        "choices": {"0": {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}},
        "usage": {
            "prompt_tokens": 1280, "completion_tokens": 214, "total_tokens": 1494,
            "prompt_tokens_details": {"cached_tokens": 1024}, "completion_tokens_details": {"reasoning_tokens": 96}},
        "api": "openai-chat",
        "request_messages": 5,
        "request": {"model": "gpt-4o", "temperature": 0.2},
        "response": {"id": "chatcmpl-1", "object": "chat.completion"},
        "log": {"duration": 2.34, "session_id": "session-5"},
        **more,
    }


TRACE = "0af7651916cd43dd8448eb211c80319c"


def spans(conversation="session-9"):
    """Yields the traces of an agent's run, as OpenTelemetry spans. The agent's own span is missing, because it is not a model call."""
    planned = [
        ("plan", "a1", "f0", 0, 1_900, 820, 140, None),
        ("search the shop", "b1", "a1", 300, 900, 410, 35, None),
        ("read the rules", "b2", "a1", 950, 800, 1_210, 60, None),
        ("compare carriers", "c1", "b2", 1_000, 550, 640, 48, "timeout"),
        ("answer", "a2", "f0", 2_000, 1_200, 2_350, 310, None),
    ]
    start = 1_795_305_600_000
    for name, span, parent, begin, duration, tokens_in, tokens_out, error in planned:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.conversation.id": conversation,
            "gen_ai.usage.input_tokens": tokens_in,
            "gen_ai.usage.output_tokens": tokens_out,
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Answer from the shop's tools only."}]),
            "gen_ai.input.messages": json.dumps([
                {"role": "user", "parts": [
                    {"type": "text", "content": f"Where is my order? Step: {name}."},
                    {"type": "blob", "modality": "image", "mime_type": "image/png", "content": png()}]},
                {"role": "assistant", "parts": [
                    {"type": "reasoning", "content": "I ask the tracker."},
                    {"type": "tool_call", "id": "call_1", "name": "track_order", "arguments": {"order": "17"}}]},
                {"role": "tool", "parts": [
                    {"type": "tool_call_response", "id": "call_1", "response": {"place": "Hamburg"}}]}]),
            "gen_ai.output.messages": json.dumps([
                {"role": "assistant", "finish_reason": "stop", "parts": [{"type": "text", "content": "It is in **Hamburg**."}]}]),
        }
        otel = {
            "traceId": TRACE, "spanId": f"00f067aa02c7{span:0>4}", "parentSpanId": f"00f067aa02c7{parent:0>4}", "name": name,
            "startTimeUnixNano": f"{start + begin}000000", "endTimeUnixNano": f"{start + begin + duration}000000",
            "attributes": attributes,
        }
        if error:
            otel["status"] = {"code": 2, "message": error}
        yield {"id": f"span-{span}", "model": "gpt-4o", "created": start // 1_000, "messages": [], "otel": otel}
