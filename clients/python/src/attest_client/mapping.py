"""Maps a provider's call onto a trace and back, by the rules of docs/mapping.md.

Every value must come from `attest_client.values`, so that numbers keep their digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attest_client.messages import items_of, text_of, to_messages
from attest_client.times import seconds
from attest_client.values import Number

Json = Any
Members = dict[str, Json]

OPENAI_CHAT = "openai-chat"
OPENAI_RESPONSES = "openai-responses"
ANTHROPIC = "anthropic"
LITELLM = "litellm"

UNKNOWN_MODEL = "unknown"

_PROMPTS = {ANTHROPIC: ["system"], OPENAI_RESPONSES: ["instructions", "input"]}
"""Request members outside the message list that become messages, in conversation order."""

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
    timing: Json = None,
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
    optional = {"timing": timing, "request": request, "response": response, "incomplete": incomplete, "error": error}
    optional |= {"unmerged": unmerged, rest[0]: rest[1]}
    return trace | {name: value for name, value in optional.items() if value or (name == "error" and value is not None)}


def _answer(api: str, response: Members, choices: list[Json] | None) -> list[Json]:
    """Moves the output items out of the response and returns them. With `choices`, returns the first message and moves nothing."""
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
    """Maps LiteLLM's `StandardLoggingPayload` onto a trace."""
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
            items += items_of(message)
    if items:
        request[_list_member(api)] = items

    answer = [item for message in trace["messages"][count:] for item in items_of(message)]
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


def _prompts(api: str, request: Members) -> list[Members]:
    """Moves the prompts outside the message list out of the request, and returns them as messages."""
    messages = []
    for member in _PROMPTS.get(api, []):
        value = request.get(member)
        role = "user" if member == "input" else "system"
        if isinstance(value, str):
            messages.append({"role": role, "content": request.pop(member), "member": member})
        elif isinstance(value, list) and member != "input":
            messages.append({"role": role, "content": text_of(value), "member": member, "original": request.pop(member)})
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
