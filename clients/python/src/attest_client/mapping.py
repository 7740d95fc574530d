"""Maps a provider's call onto a trace and back, by the rules of docs/mapping.md.

Every value must come from `attest_client.values`, so that numbers keep their digits.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attest_client.values import Number

Json = Any
Members = dict[str, Json]

OPENAI_CHAT = "openai-chat"
OPENAI_RESPONSES = "openai-responses"
ANTHROPIC = "anthropic"
LITELLM = "litellm"

ROLES = ("system", "user", "assistant")
UNKNOWN_MODEL = "unknown"

_PROMPTS = {ANTHROPIC: ["system"], OPENAI_RESPONSES: ["instructions", "input"]}
"""Members of the request that are outside its list of messages but become messages, in the order of the conversation."""

_ASSISTANT_ITEMS = ("reasoning", "mcp_list_tools", "mcp_approval_request", "compaction", "program")
_TIME_MEMBERS = ("created", "created_at", "timestamp")


class NotMapped(ValueError):
    """The call lacks a member that every trace requires."""


def to_trace(
    api: str,
    request: Mapping[str, Json],
    response: Mapping[str, Json] | None,
    *,
    created: int | None = None,
    model: str | None = None,
    incomplete: Json = None,
    error: Json = None,
    unmerged: Json = None,
    rest: tuple[str, Mapping[str, Json]] = ("log", {}),
) -> Members:
    """Returns the trace of a call, without an `id`.

    `created` and `model` are defaults for calls whose request and response lack them. `rest` is the name and the content of a
    member for everything that belongs to neither request nor response.
    """
    request, response = dict(request), dict(response or {})
    trace: Members = {
        "model": _model(response, request) or model,
        "created": _created(response, created, request),
    }
    if trace["model"] is None:
        raise NotMapped("there is no `model`")
    if trace["created"] is None:
        raise NotMapped("there is no time `created`")
    if fingerprint := _fingerprint(response.get("system_fingerprint")):
        trace["system_fingerprint"] = fingerprint

    is_responses_call = api == OPENAI_RESPONSES or (api == LITELLM and _is_responses_call(rest[1]))
    messages = _prompts(OPENAI_RESPONSES if is_responses_call else api, request)
    list_member = _list_member(api)
    if isinstance(items := request.get(list_member), list) and items:
        messages += to_messages(request.pop(list_member))
    request_messages = len(messages)
    choices = response.pop("choices") if isinstance(response.get("choices"), list) else None
    messages += to_messages(_answer(api, response, choices), default_role="assistant")

    trace["messages"] = messages
    if choices is not None:
        trace["choices"] = {str(place): choice for place, choice in enumerate(choices)}
    if isinstance(response.get("usage"), dict):
        trace["usage"] = response.pop("usage")
    trace |= {"api": api, "request_messages": request_messages}
    optional = {"request": request, "response": response, "incomplete": incomplete, "error": error}
    optional |= {"unmerged": unmerged, rest[0]: rest[1]}
    return trace | {name: value for name, value in optional.items() if value or (name == "error" and value is not None)}


def _answer(api: str, response: Members, choices: list[Json] | None) -> list[Json]:
    """Returns the items of the answer. Removes them from the response unless `choices` keeps them."""
    if choices is not None:
        message = choices[0].get("message") if choices and isinstance(choices[0], dict) else None
        return [message] if isinstance(message, dict) else []
    if isinstance(response.get("output"), list) and _is_responses_answer(api, response):
        return response.pop("output") if response["output"] else []
    if isinstance(response.get("content"), (str, list)) and _is_anthropic_answer(api, response):
        return [{name: response.pop(name) for name in ("role", "content") if name in response}]
    return []


def _is_responses_answer(api: str, response: Mapping[str, Json]) -> bool:
    return api == OPENAI_RESPONSES or (api == LITELLM and response.get("object") == "response")


def _is_anthropic_answer(api: str, response: Mapping[str, Json]) -> bool:
    return api == ANTHROPIC or (api == LITELLM and response.get("type") == "message")


def litellm_to_trace(payload: Mapping[str, Json]) -> Members:
    """Returns the trace of LiteLLM's `StandardLoggingPayload`."""
    payload = dict(payload)
    request: Members = {name: payload.pop(name) for name in ("model", "messages") if name in payload}
    parameters = payload.get("model_parameters")
    if isinstance(parameters, dict) and parameters and not parameters.keys() & {"model", "messages"}:
        request |= payload.pop("model_parameters")
    response = payload.pop("response") if isinstance(payload.get("response"), dict) else None
    return to_trace(LITELLM, request, response, created=seconds(payload.get("startTime")), rest=(LITELLM, payload))


def rebuild(trace: Mapping[str, Json]) -> tuple[Members, Members | None]:
    """Rebuilds the request and the response from a trace. A response that never arrived is `None`.

    For LiteLLM, `rebuild_litellm` returns the payload instead.
    """
    api = trace["api"]
    count = trace["request_messages"]
    request = dict(trace.get("request", {}))
    items: list[Json] = []
    for message in trace["messages"][:count]:
        if "member" in message:
            request[message["member"]] = message.get("original", message["content"])
        else:
            items += _items(message)
    if items:
        request[_list_member(api)] = items

    answer = [item for message in trace["messages"][count:] for item in _items(message)]
    if not answer and not trace.keys() & {"response", "choices", "usage"}:
        return request, None
    response = dict(trace.get("response", {}))
    if "choices" in trace:
        response["choices"] = list(trace["choices"].values())
    elif answer and _is_responses_answer(api, response):
        response["output"] = answer
    elif answer:
        response |= answer[0]
    if "usage" in trace:
        response["usage"] = trace["usage"]
    return request, response


def rebuild_litellm(trace: Mapping[str, Json]) -> Members:
    """Rebuilds LiteLLM's payload from a trace."""
    request, response = rebuild(trace)
    payload = dict(trace.get(LITELLM, {}))
    payload |= {name: request.pop(name) for name in ("model", "messages") if name in request}
    if request:
        payload["model_parameters"] = request
    if response is not None:
        payload["response"] = response
    return payload


def to_messages(items: Iterable[Json], default_role: str = "user") -> list[Members]:
    """Converts the items of a conversation into messages: Chat Completions and Anthropic messages, and Responses items.

    `default_role` is the role of an item without a role.
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


def _items(message: Members) -> list[Json]:
    """Returns the provider's items from which a message was made."""
    if "original" not in message:
        return [message]
    original = message["original"]
    if isinstance(original, list):
        return original
    return [{name: value for name, value in message.items() if name not in ("role", "content", "original")} | original]


def _turns(items: Iterable[Json]) -> Iterator[list[Json]]:
    """Groups the items of one turn of the assistant in the Responses API: its reasoning, text and tool calls."""
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
    """Keeps a run as one group if it has a typed item, and splits it otherwise: messages alone are not merged."""
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
            message.add_text(_text(item.get("content"), "assistant"))
        elif item["type"] == "reasoning":
            message.add_reasoning(_text(item.get("content")) or _text(item.get("summary")))
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
    message.add_text(_text(item.get("output", item.get("content"))))
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
                message.add_reasoning(_text(block.get("thinking")))
            elif kind == "tool_use" and isinstance(block.get("id"), str) and isinstance(block.get("name"), str):
                message.add_call(block["id"], block["name"], block.get("input", {}))
            elif kind == "tool_result":
                if isinstance(block.get("tool_use_id"), str):
                    message.call_id = block["tool_use_id"]
                message.add_text(_text(block.get("content")))
        message.add_text(_text([block for block in blocks if not _is_thinking_or_result(block)], role))
        messages.append(message.finish(role))
    return messages


def _is_thinking_or_result(block: Json) -> bool:
    return isinstance(block, dict) and block.get("type") in ("thinking", "tool_result")


class _Message:
    """Returns a message that is made from other items."""

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
    """Converts a message with a role and a content so that it fits the schema."""
    if not isinstance(item, dict):
        return {"role": default_role, "content": "", "original": [item]}
    role, content = item.get("role"), item.get("content")
    if role in ROLES and isinstance(content, str) and not item.keys() & {"original", "member"}:
        return item
    fitted = _role(role, default_role)
    message = {"role": fitted, "content": _text(content, fitted)}
    if "member" in item:
        return message | {"original": [item]}
    message |= {name: value for name, value in item.items() if name not in ("role", "content", "original")}
    return message | {"original": {name: item[name] for name in ("role", "content", "original") if name in item}}


def _role(role: Json, default_role: str) -> str:
    if role is None:
        return default_role
    return role if role in ROLES else "system" if role == "developer" else "user"


def _text(content: Json, role: str = "user") -> str:
    """Returns the text of a content, which is a string or a list of parts.

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


def _prompts(api: str, request: Members) -> list[Members]:
    """Converts the prompts that are outside the request's list of messages into messages."""
    messages = []
    for member in _PROMPTS.get(api, []):
        value = request.get(member)
        role = "user" if member == "input" else "system"
        if isinstance(value, str):
            messages.append({"role": role, "content": request.pop(member), "member": member})
        elif isinstance(value, list) and member != "input":
            messages.append({"role": role, "content": _text(value), "member": member, "original": request.pop(member)})
    return messages


def _list_member(api: str) -> str:
    return "input" if api == OPENAI_RESPONSES else "messages"


def _is_responses_call(payload: Mapping[str, Json]) -> bool:
    return isinstance(payload.get("call_type"), str) and payload["call_type"].endswith("responses")


def _model(*sources: Mapping[str, Json]) -> str | None:
    models = (source.get("model") for source in sources)
    return next((model for model in models if isinstance(model, str) and model), None)


def _fingerprint(value: Json) -> str | None:
    if isinstance(value, (int, float, Number)) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def _created(response: Mapping[str, Json], created: int | None, request: Mapping[str, Json]) -> int | None:
    times = [seconds(response.get(name)) for name in _TIME_MEMBERS]
    times += [created, seconds(request.get("created"))]
    return next((time for time in times if time is not None), None)


_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def seconds(value: Json) -> int | None:
    """Returns the whole seconds since 1970 of a number, a numeric string or an RFC 3339 string, or `None` for any other value.

    A time without an offset is in UTC.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float, Number)):
        value = str(value)
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value) if -(2**63) <= int(value) < 2**63 else None
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value):
        number = float(value)
        return math.floor(number) if abs(number) < 2**53 else None
    if not (parts := _RFC_3339.fullmatch(value)):
        return None
    date, time, offset = parts.groups()
    try:
        moment = datetime.datetime.fromisoformat(f"{date}T{time}{'+00:00' if offset in (None, 'Z', 'z') else offset}")
        return math.floor(moment.timestamp())
    except (ValueError, OverflowError):
        return None
