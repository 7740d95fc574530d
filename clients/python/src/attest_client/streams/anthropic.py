"""Assembles the events of Anthropic's Messages API."""

from __future__ import annotations

from attest_client import values
from attest_client.streams.assembler import Assembler
from attest_client.streams.merge import PIECES, STATE, Json, Members, index_of, is_empty


class Anthropic(Assembler):
    def __init__(self) -> None:
        super().__init__()
        self._is_started = False
        self._blocks: list[tuple[int, Members]] = []
        self._current: dict[int, Members] = {}
        """The last block with each index."""
        self._next = 0
        self._inputs: dict[int, list[str]] = {}
        """The pieces of each tool's JSON input, by the identity of its block."""
        self._stopped: set[int] = set()

    def add(self, event: Members) -> None:
        kind, rest = event.get("type"), dict(event)
        if kind == "message_start":
            self._start(rest.pop("message", None))
        elif kind == "message":  # some servers send the whole message as one event
            self._start(event)
            self.is_complete = True
            return
        elif kind == "content_block_start":
            self._start_block(event.get("index"), rest.pop("content_block", None))
        elif kind == "content_block_delta":
            self._add_delta(event.get("index"), rest.pop("delta", None))
        elif kind == "content_block_stop":
            if (index := index_of(event.get("index"))) in self._current:
                self._stopped.add(id(self._current[index]))
        elif kind == "message_delta":
            self._is_started = True
            delta = rest.pop("delta", None)
            if isinstance(delta, dict):
                self.merge(self.response, delta, STATE)
            else:
                self.keep(delta)
            rest.pop("type")
            self.merge(self.response, rest, STATE)
            return
        elif kind == "message_stop":
            self.is_complete = True
        elif kind == "error" or event.get("error") is not None:
            error = rest.pop("error", None)
            self.fail(event if error is None else error)
            rest.pop("type", None)
            if error is not None:
                self.merge(self.response, rest, STATE)
            return
        if rest.keys() - {"type", "index"}:
            self.keep(rest)

    def _start(self, message: Json) -> None:
        if not isinstance(message, dict):
            self.keep(message)
            return
        self._is_started = True
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else content
        self.merge(self.response, {name: value for name, value in message.items() if name != "content"}, STATE)
        for place, block in enumerate(blocks if isinstance(blocks, list) else []):
            self._start_block(place, block)
        if not isinstance(blocks, list):
            self.keep(blocks)

    def _start_block(self, index: Json, block: Json) -> None:
        if not isinstance(block, dict):
            self.keep(block)
            return
        self._is_started = True
        place = index_of(index)
        place = self._next if place is None else place
        self._next = max(self._next, place + 1)
        self._blocks.append((place, block))
        self._current[place] = block
        to = block.get("to")
        if block.get("type") == "fallback" and isinstance(to, dict) and isinstance(to.get("model"), str):
            self.response["model"] = to["model"]  # from here on, another model responds

    def _add_delta(self, index: Json, delta: Json) -> None:
        if not isinstance(delta, dict):
            self.keep(delta)
            return
        block, kind = self._block(index, delta), delta.get("type")
        rest = {name: value for name, value in delta.items() if name != "type"}
        if kind == "input_json_delta" and isinstance(rest.get("partial_json"), str):
            self._inputs.setdefault(id(block), []).append(rest.pop("partial_json"))
        elif kind == "citations_delta" and rest.get("citation") is not None:
            self.merge(block, {"citations": [rest.pop("citation")]}, PIECES)
        elif kind == "signature_delta":
            self.merge(block, rest, STATE)
            return
        self.merge(block, rest, PIECES)  # text, thinking, and future types

    def _block(self, index: Json, delta: Members) -> Members:
        """Returns the block that a delta continues. Creates one if the event that starts it is missing."""
        place = index_of(index)
        if place is None and index is None and self._blocks:
            return self._blocks[-1][1]
        if place is None or place not in self._current:
            kind = delta.get("type")
            kinds = {"input_json_delta": "tool_use", "citations_delta": "text", "signature_delta": "thinking"}
            kind = kinds.get(kind, kind.removesuffix("_delta")) if isinstance(kind, str) else "text"
            self._start_block(index, {"type": kind})
            return self._blocks[-1][1]
        return self._current[place]

    def finish(self) -> None:
        super().finish()
        for _, block in self._blocks:
            # A number that was cut off is still a number, so an unfinished input is kept as a string instead of parsed.
            if text := "".join(self._inputs.get(id(block), [])):
                if not is_empty(block.get("input")):
                    self.unmerged.append({"content": [{"input": block["input"]}]})
                block["input"] = _input(text) if id(block) in self._stopped else text
        if self._is_started:
            self.keep({"content": stray} if (stray := self.response.get("content")) else None)
            self.response["content"] = [block for _, block in sorted(self._blocks, key=lambda placed: placed[0])]


def _input(text: str) -> Json:
    """Parses a tool's input. Returns an input that is not JSON, which some models write, as a string."""
    try:
        return values.loads(text)
    except (ValueError, RecursionError):
        return text
