"""Assembles the events of a stream into the response that the provider would have sent without streaming."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Any

import sseclient

from attest_client import mapping, values

Json = Any
Members = dict[str, Json]


class Assembler(abc.ABC):
    """The response as far as it came."""

    def __init__(self) -> None:
        self.response: Members = {}
        self.is_complete = False
        """Whether the stream's last event came."""
        self.error: Json = None
        """The error that the provider sent instead of the rest."""

    @abc.abstractmethod
    def add(self, event: Members) -> None: ...

    def finish(self) -> None:  # noqa: B027  an assembler may have nothing to complete
        """Completes `response` after the last event."""


def assemble(api: str, body: bytes) -> Assembler:
    """Reads a body of server-sent events. Events that cannot be read are skipped: the last may have been cut off."""
    assemblers: dict[str, type[Assembler]] = {mapping.OPENAI_RESPONSES: _Responses, mapping.ANTHROPIC: _Anthropic}
    assembler = assemblers.get(api, _Chat)()
    for event in _events(body):
        if event is None:
            assembler.is_complete = True
        elif isinstance(event, dict):
            _quietly(assembler.add, event)
    _quietly(assembler.finish)
    return assembler


def _events(body: bytes) -> Iterator[Json]:
    """The data of each event; `None` for `[DONE]`."""
    text = body.decode(errors="replace").encode()  # the parser raises on a character that was cut off
    for event in sseclient.SSEClient(iter(text.splitlines(keepends=True))).events():
        if event.data.strip() == "[DONE]":
            yield None
            continue
        try:
            yield values.loads(event.data)
        except ValueError:
            continue


def _quietly(step: Callable[..., None], *arguments: Any) -> None:
    """Skips an event of an unexpected shape, so that the others count."""
    try:
        step(*arguments)
    except (AttributeError, IndexError, KeyError, TypeError):
        pass


class _Chat(Assembler):
    """Chunks of Chat Completions."""

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, Members] = {}

    def add(self, chunk: Members) -> None:
        if chunk.get("error") is not None and "choices" not in chunk:
            self.error = chunk["error"]
            return
        for name, value in chunk.items():
            if name not in ("choices", "obfuscation") and (value is not None or name not in self.response):
                self.response[name] = value
        self.response["object"] = "chat.completion"
        for place, choice in enumerate(chunk.get("choices") or []):
            self._add_choice(choice, choice.get("index", place))

    def _add_choice(self, choice: Members, index: Json) -> None:
        whole = self._choices.setdefault(index, {"index": index, "message": {"role": "assistant", "content": None}})
        for name, value in choice.items():
            if name == "delta":
                for member, part in (value or {}).items():
                    whole["message"][member] = _merge(whole["message"].get(member), part, member)
            elif name == "logprobs" and isinstance(value, dict):
                whole["logprobs"] = _merge_lists(whole.get("logprobs"), value)
            elif value is not None or name not in whole:
                whole[name] = value

    def finish(self) -> None:
        if not self.response:
            return
        choices = _in_order(self._choices)
        for choice in choices:
            for call in choice["message"].get("tool_calls") or []:
                call.pop("index", None)
        self.response["choices"] = choices
        # Some servers, and applications that stop reading, leave out `[DONE]`.
        self.is_complete |= bool(choices) and all(choice.get("finish_reason") for choice in choices)


def _merge(whole: Json, part: Json, name: str) -> Json:
    """Adds a delta to a value: texts and lists grow, entries of a list meet by their `index`."""
    if part is None or whole is None:
        return part if whole is None else whole
    if isinstance(whole, str) and isinstance(part, str):
        return part if name in ("role", "id", "type") else whole + part
    if isinstance(whole, dict) and isinstance(part, dict):
        return whole | {member: _merge(whole.get(member), value, member) for member, value in part.items()}
    if isinstance(whole, list) and isinstance(part, list):
        merged = list(whole)
        for entry in part:
            index = entry.get("index") if isinstance(entry, dict) else None
            place = next((at for at, old in enumerate(merged) if index is not None and old.get("index") == index), None)
            if place is None:
                merged.append(entry)
            else:
                merged[place] = _merge(merged[place], entry, "")
        return merged
    return part


def _merge_lists(whole: Members | None, part: Members) -> Members:
    merged = dict(whole or {})
    for name, value in part.items():
        old = merged.get(name)
        merged[name] = old + value if isinstance(old, list) and isinstance(value, list) else old if value is None else value
    return merged


class _Responses(Assembler):
    """Events of the Responses API. The last one has the whole response."""

    _DELTAS = {
        "response.output_text": "text",
        "response.refusal": "refusal",
        "response.reasoning_text": "text",
        "response.reasoning_summary_text": "text",
        "response.function_call_arguments": "arguments",
        "response.mcp_call_arguments": "arguments",
        "response.custom_tool_call_input": "input",
        "response.code_interpreter_call_code": "code",
    }
    """The member that the deltas of an event type add to."""

    def __init__(self) -> None:
        super().__init__()
        self._output: dict[int, Members] = {}

    def add(self, event: Members) -> None:
        kind = event["type"]
        if kind == "error":
            self.error = {name: value for name, value in event.items() if name not in ("type", "sequence_number")}
        elif isinstance(event.get("response"), dict):
            self.response = event["response"]
            self.is_complete = kind in ("response.completed", "response.incomplete", "response.failed")
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._output[event["output_index"]] = event["item"]
        elif kind in ("response.content_part.added", "response.content_part.done"):
            _put(self._item(event).setdefault("content", []), event["content_index"], event["part"])
        elif kind in ("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"):
            _put(self._item(event).setdefault("summary", []), event["summary_index"], event["part"])
        elif kind == "response.output_text.annotation.added":
            part = self._part(event)
            _put(part.setdefault("annotations", []), event["annotation_index"], event["annotation"])
        elif kind.endswith(".delta"):
            self._add_delta(kind.removesuffix(".delta"), event)

    def _add_delta(self, kind: str, event: Members) -> None:
        if (member := self._DELTAS.get(kind)) is None:
            return
        part = self._part(event)
        part[member] = (part.get(member) or "") + event["delta"]
        if event.get("logprobs"):
            part["logprobs"] = (part.get("logprobs") or []) + event["logprobs"]

    def _item(self, event: Members) -> Members:
        return self._output[event["output_index"]]

    def _part(self, event: Members) -> Members:
        item = self._item(event)
        for index, member in (("content_index", "content"), ("summary_index", "summary")):
            if index in event:
                parts = item.setdefault(member, [])
                if event[index] == len(parts):  # reasoning text comes without an event for its part
                    parts.append({"type": event["type"].split(".")[1], "text": ""})
                part: Members = parts[event[index]]
                return part
        return item

    def finish(self) -> None:
        if self._output and not self.response.get("output"):
            self.response["output"] = _in_order(self._output)


def _in_order(entries: dict[int, Members]) -> list[Members]:
    return [entries[index] for index in sorted(entries)]


def _put(entries: list[Json], index: int, value: Json) -> None:
    if index < len(entries):
        entries[index] = value
    else:
        entries.append(value)


class _Anthropic(Assembler):
    """Events of the Messages API."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, Members] = {}
        self._inputs: dict[int, str] = {}

    def add(self, event: Members) -> None:
        kind = event["type"]
        if kind == "message_start":
            self.response = event["message"]
            self._blocks = dict(enumerate(self.response.get("content") or []))
        elif kind == "content_block_start":
            block = self._blocks[event["index"]] = event["content_block"]
            if block.get("type") == "fallback":  # another model answers from here on
                self.response["model"] = block["to"]["model"]
        elif kind == "content_block_delta":
            self._add_delta(event["index"], event["delta"])
        elif kind == "content_block_stop":
            self._read_input(event["index"])
        elif kind == "message_delta":
            self._end(event)
        elif kind == "message_stop":
            self.is_complete = True
        elif kind == "error":
            self.error = event.get("error")

    def _add_delta(self, index: int, delta: Members) -> None:
        block = self._blocks[index]
        if delta["type"] == "input_json_delta":
            self._inputs[index] = self._inputs.get(index, "") + delta["partial_json"]
        elif delta["type"] == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif delta["type"] == "signature_delta":
            block["signature"] = delta["signature"]
        else:  # `text_delta`, `thinking_delta` and what is to come: members that grow
            for name, value in delta.items():
                if name != "type":
                    old = block.get(name)
                    block[name] = old + value if isinstance(old, str) and isinstance(value, str) else value

    def _read_input(self, index: int) -> None:
        if text := self._inputs.pop(index, ""):
            try:
                self._blocks[index]["input"] = values.loads(text)
            except ValueError:
                self._blocks[index]["input"] = text

    def _end(self, event: Members) -> None:
        for name, value in event.items():
            if name == "delta":
                self.response |= value
            elif name == "usage":
                usage = self.response.get("usage") or {}
                self.response["usage"] = usage | {key: new for key, new in value.items() if new is not None or key not in usage}
            elif name != "type":
                self.response[name] = value

    def finish(self) -> None:
        for index, text in self._inputs.items():  # the stream was cut off within a call
            self._blocks[index]["input"] = text
        if self.response:
            self.response["content"] = _in_order(self._blocks)
