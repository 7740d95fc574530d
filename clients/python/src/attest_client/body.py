"""Parses a response body as it arrives."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from attest_client import values
from attest_client.streams import Stream
from attest_client.warn import count, warn

LIMIT = 64 << 20
"""The maximum bytes kept of a response body."""

_HEAD = 1_024
"""The bytes after which the kind of a body is decided at the latest."""
_FIELDS = (b"data", b"event", b"id:", b"retry", b":")
_LABELS = ("text/event-stream", "application/x-ndjson")


@dataclass
class Answer:
    response: Any = None
    error: Any = None
    incomplete: str | None = None
    unmerged: Any = None


class Body:
    """Assembles a body that is a stream, and buffers any other.

    The first bytes determine whether a body is a stream. If they do not, the request's `stream` and the `Content-Type` decide.
    """

    def __init__(self, api: str, is_stream_wanted: bool, content_type: str):
        self._api = api
        self._is_stream_wanted = is_stream_wanted or content_type.partition(";")[0].strip().lower() in _LABELS
        self._stream: Stream | None = None
        self._is_decided = False
        self._chunks: list[bytes] = []
        self._size = 0
        self.is_truncated = False

    @property
    def has_content(self) -> bool:
        """Whether any content of a streamed response has arrived."""
        return self._stream is not None and self._stream.has_content

    def feed(self, chunk: bytes) -> None:
        if self.is_truncated or not chunk:
            return
        if self._size + len(chunk) > LIMIT:
            chunk = chunk[: LIMIT - self._size]
            self.is_truncated = True
        self._size += len(chunk)
        if self._stream is None:
            self._chunks.append(chunk)
            if not self._is_decided:
                self._decide(is_end=False)
            return
        self._stream.feed(chunk)
        if self._stream.has_events:
            self._chunks.clear()
        else:
            self._chunks.append(chunk)

    def _decide(self, is_end: bool) -> None:
        body = b"".join(self._chunks)
        head = body[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
        if len(head) < len(b"retry") and len(body) < _HEAD and not is_end and not head.startswith((b"{", b"[")):
            return
        self._is_decided = True
        is_json = head.startswith((b"{", b"["))
        if not is_json and (self._is_stream_wanted or head.startswith(_FIELDS)):
            self._stream = Stream(self._api)
            self._stream.feed(body)
            if self._stream.has_events:
                self._chunks.clear()

    def finish(self, status: int, incomplete: str | None) -> Answer:
        """Returns the provider's response. `incomplete` is the reason if a part of the body is missing."""
        if not self._is_decided:
            self._decide(is_end=True)
        if self.is_truncated:
            count("truncated")
            warn("truncated", "a response is longer than %d bytes; the rest is not logged", LIMIT)
            incomplete = "truncated"
        if self._stream and (self._stream.has_events or self._is_empty()):
            return _streamed(self._stream, status, incomplete)
        content = b"".join(self._chunks)
        self._chunks.clear()
        value, reason = _parsed(content, is_whole=not incomplete)
        if isinstance(value, dict) and value.get("object") != "chat.completion.chunk":
            return Answer(response=value, incomplete=incomplete)
        if self._is_stream_wanted and (stream := _lines(self._api, content)):
            return _streamed(stream, status, incomplete)
        error = {"status": status, "body": value}
        if not incomplete:
            count("unparsed")
            warn("unparsed", "a response is logged as it arrived: %s", reason or "it is not a JSON object")
            error["reason"] = reason or "the body is not a JSON object"
        return Answer(error=error, incomplete=incomplete)

    def failed(self, status: int) -> Any:
        """Returns the error of a failed call: its status and its body."""
        return {"status": status, "body": _parsed(b"".join(self._chunks), is_whole=False)[0]}

    def _is_empty(self) -> bool:
        """Returns whether the body has only comments and fields of server-sent events, which keep a connection open."""
        lines = b"".join(self._chunks).removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n").split(b"\n")
        return all(not line.strip() or line.startswith((b":", b"event", b"id", b"retry", b"data")) for line in lines)


def _streamed(stream: Stream, status: int, incomplete: str | None) -> Answer:
    made = stream.finish()
    if made.is_contradictory:
        count("unmerged")
        warn("unmerged", "a part of a stream has no place in its response; it is logged as `unmerged`")
    error = None if made.error is None else {"status": status, "body": made.error}
    return Answer(made.response, error, made.incomplete(incomplete or "ended"), made.unmerged)


def _lines(api: str, content: bytes) -> Stream | None:
    """Parses a stream that has one JSON event per line instead of server-sent events. Ignores a last line that was cut off."""
    stream = Stream(api)
    lines = [line for line in content.splitlines() if line.strip()]
    for place, line in enumerate(lines):
        try:
            event = values.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            stream.add(event)
        elif place == 0 or place < len(lines) - 1:
            return None
    return stream if lines else None


def json_of(body: bytes) -> Any:
    """Returns the JSON value of a body, its text if it is not JSON, or its bytes in Base64 if it is not text."""
    return _parsed(body, is_whole=True)[0]


def _parsed(body: bytes, is_whole: bool) -> tuple[Any, str | None]:
    """Returns the same value as `json_of`, and the reason if the body is not JSON."""
    is_text = True
    try:
        text = body.decode(_encoding(body))
    except UnicodeDecodeError:
        text, is_text = body.decode("utf-8", "replace"), not is_whole
    text = text.removeprefix("\ufeff")
    try:
        value = values.loads(text)
        if is_text or isinstance(value, dict):
            return value, None
    except (ValueError, RecursionError):
        pass
    return (text, "the body is not JSON") if is_text else (base64.b64encode(body).decode(), "the body is not text")


def _encoding(body: bytes) -> str:
    """Detects the encoding of a JSON body, because some servers send UTF-16 (RFC 4627, section 3)."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return "utf-16-be" if body[:1] == b"\0" else "utf-16-le" if body[1:2] == b"\0" else "utf-8"
