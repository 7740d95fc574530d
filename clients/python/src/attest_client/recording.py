"""Records one model call, from its bytes to its trace."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from attest_client import client, context, mapping, values
from attest_client.background import BACKGROUND
from attest_client.body import Answer, Body, json_of
from attest_client.secrets import without_secrets
from attest_client.warn import count, never_raises, warn

Trace = dict[str, Any]
Mask = Callable[[Trace], Trace]

_PATHS = {
    mapping.OPENAI_CHAT: re.compile(r"/chat/completions/?$"),
    mapping.OPENAI_RESPONSES: re.compile(r"/responses/?$"),
    mapping.ANTHROPIC: re.compile(r"/messages/?$"),
}
_THREAD = re.compile(r"/threads/[^/]+/messages/?$")
"""OpenAI's threads have messages too, but posting one calls no model."""


def api_of(method: str, path: str) -> str | None:
    """Returns the API that a request calls, or `None` if it is not a model call."""
    if method != "POST" or _THREAD.search(path):
        return None
    return next((api for api, pattern in _PATHS.items() if pattern.search(path)), None)


class Options(NamedTuple):
    """The options of a client, apart from those of its HTTP library."""

    mask: Mask | None = None
    failures: bool = False
    keep_secrets: bool = False
    extra: Mapping[str, Any] = {}


class Recording:
    """A request whose response has not ended yet."""

    def __init__(self, api: str, request: bytes, options: Options, background: str | None = None):
        self._api, self._options = api, options
        self._created = int(time.time())
        self._extra = {**options.extra, **context.current()}
        self._started = time.perf_counter()
        self._first: float | None = None
        """The time at which the first content of a streamed response arrived."""
        self._background = background
        """The id of the background response that this request retrieves."""
        self._text = request
        self._request: Mapping[str, Any] | None = None

    @property
    def request(self) -> Mapping[str, Any]:
        if self._request is None:
            value = json_of(self._text)
            self._request = value if isinstance(value, dict) else {"body": value}
        return self._request

    def wants(self, status: int) -> bool:
        """Returns whether a response with this status is logged."""
        return self._options.failures or 200 <= status < 300

    def body(self, content_type: str) -> Body:
        return Body(self._api, self.request.get("stream") is True, content_type)

    def note(self, body: Body, time: float) -> None:
        """Records `time` if the chunk that arrived then gave `body` its first content."""
        if self._first is None and body.has_content:
            self._first = time

    @never_raises
    def finish(self, status: int, body: Body, ended: float, incomplete: str | None = None) -> None:
        """Logs the call. `incomplete` is the reason if a part of the response is missing."""
        if not 200 <= status < 300:
            self._log(Answer(error=body.failed(status), incomplete=incomplete), ended)
            return
        answer = body.finish(status, incomplete)
        if self._background:
            request = BACKGROUND.retrieved(self._background, answer.response)
            if request is None:
                return
            self._request = request
        elif self._api == mapping.OPENAI_RESPONSES and BACKGROUND.is_pending(self.request, answer.response):
            answer.incomplete = answer.incomplete or "background"
        self._log(answer, ended)

    @never_raises
    def fail(self, error: BaseException) -> None:
        """Logs a call without a response."""
        if self._options.failures and not self._background:
            self._log(Answer(error={"type": type(error).__name__, "message": str(error)}), time.perf_counter())

    def _timing(self, ended: float) -> Trace | None:
        """Returns the seconds until the first content and until the end. Those of a background response are unknown."""
        if self._background:
            return None
        first = {} if self._first is None else {"first_token": round(self._first - self._started, 6)}
        return {"duration": round(ended - self._started, 6), **first}

    def _log(self, answer: Answer, ended: float) -> None:
        trace = mapping.to_trace(
            self._api,
            self.request,
            answer.response,
            created=self._created,
            model=mapping.UNKNOWN_MODEL,
            incomplete=answer.incomplete,
            error=answer.error,
            unmerged=answer.unmerged,
            timing=self._timing(ended),
            rest=("log", values.to_json(self._extra)),
        )
        put(trace, self._options.mask, self._options.keep_secrets)


def put(trace: Trace, mask: Mask | None, keep_secrets: bool = False, held: client.Held | None = None) -> None:
    """Masks a trace, and logs it in place of `held`. If `mask` fails, nothing is written."""
    if (masked := _masked(trace, mask, keep_secrets)) is not None:
        client.put(masked, held)
    elif held:
        client.settle(held)


def hold(trace: Trace, mask: Mask | None, seconds: float, keep_secrets: bool = False) -> client.Held | None:
    """Masks a trace, and keeps it in the spool until a better one replaces it. After `seconds`, it is logged unchanged."""
    masked = _masked(trace, mask, keep_secrets)
    return None if masked is None else client.hold(masked, seconds)


def _masked(trace: Trace, mask: Mask | None, keep_secrets: bool) -> Trace | None:
    if not keep_secrets:
        trace = without_secrets(trace)
    if mask is not None:
        try:
            masked = mask(trace)
            if not isinstance(masked, Mapping):
                raise TypeError("mask did not return a dictionary")
            trace = values.to_json(masked)
        except Exception as error:
            count("unmasked")
            warn("mask", "a trace was not logged: mask raised %s", type(error).__name__)
            return None
    return trace


@never_raises
def log_trace(
    request: Mapping[str, Any],
    response: Any = None,
    *,
    api: str | None = None,
    mask: Mask | None = None,
    keep_secrets: bool = False,
    **extra: Any,
) -> None:
    """Logs one call: the arguments of the SDK's method, and its return value.

    `response` is the SDK's object or a dictionary, or `None` if the call failed. `api` is `openai-chat`, `openai-responses` or
    `anthropic`; without it, the members of the response and the request determine the API. `mask` receives the trace before it
    is written anywhere. With `keep_secrets`, members that are known to hold credentials are not masked. `extra` becomes the trace's
    member `log`. Never raises.
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
        rest=("log", values.to_json({**context.current(), **extra})),
    )
    put(trace, mask, keep_secrets)


def _guess(request: Mapping[str, Any], response: Mapping[str, Any]) -> str:
    if response.get("object") == "response" or ("input" in request and "messages" not in request):
        return mapping.OPENAI_RESPONSES
    if response.get("type") == "message" or ("system" in request and "choices" not in response):
        return mapping.ANTHROPIC
    return mapping.OPENAI_CHAT
