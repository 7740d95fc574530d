"""Logs every call that goes through LiteLLM's SDK or proxy.

For the SDK, set `litellm.callbacks = [attest_client.litellm.logger]`. For the proxy, set
`litellm_settings: {callbacks: attest_client.litellm.logger}` in its configuration.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from attest_client import client, context, mapping, recording, values
from attest_client.body import json_of
from attest_client.warn import never_raises

HELD_STREAM_SECONDS = 600  # a stream that lasts longer is logged without its response, and again when it ends
MAX_LOGGED = 10_000  # calls that are remembered, to recognize repeated events

_LABELS = ("session_id", "litellm_session_id", "user", "user_id", "trace_user_id", "tags")
"""Members of the caller's metadata that LiteLLM's payload lacks. The rest of this metadata may contain keys and headers."""

# A list of permitted members, because `optional_params` also has headers, keys and hosts, which no trace may contain.
_PARAMETERS = """temperature top_p top_k n max_tokens max_completion_tokens max_output_tokens stop seed tools tool_choice stream
response_format reasoning_effort reasoning thinking system instructions frequency_penalty presence_penalty logprobs user""".split()


class AttestLogger(CustomLogger):  # type: ignore[misc]
    """A callback that LiteLLM invokes for each call.

    LiteLLM reports success and failure from a thread or task, after the call has returned. `log_post_api_call` is called before
    that, with the provider's response. Its trace is held in the spool until the trace of the later event replaces it, so that the
    call survives SIGKILL.
    """

    def __init__(
        self, *, mask: recording.Mask | None = None, keep_secrets: bool = False, extra: Mapping[str, Any] | None = None
    ):
        super().__init__()
        self._mask, self._keep_secrets, self._extra = mask, keep_secrets, extra or {}
        self._contexts: collections.OrderedDict[str, Mapping[str, Any]] = collections.OrderedDict()
        """The members of `extra` around each call in flight, because its events come from other threads and tasks."""
        self._held: dict[str, client.Held] = {}
        self._logged: collections.OrderedDict[tuple[Any, ...], None] = collections.OrderedDict()

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        self._begin(kwargs)

    def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._hold(kwargs)

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs)

    @never_raises
    def _begin(self, kwargs: Any) -> None:
        call = kwargs.get("litellm_call_id")
        if call and (members := context.current()):
            self._contexts[call] = members
            if len(self._contexts) > MAX_LOGGED:
                self._contexts.popitem(last=False)

    def _trace(self, payload: Any, kwargs: Any) -> recording.Trace:
        trace = mapping.litellm_to_trace(values.to_json(payload))
        members = self._contexts.get(kwargs.get("litellm_call_id"), context.current())
        if log := {**_labels(kwargs), **self._extra, **members}:
            rest = trace.pop(mapping.LITELLM, None)
            trace |= {"log": values.to_json(log)} | ({} if rest is None else {mapping.LITELLM: rest})
        return trace

    @never_raises
    def _hold(self, kwargs: Any) -> None:
        call = kwargs.get("litellm_call_id")
        if not call or not client.is_configured():
            return
        before = self._held.pop(call, None)
        payload = _provisional(kwargs)
        is_stream = "response" not in payload
        trace = self._trace(payload, kwargs)
        if is_stream:
            trace["incomplete"] = "closed"
        held = recording.hold(trace, self._mask, HELD_STREAM_SECONDS if is_stream else client.HELD_SECONDS, self._keep_secrets)
        if held:
            self._held[call] = held
        if before:
            client.settle(before)
        for old in [key for key, old in list(self._held.items()) if old.end < time.monotonic()]:
            self._held.pop(old, None)

    @never_raises
    def _log(self, kwargs: Any) -> None:
        if not client.is_configured():
            return
        payload = kwargs["standard_logging_object"]
        event = tuple(payload.get(name) for name in ("litellm_call_id", "id", "status", "startTime"))
        if event in self._logged:
            return  # LiteLLM reports Responses streams twice
        self._logged[event] = None
        if len(self._logged) > MAX_LOGGED:
            self._logged.popitem(last=False)
        held = self._held.pop(kwargs.get("litellm_call_id"), None)
        recording.put(self._trace(payload, kwargs), self._mask, self._keep_secrets, held)
        self._contexts.pop(kwargs.get("litellm_call_id"), None)


def _labels(kwargs: Any) -> dict[str, Any]:
    """Returns the session, user and tags from the caller's metadata."""
    parameters = kwargs.get("litellm_params") or {}
    found = {}
    for holder in (parameters.get("litellm_metadata"), parameters.get("metadata")):
        if isinstance(holder, Mapping):
            found |= {name: holder[name] for name in _LABELS if holder.get(name) not in (None, "", [])}
    return found


def _provisional(kwargs: Any) -> dict[str, Any]:
    """Returns what is known about a call before LiteLLM has built its payload."""
    parameters = kwargs.get("optional_params") or {}
    started = kwargs.get("start_time")
    payload = {
        "litellm_call_id": kwargs.get("litellm_call_id"),
        "call_type": kwargs.get("call_type"),
        "custom_llm_provider": kwargs.get("custom_llm_provider"),
        "model": kwargs.get("model"),
        "messages": kwargs.get("messages") or kwargs.get("input"),
        "model_parameters": {name: parameters[name] for name in _PARAMETERS if name in parameters},
        "startTime": started.timestamp() if hasattr(started, "timestamp") else time.time(),
    }
    response = json_of(str(kwargs.get("original_response", "")).encode("utf-8", "replace"))
    return {**payload, "response": response} if isinstance(response, dict) else payload


logger = AttestLogger()
