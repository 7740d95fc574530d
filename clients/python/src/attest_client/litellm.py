"""Logs every call that goes through LiteLLM's SDK or proxy.

The SDK needs `litellm.callbacks = [attest_client.litellm.logger]`, and the proxy's configuration
`litellm_settings: {callbacks: attest_client.litellm.logger}`.
"""

from __future__ import annotations

from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from attest_client import client, mapping, recording, values
from attest_client.warn import never_raises


class AttestLogger(CustomLogger):  # type: ignore[misc]
    """A callback that LiteLLM invokes once per call: at the end of a stream, or with the error of a failed call."""

    def __init__(self, *, mask: recording.Mask | None = None):
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
        if client.is_configured():
            recording.put(mapping.litellm_to_trace(values.to_json(kwargs["standard_logging_object"])), self._mask)


logger = AttestLogger()
