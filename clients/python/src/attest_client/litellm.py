"""Logs every call that goes through LiteLLM, its SDK or its proxy.

In the SDK: `litellm.callbacks = [attest_client.litellm.logger]`. In the proxy's configuration:
`litellm_settings: {callbacks: attest_client.litellm.logger}`.
"""

from __future__ import annotations

from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from attest_client import calls, log, mapping, values
from attest_client.warn import never_raises


class AttestLogger(CustomLogger):  # type: ignore[misc]
    """A callback that LiteLLM calls once for each call: for a stream when it has ended, for a failure with its error."""

    def __init__(self, *, mask: calls.Mask | None = None):
        super().__init__()
        self._mask = mask

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs)

    @never_raises
    def _log(self, kwargs: Any) -> None:
        if log.is_configured():
            calls.put(mapping.litellm_to_trace(values.to_json(kwargs["standard_logging_object"])), self._mask)


logger = AttestLogger()
