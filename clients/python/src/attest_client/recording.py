"""One call of a model, from its bytes to its trace."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from attest_client import client, mapping, streams, values
from attest_client.warn import count, never_raises, warn

Trace = dict[str, Any]
Mask = Callable[[Trace], Trace]

_PATHS = {
    mapping.OPENAI_CHAT: re.compile(r"/chat/completions/?$"),
    mapping.OPENAI_RESPONSES: re.compile(r"/responses/?$"),
    mapping.ANTHROPIC: re.compile(r"/v1/messages/?$"),
}


def api_of(method: str, path: str) -> str | None:
    """Returns the API that a request calls, or `None` if it is not a call of a model."""
    if method != "POST":
        return None
    return next((api for api, pattern in _PATHS.items() if pattern.search(path)), None)


class Call:
    """A request whose response has not ended yet."""

    def __init__(self, api: str, request: bytes, mask: Mask | None, failures: bool):
        self._api, self._request, self._mask, self._failures = api, request, mask, failures
        self._created = int(time.time())

    @never_raises
    def finish(self, status: int, content_type: str, body: bytes, incomplete: str | None = None) -> None:
        """Logs the call. `body` is the decompressed response; `incomplete` is the reason if a part is missing."""
        if not 200 <= status < 300:
            if self._failures:
                self._log(None, error={"status": status, "body": _json_or_text(body)}, incomplete=incomplete)
            return
        if content_type.partition(";")[0].strip().lower() == "text/event-stream":
            stream = streams.assemble(self._api, body)
            reason = "error" if stream.error is not None else incomplete or "ended"
            error = None if stream.error is None else {"status": status, "body": stream.error}
            self._log(stream.response, error=error, incomplete=None if stream.is_complete and not error else reason)
            return
        response = _json_or_text(body)
        if isinstance(response, dict):
            self._log(response, incomplete=incomplete)
        elif incomplete or self._failures:
            self._log(None, error={"status": status, "body": response}, incomplete=incomplete)

    @never_raises
    def fail(self, error: BaseException) -> None:
        """Logs a call without a response."""
        if self._failures:
            self._log(None, error={"type": type(error).__name__, "message": str(error)})

    def _log(self, response: Any, error: Any = None, incomplete: str | None = None) -> None:
        request = _json_or_text(self._request)
        if not isinstance(request, dict):
            request = {"messages": request}
        trace = mapping.to_trace(
            self._api,
            request,
            response,
            created=self._created,
            model=mapping.UNKNOWN_MODEL,
            incomplete=incomplete,
            error=error,
        )
        put(trace, self._mask)


def put(trace: Trace, mask: Mask | None) -> None:
    """Masks a trace and logs it. If `mask` raises, no content is written."""
    if mask is not None:
        try:
            masked = mask(trace)
            if not isinstance(masked, Mapping):
                raise TypeError("mask did not return a dictionary")
            trace = values.to_json(masked)
        except Exception as error:
            count("unmasked")
            warn("mask", "a trace was not logged: mask raised %s", type(error).__name__)
            return
    client.put(trace)


@never_raises
def log_trace(
    request: Mapping[str, Any],
    response: Any = None,
    *,
    api: str | None = None,
    mask: Mask | None = None,
    **extra: Any,
) -> None:
    """Logs one call: the arguments of the SDK's method, and its return value.

    `response` is the SDK's object or a dictionary, or `None` if the call failed. `api` is `openai-chat`, `openai-responses` or
    `anthropic`; without it, the members of the response and the request determine the API. `mask` receives the trace before it
    is written anywhere. `extra` becomes the trace's member `log`. Never raises.
    """
    if not client.is_configured():
        return
    sent, received = values.to_json(request), values.to_json(response)
    sent = sent if isinstance(sent, dict) else {"messages": sent}
    received = received if isinstance(received, dict) else {} if received is None else {"response": received}
    trace = mapping.to_trace(
        api or _guess(sent, received),
        sent,
        received,
        created=int(time.time()),
        model=mapping.UNKNOWN_MODEL,
        rest=("log", values.to_json(extra)),
    )
    put(trace, mask)


def _guess(request: Mapping[str, Any], response: Mapping[str, Any]) -> str:
    if response.get("object") == "response" or ("input" in request and "messages" not in request):
        return mapping.OPENAI_RESPONSES
    if response.get("type") == "message" or ("system" in request and "choices" not in response):
        return mapping.ANTHROPIC
    return mapping.OPENAI_CHAT


def _json_or_text(body: bytes) -> Any:
    try:
        return values.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
