"""Logs every call that goes through LiteLLM, its SDK or its proxy.

A file to copy, with `../python/trace_log.py` beside it, which sends the traces; that needs `httpx` and `tenacity`. In the SDK:
`litellm.callbacks = [trace_logger.logger]`; in the proxy: `config.yaml`.
"""

import trace_log
from litellm.integrations.custom_logger import CustomLogger


class TraceLogger(CustomLogger):
    """LiteLLM calls one of these for each call: a streamed answer when it is put together, a failure with its error."""

    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        self._log(kwargs)

    def log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self._log(kwargs)

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self._log(kwargs)

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self._log(kwargs)

    def _log(self, kwargs):
        try:
            trace_log.LOG.put(to_trace(trace_log.to_json(kwargs["standard_logging_object"])))
        except Exception:
            trace_log.log.exception("a trace was not logged")


def to_trace(payload):
    """Maps LiteLLM's `StandardLoggingPayload` onto the schema; what is neither request nor response is under `litellm`."""
    payload = dict(payload)
    request = {name: payload.pop(name) for name in ("model", "messages") if name in payload}
    if isinstance(payload.get("model_parameters"), dict):
        request = payload.pop("model_parameters") | request
    response = payload.pop("response") if isinstance(payload.get("response"), dict) else None
    created = int(payload["startTime"]) if "startTime" in payload else None
    return trace_log.to_trace(request, response or {}, created, litellm=payload)


logger = TraceLogger()
