"""Converts providers' messages and items into trace messages, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Json = Any
Members = dict[str, Json]

_ROLES = ("system", "user", "assistant")
_ASSISTANT_ITEMS = ("reasoning", "mcp_list_tools", "mcp_approval_request", "compaction", "program")


def to_messages(items: Iterable[Json], default_role: str = "user") -> list[Members]:
    """Converts Chat Completions messages, Anthropic messages or Responses items into trace messages.

    Items without a role get `default_role`.
    """
    messages: list[Members] = []
    for run in _turns(items):
        if len(run) > 1 or _is_assistant_item(run[0]):
            messages.append(_turn(run))
        elif _is_typed(run[0]):
            messages.append(_typed(run[0], default_role))
        elif _has_tool_blocks(run[0]):
            messages += _split(run[0], default_role)
        else:
            messages.append(_message(run[0], default_role))
    return messages


def items_of(message: Members) -> list[Json]:
    """Returns the provider's items from which a message was made."""
    if "original" not in message:
        return [message]
    original = message["original"]
    if isinstance(original, list):
        return original
    return [{name: value for name, value in message.items() if name not in ("role", "content", "original")} | original]


def _turns(items: Iterable[Json]) -> Iterator[list[Json]]:
    """Groups the items of each assistant turn in the Responses API: its reasoning, text and tool calls."""
    run: list[Json] = []
    for item in items:
        if _is_assistant_item(item) or _is_assistant_message(item):
            run.append(item)
        else:
            yield from _cut(run)
            run = []
            yield [item]
    yield from _cut(run)


def _cut(run: list[Json]) -> Iterator[list[Json]]:
    """Keeps a run as one group if it has a typed item, and splits it otherwise, because messages alone are not merged."""
    if any(_is_assistant_item(item) for item in run):
        yield run
    else:
        yield from ([item] for item in run)


def _is_typed(item: Json) -> bool:
    return isinstance(item, dict) and isinstance(item.get("type"), str) and item["type"] != "message"


def _is_assistant_item(item: Json) -> bool:
    return _is_typed(item) and (item["type"] in _ASSISTANT_ITEMS or item["type"].endswith("_call"))


def _is_assistant_message(item: Json) -> bool:
    return isinstance(item, dict) and not _is_typed(item) and item.get("role") == "assistant"


def _has_tool_blocks(item: Json) -> bool:
    blocks = item.get("content") if isinstance(item, dict) else None
    types = ("thinking", "redacted_thinking", "tool_use", "tool_result")
    return isinstance(blocks, list) and any(isinstance(block, dict) and block.get("type") in types for block in blocks)


def _turn(items: list[Json]) -> Members:
    """Merges the reasoning, text and tool calls of a turn in the Responses API into one message."""
    message = _Message(items)
    for item in items:
        if not _is_typed(item):
            message.add_text(text_of(item.get("content"), "assistant"))
        elif item["type"] == "reasoning":
            message.add_reasoning(text_of(item.get("content")) or text_of(item.get("summary")))
        elif isinstance(item.get("call_id"), str):
            name = item["name"] if isinstance(item.get("name"), str) else item["type"].removesuffix("_call")
            arguments = (item[member] for member in ("arguments", "input", "action", "operation") if member in item)
            message.add_call(item["call_id"], name, next(arguments, {}))
    return message.finish("assistant")


def _typed(item: Members, default_role: str) -> Members:
    """Converts an item of the Responses API that is not part of a turn, such as a tool's output, into a message."""
    message = _Message([item])
    if isinstance(item.get("call_id"), str):
        message.call_id = item["call_id"]
    message.add_text(text_of(item.get("output", item.get("content"))))
    return message.finish("user" if item["type"].endswith("_output") else _role(item.get("role"), default_role))


def _split(item: Members, default_role: str) -> list[Members]:
    """Splits a message with content blocks of the Messages API: each tool result becomes a separate message."""
    segments: list[list[Json]] = []
    for block in item["content"]:
        is_result = isinstance(block, dict) and block.get("type") == "tool_result"
        if is_result or not segments or segments[-1][0] == "result":
            segments.append(["result" if is_result else "blocks"])
        segments[-1].append(block)
    role = _role(item.get("role"), default_role)
    messages = []
    for place, (_, *blocks) in enumerate(segments):
        message = _Message([item] if place == 0 else [])
        for block in blocks:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "thinking":
                message.add_reasoning(text_of(block.get("thinking")))
            elif kind == "tool_use" and isinstance(block.get("id"), str) and isinstance(block.get("name"), str):
                message.add_call(block["id"], block["name"], block.get("input", {}))
            elif kind == "tool_result":
                if isinstance(block.get("tool_use_id"), str):
                    message.call_id = block["tool_use_id"]
                message.add_text(text_of(block.get("content")))
        message.add_text(text_of([block for block in blocks if not _is_thinking_or_result(block)], role))
        messages.append(message.finish(role))
    return messages


def _is_thinking_or_result(block: Json) -> bool:
    return isinstance(block, dict) and block.get("type") in ("thinking", "tool_result")


class _Message:
    """Builds a message from provider items."""

    def __init__(self, original: list[Json]):
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[Members] = []
        self.call_id: str | None = None
        self._original = original

    def add_text(self, text: str) -> None:
        self._texts += [text] if text else []

    def add_reasoning(self, text: str) -> None:
        self._reasoning += [text] if text else []

    def add_call(self, call_id: str, name: str, arguments: Json) -> None:
        function = {"name": name, "arguments": arguments}
        self._calls.append({"id": call_id, "type": "function", "function": function})

    def finish(self, role: str) -> Members:
        optional = {
            "reasoning_content": "\n".join(self._reasoning),
            "tool_calls": self._calls,
            "tool_call_id": self.call_id,
        }
        message = {"role": role, "content": "\n".join(self._texts)}
        return message | {name: value for name, value in optional.items() if value} | {"original": self._original}


def _message(item: Json, default_role: str) -> Members:
    """Fits a message with `role` and `content` to the trace schema."""
    if not isinstance(item, dict):
        return {"role": default_role, "content": "", "original": [item]}
    role, content = item.get("role"), item.get("content")
    if role in _ROLES and isinstance(content, str) and not item.keys() & {"original", "member"}:
        return item
    fitted = _role(role, default_role)
    message = {"role": fitted, "content": text_of(content, fitted)}
    if "member" in item:
        return message | {"original": [item]}
    message |= {name: value for name, value in item.items() if name not in ("role", "content", "original")}
    return message | {"original": {name: item[name] for name in ("role", "content", "original") if name in item}}


def _role(role: Json, default_role: str) -> str:
    if role is None:
        return default_role
    return role if role in _ROLES else "system" if role == "developer" else "user"


def text_of(content: Json, role: str = "user") -> str:
    """Returns the text of a `content` member, which is a string or a list of parts.

    Each part starts a new line. Adjacent text parts of the assistant are joined, because citations split its text into pieces.
    """
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    text, is_first, is_adjacent = "", True, False
    for part in content:
        part_text = _part_text(part)
        if part_text is not None:
            text += part_text if is_first or (is_adjacent and role == "assistant") else "\n" + part_text
            is_first = False
        is_adjacent = part_text is not None
    return text


def _part_text(part: Json) -> str | None:
    if not isinstance(part, dict):
        return None
    texts = (part[name] for name in ("text", "refusal") if isinstance(part.get(name), str))
    return next(texts, None)
