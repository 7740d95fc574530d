"""Assembles the events of a stream into the response that the provider would have sent without streaming."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any

import sseclient

from attest_client import mapping, values

Json = Any
Members = dict[str, Json]


class Assembler(abc.ABC):
    """Assembles the received part of a response."""

    def __init__(self) -> None:
        self.response: Members = {}
        """Empty before the first event."""
        self.is_complete = False
        """Whether the last event of the stream arrived."""
        self.error: Json = None
        """The error that the provider sent instead of the rest."""

    @abc.abstractmethod
    def add(self, event: Members) -> None: ...

    @abc.abstractmethod
    def finish(self) -> None:
        """Completes `response` after the last event."""


def assemble(api: str, body: bytes) -> Assembler:
    """Reads a body of server-sent events. Events that are not JSON objects are skipped: the last one may have been cut off."""
    assemblers: dict[str, type[Assembler]] = {mapping.OPENAI_RESPONSES: _Responses, mapping.ANTHROPIC: _Anthropic}
    assembler = assemblers.get(api, _Chat)()
    is_done = False
    for event in _events(body):
        if event is None:
            is_done = True
        else:
            assembler.add(event)
    assembler.finish()
    assembler.is_complete |= is_done
    return assembler


def _events(body: bytes) -> Iterator[Members | None]:
    """Yields the data of each event that is a JSON object, and `None` for `[DONE]`."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")  # the parser raises on a truncated character
    lines = text.replace("\r\n", "\n").replace("\r", "\n")  # the parser does not recognize mixed line ends
    for event in sseclient.SSEClient(iter([lines.encode()])).events():
        if event.data.strip() == "[DONE]":
            yield None
            continue
        try:
            data = values.loads(event.data)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            yield data


MAX_INDEX = 100_000
"""No provider sends lists of more elements."""


def _index(value: Json) -> int | None:
    """Returns an index into a list, or `None` for any other value."""
    return value if type(value) is int and 0 <= value < MAX_INDEX else None


def _in_order(entries: dict[int, Members]) -> list[Members]:
    return [entries[index] for index in sorted(entries)]


_NAMES = ("id", "index", "type", "role", "name", "format", "status")
"""Members whose later value replaces the earlier one. All other strings are pieces of one text."""


def _merge_into(whole: Members, delta: Members) -> None:
    """Merges a delta into a snapshot.

    Texts are concatenated, objects are merged, elements of lists are merged by their `index`, and appended if they have none.
    Every other value replaces the earlier one, but null replaces nothing.
    """
    for name, value in delta.items():
        whole[name] = _merged(name, whole.get(name), value)


def _merged(name: str, before: Json, value: Json) -> Json:
    if before is None:
        return _merge_lists([], value) if isinstance(value, list) else value
    if value is None:
        return before
    if isinstance(before, str) and isinstance(value, str):
        return (value or before) if name in _NAMES else before + value
    if isinstance(before, list) and isinstance(value, list):
        return _merge_lists(before, value)
    if isinstance(before, dict) and isinstance(value, dict):
        _merge_into(before, value)
        return before
    return value


def _merge_lists(whole: list[Json], deltas: list[Json]) -> list[Json]:
    merged = list(whole)
    for delta in deltas:
        index = _index(delta.get("index")) if isinstance(delta, dict) else None
        same = (entry for entry in merged if isinstance(entry, dict) and _index(entry.get("index")) == index)
        entry = None if index is None else next(same, None)
        if entry is None:
            merged.append(delta)
        else:
            _merge_into(entry, delta)
    return merged


class _Chat(Assembler):
    """Assembles chunks of Chat Completions."""

    def __init__(self) -> None:
        super().__init__()
        self._is_started = False
        self._choices: dict[int, Members] = {}

    def add(self, chunk: Members) -> None:
        if chunk.get("error") is not None and "choices" not in chunk:
            self.error = chunk["error"]
            return
        for name, value in chunk.items():
            if name == "choices":
                for place, choice in enumerate(value if isinstance(value, list) else []):
                    if isinstance(choice, dict):
                        self._add_choice(choice, place)
            elif name != "obfuscation" and (value not in (None, "") or name not in self.response):
                self.response[name] = value  # `obfuscation` only pads the events of a stream
        self._is_started = True

    def _add_choice(self, choice: Members, place: int) -> None:
        index = _index(choice.get("index"))
        index = place if index is None else index
        whole = self._choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
        for name, value in choice.items():
            if name == "logprobs":
                _merge_into(whole, {name: value})
            elif name not in ("index", "delta", "message") and (value is not None or name not in whole):
                whole[name] = value
        if isinstance(delta := choice.get("delta"), dict):
            _merge_into(whole["message"], {name: value for name, value in delta.items() if name != "tool_calls"})
            for call in delta["tool_calls"] if isinstance(delta.get("tool_calls"), list) else []:
                if isinstance(call, dict):
                    self._add_call(whole["message"].setdefault("tool_calls", []), call)

    @staticmethod
    def _add_call(calls: list[Members], call: Members) -> None:
        index, call_id = _index(call.get("index")), call.get("id")
        if index is not None:
            same = [old for old in calls if _index(old.get("index")) == index]
        elif call_id:  # some servers send calls without an index, and a new id starts a new call
            same = [old for old in calls if old.get("id") == call_id]
        else:
            same = calls[-1:]
        if same:
            _merge_into(same[0], call)
        else:
            calls.append(call)

    def finish(self) -> None:
        if not self._is_started:
            return
        choices = _in_order(self._choices)
        # Some servers do not send `[DONE]`, and some applications stop reading before it.
        self.is_complete = bool(choices) and all(choice["finish_reason"] for choice in choices)
        usage = {"usage": self.response.pop("usage")} if "usage" in self.response else {}
        self.response["object"] = "chat.completion"
        self.response |= {"choices": [_whole_choice(choice) for choice in choices], **usage}


def _whole_choice(choice: Members) -> Members:
    """Adds the members that the API sends without streaming."""
    choice = dict(choice)
    message = choice.pop("message")
    whole: Members = {"role": message.pop("role", None) or "assistant", "content": message.pop("content", None)}
    whole |= {name: message.pop(name) for name in ("refusal", "tool_calls") if name in message}
    if calls := whole.get("tool_calls"):
        calls.sort(key=lambda call: _index(call.get("index")) or 0)
        whole["tool_calls"] = [{name: value for name, value in call.items() if name != "index"} for call in calls]
    logprobs = {"logprobs": choice.pop("logprobs")} if "logprobs" in choice else {}
    first = {"index": choice.pop("index"), "message": whole | message, **logprobs}
    return {**first, "finish_reason": choice.pop("finish_reason"), **choice}


class _Responses(Assembler):
    """Assembles events of the Responses API. The last event contains the whole response."""

    _TEXTS = {
        "response.output_text": "text",
        "response.refusal": "refusal",
        "response.reasoning_text": "text",
        "response.reasoning_summary_text": "text",
        "response.function_call_arguments": "arguments",
        "response.mcp_call_arguments": "arguments",
        "response.custom_tool_call_input": "input",
        "response.code_interpreter_call_code": "code",
    }
    """The member that contains the text of an event."""

    _PARTS = {
        "response.content_part": ("content", "content_index"),
        "response.reasoning_summary_part": ("summary", "summary_index"),
    }
    """The item's list of parts, and the event's index into it."""

    def __init__(self) -> None:
        super().__init__()
        self._output: dict[int, Members] = {}

    def add(self, event: Members) -> None:
        kind = event["type"] if isinstance(event.get("type"), str) else ""
        index = _index(event.get("output_index"))
        if kind == "error":
            self.error = {name: value for name, value in event.items() if name not in ("type", "sequence_number")}
        elif isinstance(event.get("response"), dict):
            if not self.is_complete:
                self.response = event["response"]
            self.is_complete |= kind in ("response.completed", "response.incomplete", "response.failed")
        elif kind in ("response.output_item.added", "response.output_item.done"):
            if index is not None and isinstance(event.get("item"), dict):
                self._output[index] = event["item"]
        elif index is not None and index in self._output:
            self._add_piece(self._output[index], kind, event)

    def _add_piece(self, item: Members, kind: str, event: Members) -> None:
        prefix, _, end = kind.rpartition(".")
        if prefix in self._PARTS:
            name, index = self._PARTS[prefix]
            if isinstance(event.get("part"), dict) and (place := _index(event.get(index))) is not None:
                _put(_elements(item, name), place, event["part"])
        elif kind == "response.output_text.annotation.added":
            part = _part(item, "content", event.get("content_index"))
            if part is not None and event.get("annotation") is not None:
                place = _index(event.get("annotation_index"))
                _put(_elements(part, "annotations"), MAX_INDEX if place is None else place, event["annotation"])
        elif prefix in self._TEXTS and end in ("delta", "done"):
            member = self._TEXTS[prefix]
            text = event.get("delta" if end == "delta" else member)
            if isinstance(text, str) and (holder := self._holder(item, prefix, member, event)) is not None:
                before = holder.get(member) if end == "delta" else None
                holder[member] = before + text if isinstance(before, str) else text
                if end == "delta" and isinstance(logprobs := event.get("logprobs"), list) and logprobs:
                    _elements(holder, "logprobs").extend(logprobs)

    @staticmethod
    def _holder(item: Members, prefix: str, member: str, event: Members) -> Members | None:
        """Returns the object that contains the text: the item, or one of its parts."""
        if member not in ("text", "refusal"):
            return item
        is_summary = prefix == "response.reasoning_summary_text"
        name, index = ("summary", "summary_index") if is_summary else ("content", "content_index")
        parts = item.get(name)
        if event.get(index) == (len(parts) if isinstance(parts, list) else 0):  # reasoning text has no event that adds its part
            _elements(item, name).append({"type": prefix.partition(".")[2], member: ""})
        return _part(item, name, event.get(index))

    def finish(self) -> None:
        output = self.response.get("output")
        if self._output and not (self.is_complete and isinstance(output, list) and output):  # some servers leave it empty
            self.response["output"] = _in_order(self._output)


def _elements(members: Members, name: str) -> list[Json]:
    """Returns a member that is a list, and creates it if necessary."""
    if not isinstance(members.get(name), list):
        members[name] = []
    elements: list[Json] = members[name]
    return elements


def _part(item: Members, name: str, index: Json) -> Members | None:
    parts, place = item.get(name), _index(index)
    if not isinstance(parts, list) or place is None or place >= len(parts):
        return None
    part = parts[place]
    return part if isinstance(part, dict) else None


def _put(entries: list[Json], index: int, value: Json) -> None:
    if index < len(entries):
        entries[index] = value
    else:
        entries.append(value)


class _Anthropic(Assembler):
    """Assembles events of the Messages API."""

    def __init__(self) -> None:
        super().__init__()
        self._is_started = False
        self._blocks: dict[int, Members] = {}
        self._inputs: dict[int, str] = {}
        """The JSON text of each tool's input, which arrives in pieces."""
        self._stopped: set[int | None] = set()

    def add(self, event: Members) -> None:
        kind, index = event.get("type"), _index(event.get("index"))
        if kind == "message_start":
            if isinstance(message := event.get("message"), dict):
                self._is_started = True
                self.response = message
                for place, block in enumerate(message["content"] if isinstance(message.get("content"), list) else []):
                    if isinstance(block, dict):
                        self._blocks.setdefault(place, block)
        elif kind == "content_block_start":
            if isinstance(block := event.get("content_block"), dict) and index is not None:
                self._is_started = True
                self._blocks[index] = block
                to = block.get("to")
                if block.get("type") == "fallback" and isinstance(to, dict) and isinstance(to.get("model"), str):
                    self.response["model"] = to["model"]  # from here on, another model responds
        elif kind == "content_block_delta":
            if isinstance(delta := event.get("delta"), dict) and index is not None and index in self._blocks:
                self._add_delta(index, delta)
        elif kind == "content_block_stop":
            self._stopped.add(index)
        elif kind == "message_delta":
            self._is_started = True
            self._end(event)
        elif kind == "message_stop":
            self.is_complete = True
        elif kind == "error":
            self.error = event if event.get("error") is None else event["error"]

    def _add_delta(self, index: int, delta: Members) -> None:
        block, kind = self._blocks[index], delta.get("type")
        if kind == "input_json_delta":
            if isinstance(delta.get("partial_json"), str):
                self._inputs[index] = self._inputs.get(index, "") + delta["partial_json"]
        elif kind == "citations_delta":
            if delta.get("citation") is not None:
                _elements(block, "citations").append(delta["citation"])
        elif kind == "signature_delta":
            if isinstance(delta.get("signature"), str):
                block["signature"] = delta["signature"]
        else:  # text, thinking, and future types
            _merge_into(block, {name: value for name, value in delta.items() if name != "type"})

    def _end(self, event: Members) -> None:
        for name, value in event.items():
            if name == "delta":
                self.response |= value if isinstance(value, dict) else {}
            elif name == "usage":  # the counts are totals, so they replace those of the first event
                old = self.response.get("usage")
                usage = old if isinstance(old, dict) else {}
                new = value if isinstance(value, dict) else {}
                if new:
                    kept = {key: count for key, count in new.items() if count is not None or key not in usage}
                    self.response["usage"] = usage | kept
            elif name != "type":
                self.response[name] = value

    def finish(self) -> None:
        if not self._is_started:
            return
        for index, text in self._inputs.items():
            # The start of a number is also a number, so a truncated input is kept as a string instead of parsed.
            if text:
                self._blocks[index]["input"] = _input(text) if index in self._stopped else text
        self.response["content"] = _in_order(self._blocks)


def _input(text: str) -> Json:
    """Parses the input of a tool. Some models write inputs that are not JSON; their text is kept."""
    try:
        return values.loads(text)
    except (ValueError, RecursionError):
        return text
