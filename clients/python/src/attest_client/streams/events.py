"""Parses server-sent events from the chunks of a response.

Existing parsers pull the chunks from an iterator. Here, the application reads the chunks, so they are pushed to the parser.
"""

from __future__ import annotations

from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Splits a stream into events. Each byte is copied a fixed number of times, however the chunks divide the stream."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._last = b""
        """The last byte of `_pending`. The blank line after an event may be split."""
        self._is_carriage_return = False
        """Whether the last chunk ended in a carriage return, which ends a line alone or with the line feed that follows."""
        self._is_first = True

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yields the data of each event that ends in this chunk."""
        if self._is_carriage_return and chunk:
            chunk = chunk.removeprefix(b"\n")
        self._is_carriage_return = chunk.endswith(b"\r") if chunk else self._is_carriage_return
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not chunk:
            return
        is_end = b"\n\n" in self._last + chunk
        self._pending.append(chunk)
        self._last = chunk[-1:]
        if not is_end:
            return
        *blocks, rest = b"".join(self._pending).split(b"\n\n")
        self._pending = [rest] if rest else []
        for block in blocks:
            yield from self._data(block)

    def close(self) -> Iterator[str]:
        """Yields the last event, which may lack its empty line."""
        block = b"".join(self._pending)
        self._pending = []
        yield from self._data(block)

    def _data(self, block: bytes) -> Iterator[str]:
        if self._is_first:
            block = block.removeprefix(_BOM)
            self._is_first = False
        lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:") or line == b"data"]
        data = b"\n".join(lines).decode("utf-8", "replace")
        if data:
            yield data
