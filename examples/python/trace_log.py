"""Logs chat traces in the background: `log_trace(request, response)` never blocks or breaks the application.

A file to copy; it needs `httpx` and `tenacity`, and API_URL and API_KEY in the environment. What could not be delivered
goes to the file that UNDELIVERED names (`undelivered.jsonl`), to be brought in later by `import`.
"""

import atexit
import email.utils
import json
import logging
import os
import queue
import threading
import time
import uuid

import httpx
import tenacity

QUEUE = 1_000  # traces that wait; what comes above goes to the file
THREADS = 16  # requests at once
GIVE_UP = 300  # seconds of retries for a trace
FLUSH = 30  # seconds for the queue at exit

log = logging.getLogger(__name__)


def log_trace(request, response=None, **extra):
    """Logs one call: what was sent to chat completions, and what came back.

    `request` is the dictionary of the call's arguments. `response` is the `openai` client's object (of a stream, that of
    `get_final_completion()`) or a dictionary; none if the call failed. `extra` is kept in the trace's member `log`.
    """
    try:
        LOG.put(to_trace(to_json(request), to_json(response or {}), log=to_json(extra)))
    except Exception:
        log.exception("a trace was not logged")


def to_trace(request, response, created=None, **rest):
    """Maps a call onto the schema without losing any of it, as docs/api.md says ("Keep a provider's answer whole")."""
    request, response = dict(request), dict(response)
    trace = {
        "id": str(uuid.uuid4()),
        "model": response.get("model") or request.get("model"),
        "created": response.get("created") or created or int(time.time()),
        "messages": [],
    }
    if response.get("system_fingerprint"):
        trace["system_fingerprint"] = response["system_fingerprint"]
    if isinstance(request.get("messages"), list):
        trace["messages"] += map(_message, request.pop("messages"))
    if isinstance(response.get("choices"), list):
        choices = response.pop("choices")
        trace["choices"] = {str(place): choice for place, choice in enumerate(choices)}
        if choices and isinstance(choices[0].get("message"), dict):
            trace["messages"].append(_message(choices[0]["message"]))
    if isinstance(response.get("usage"), dict):
        trace["usage"] = response.pop("usage")
    return trace | {name: value for name, value in {"request": request, "response": response, **rest}.items() if value}


def _message(message):
    """A message as the schema has it; what is changed is kept in `original`."""
    if not isinstance(message, dict):
        return {"role": "user", "content": "", "original": message}
    role, content = message.get("role"), message.get("content")
    known = role in ("system", "user", "assistant")
    if known and isinstance(content, str):
        return message
    original = {name: message[name] for name in ("role", "content", "original") if name in message}
    return {
        **message,
        "role": role if known else "system" if role == "developer" else "user",
        "content": _text(content),
        "original": original,
    }


def _text(content):
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    texts = [part.get("text", part.get("refusal")) for part in content if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def to_json(value):
    """The value as JSON has it. Of a pydantic model, such as the client's response, what the server said."""
    return json.loads(json.dumps(value, default=lambda it: it.to_dict() if hasattr(it, "to_dict") else str(it)))


class TraceLog:
    """A bounded queue of traces, and the threads that send them."""

    def __init__(self, url, api_key, undelivered):
        self._client = httpx.Client(headers={"x-api-key": api_key}, timeout=30)
        self._url, self._undelivered = url, undelivered
        self._queue = queue.Queue()
        self._lock, self._threads, self._closing = threading.Lock(), [], threading.Event()
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            wait=_pause,
            stop=tenacity.stop_before_delay(GIVE_UP) | tenacity.stop_when_event_set(self._closing),
            sleep=tenacity.sleep_using_event(self._closing),
            reraise=True,
        )

    def put(self, trace):
        with self._lock:
            if not self._threads:
                self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]
                for thread in self._threads:
                    thread.start()
                atexit.register(self.close)
            if self._queue.qsize() < QUEUE and not self._closing.is_set():
                return self._queue.put(trace)
        self._keep(trace, "the queue is full")

    def close(self):
        """Sends what waits, for FLUSH seconds, and writes the rest to the file."""
        end = time.monotonic() + FLUSH
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(0, end - time.monotonic()))
        self._closing.set()
        for thread in self._threads:
            thread.join()
        while not self._queue.empty():  # a thread does not survive a fork
            if trace := self._queue.get():
                self._keep(trace, "the process ended")

    def _run(self):
        while trace := self._queue.get():
            try:
                if self._closing.is_set():
                    raise TimeoutError("the process ended")
                self._retrying(self._send, trace)
            except Exception as error:
                self._keep(trace, f"{type(error).__name__}: {error}")

    def _send(self, trace):
        body = _line(trace)
        headers = {"content-type": "application/json", "idempotency-key": trace["id"]}
        self._client.post(self._url, content=body, headers=headers).raise_for_status()

    def _keep(self, trace, why):
        log.warning("trace %s is in %s: %s", trace["id"], self._undelivered, why)
        with self._lock, open(self._undelivered, "ab") as file:
            file.write(_line(trace) + b"\n")


def _line(trace):
    return json.dumps(trace, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _is_transient(error):
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (429, 502, 503, 504)
    return isinstance(error, httpx.TransportError)


def _pause(attempt):
    """Grows with every attempt, is drawn at random, and is not less than `Retry-After` (RFC 9110, 10.2.3) asks."""
    error = attempt.outcome.exception()
    asked = error.response.headers.get("retry-after", "") if isinstance(error, httpx.HTTPStatusError) else ""
    if date := email.utils.parsedate_tz(asked):
        asked = email.utils.mktime_tz(date) - time.time()
    elif not asked.isdigit():
        asked = 0
    return float(asked) + tenacity.wait_random_exponential(multiplier=0.5, max=30)(attempt)


LOG = TraceLog(os.environ["API_URL"], os.environ["API_KEY"], os.environ.get("UNDELIVERED", "undelivered.jsonl"))
