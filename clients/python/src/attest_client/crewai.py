"""Logs CrewAI's calls to OpenAI and Anthropic: `LLM(..., interceptor=attest_client.crewai.interceptor)`.

A call without a response, such as one whose connection broke, is not logged, because CrewAI reports only responses to interceptors.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from typing import Any

import httpx
from crewai.llms.hooks.base import BaseInterceptor

from attest_client import capture
from attest_client.recording import Mask, Options, Recording

_current: contextvars.ContextVar[Recording | None] = contextvars.ContextVar("_current", default=None)
"""The request of this thread or task, because the response that an interceptor receives has no reference to it."""


class Interceptor(BaseInterceptor[httpx.Request, httpx.Response]):  # type: ignore[misc]
    def __init__(
        self,
        *,
        mask: Mask | None = None,
        failures: bool = False,
        keep_secrets: bool = False,
        extra: Mapping[str, Any] | None = None,
    ):
        self._options = Options(mask, failures, keep_secrets, extra or {})

    def on_outbound(self, message: httpx.Request) -> httpx.Request:
        _current.set(capture.start(message, self._options))
        return message

    def on_inbound(self, message: httpx.Response) -> httpx.Response:
        _, _, stream, _ = capture.classes(httpx)
        capture.watch(httpx, _current.get(), message, stream)
        return message

    async def aon_outbound(self, message: httpx.Request) -> httpx.Request:
        return self.on_outbound(message)

    async def aon_inbound(self, message: httpx.Response) -> httpx.Response:
        _, _, _, stream = capture.classes(httpx)
        capture.watch(httpx, _current.get(), message, stream)
        return message


interceptor = Interceptor()
