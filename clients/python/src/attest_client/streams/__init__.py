"""Assembles stream events into the response that the provider would have sent without streaming."""

from __future__ import annotations

from typing import Any

from attest_client import mapping, values
from attest_client.streams.anthropic import Anthropic
from attest_client.streams.assembler import Assembler
from attest_client.streams.chat import Chat
from attest_client.streams.content import has_content
from attest_client.streams.events import EventReader
from attest_client.streams.responses import Responses

_ASSEMBLERS: dict[str, type[Assembler]] = {mapping.OPENAI_RESPONSES: Responses, mapping.ANTHROPIC: Anthropic}


class Stream:
    """A response that arrives in chunks. Each chunk is parsed as it arrives, so that the end of a long stream causes no delay."""

    def __init__(self, api: str):
        self._assembler = _ASSEMBLERS.get(api, Chat)()
        self._events = EventReader()
        self._is_done = False
        self.has_events = False
        self.has_content = False
        """Whether any generated content has arrived."""

    def feed(self, chunk: bytes) -> None:
        for data in self._events.feed(chunk):
            self._add(data, is_last=False)

    def finish(self) -> Assembler:
        for data in self._events.close():
            self._add(data, is_last=True)
        self._assembler.finish()
        self._assembler.is_complete |= self._is_done
        return self._assembler

    def add(self, event: Any) -> None:
        """Adds a parsed event."""
        self.has_events = True
        if isinstance(event, dict):
            self.has_content = self.has_content or has_content(event)
            self._assembler.add(event)
        else:
            self._assembler.keep(event)

    def _add(self, data: str, is_last: bool) -> None:
        if data.strip() == "[DONE]":
            self._is_done = self.has_events = True
            return
        try:
            event = values.loads(data)
        except (ValueError, RecursionError):
            if not is_last:  # the last event may have been cut off
                self._assembler.keep(data)
            return
        self.add(event)


def assemble(api: str, body: bytes) -> Assembler:
    """Assembles a whole body of server-sent events."""
    stream = Stream(api)
    stream.feed(body)
    return stream.finish()
