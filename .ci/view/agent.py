"""A conversation of an agent, in the forms in which each API's call is kept."""

import base64
import struct
import zlib


def png(width=160, height=90):
    """Returns a small picture as base64."""
    rows = b"".join(
        b"\0" + bytes(channel for x in range(width) for channel in (40 + x, 120 + y, 200 - x // 2)) for y in range(height)
    )
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")).decode()


def wav():
    """Returns a tenth of a second of silence as base64."""
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
        "usage": {"prompt_tokens": 1280, "completion_tokens": 214, "total_tokens": 1494},
        "api": "openai-chat",
        "request_messages": 5,
        "request": {"model": "gpt-4o", "temperature": 0.2},
        "response": {"id": "chatcmpl-1", "object": "chat.completion"},
        "log": {"duration": 2.34, "session_id": "session-5"},
        **more,
    }
