"""Sends one trace to the endpoint, with retries and a deadline for each attempt."""

from __future__ import annotations

import email.utils
import re
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import simplejson
import tenacity
import truststore
import urllib3
import urllib3.connection
import urllib3.connectionpool

from attest_client.receipt import confirms
from attest_client.settings import Settings, is_loopback
from attest_client.warn import reason, warn

ATTEMPT = 30  # seconds for one attempt, even if the response is arriving byte by byte
LONGEST_PAUSE = 60  # seconds, even if `Retry-After` is longer
MAX_ANSWER = 64 << 10  # bytes read of a response

_TRANSIENT = (408, 429, 502, 503, 504)
_PROBLEM = "urn:attest:problem:"
_GATEWAY = "urn:attest:problem:gateway"
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux, for the next segments only
_HEADER = re.compile(r"[\x21-\x7e]{1,1024}")


class Refused(Exception):
    """The endpoint returned an error, or another server responded."""

    def __init__(self, detail: str, is_transient: bool, retry_after: float = 0.0):
        super().__init__(detail)
        self.is_transient = is_transient
        self.retry_after = retry_after


class Sender:
    """A pool of connections to the endpoint."""

    def __init__(self, settings: Settings, connections: int, on_retry: Callable[[BaseException], None]):
        self._url = settings.url
        self._headers = {"x-api-key": settings.api_key, "content-type": "application/json"}
        self._pool = _pool(settings, connections)
        self._deadlines: dict[int, tuple[float, Any]] = {}
        self.closing = threading.Event()
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            wait=_pause,
            stop=tenacity.stop_when_event_set(self.closing),
            sleep=tenacity.sleep_using_event(self.closing),
            before_sleep=lambda attempt: _report(attempt, on_retry),
            reraise=True,
        )

    def deliver(self, trace_id: str, line: bytes) -> None:
        """Sends a trace until it is confirmed or refused. Raises the last error if `closing` is set first."""
        self._retrying(self._send, trace_id, line)

    def _send(self, trace_id: str, line: bytes) -> None:
        thread = threading.get_ident()
        self._deadlines[thread] = (time.monotonic() + ATTEMPT, None)
        _current.deadlines = self._deadlines
        # A header cannot contain any other id. The endpoint prefers the id in the trace anyway.
        key = {"idempotency-key": trace_id} if _HEADER.fullmatch(trace_id) else {}
        try:
            response = self._pool.request(
                "POST",
                self._url,
                body=line,
                headers=self._headers | key,
                timeout=urllib3.Timeout(connect=10, read=ATTEMPT),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                body = response.read(MAX_ANSWER, decode_content=True)
            except BaseException:
                response.close()
                raise
            if len(body) == MAX_ANSWER:
                response.close()
        finally:
            self._deadlines.pop(thread, None)
        if not confirms(response.status, response.headers.get("content-type", ""), body, trace_id):
            raise _refused(response.status, response.headers.get("retry-after", ""), body)

    def close_overdue(self) -> None:
        """Closes connections whose attempts exceed the deadline. A read timeout limits only the pause between two bytes."""
        now = time.monotonic()
        for deadline, sock in list(self._deadlines.values()):
            if now > deadline and sock is not None:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the connection is already closed


_current = threading.local()


class _Watched:
    """A connection that registers its socket with the deadline of the attempt that uses it."""

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._register()

    def request(self, *arguments: Any, **named: Any) -> None:
        self._register()
        super().request(*arguments, **named)  # type: ignore[misc]
        self._register()
        if _QUICK_ACK is not None and self.sock is not None:  # type: ignore[attr-defined]
            # Without it, a server that writes headers and body separately waits up to 40 ms for the delayed
            # acknowledgment.
            self.sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)  # type: ignore[attr-defined]

    def _register(self) -> None:
        thread = threading.get_ident()
        deadline, _ = _current.deadlines[thread]
        _current.deadlines[thread] = (deadline, self.sock)  # type: ignore[attr-defined]


class _HTTPConnection(_Watched, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_Watched, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def _pool(settings: Settings, connections: int) -> urllib3.PoolManager:
    options: dict[str, Any] = {"maxsize": connections}
    if settings.is_encrypted:
        options["ssl_context"] = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pool = _proxy(settings, options) or urllib3.PoolManager(**options)
    pool.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pool


def _proxy(settings: Settings, options: dict[str, Any]) -> urllib3.PoolManager | None:
    """Returns a pool for the environment's proxy. Returns `None` for a URL of this machine, so that its traces do not leave it."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get("https" if settings.is_encrypted else "http") or proxies.get("all")
    if not proxy or is_loopback(settings.host) or urllib.request.proxy_bypass(settings.host):
        return None
    try:
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}" if parts.username else None
        headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
        return urllib3.ProxyManager(parts.geturl(), proxy_headers=headers, **options)
    except (ValueError, urllib3.exceptions.HTTPError) as error:  # a SOCKS proxy, for example
        warn("proxy", "the proxy of the environment cannot be used (%s); traces are sent without it", reason(error))
        return None


def _refused(status: int, retry_after: str, body: bytes) -> Refused:
    if status in (200, 201):
        return Refused(f"status {status} without the receipt of the trace; check ATTEST_URL", True)
    try:
        problem = simplejson.loads(body)
    except (ValueError, RecursionError):
        problem = None
    kind = str(problem.get("type", "")) if isinstance(problem, dict) else ""
    is_transient = status in _TRANSIENT or (status >= 500 and kind == _GATEWAY)
    detail = f"status {status}"
    if isinstance(problem, dict) and kind.startswith(_PROBLEM):  # another server's message may quote anything
        errors = problem.get("errors")
        places = [error.get("pointer") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
        parts = [problem.get("title"), problem.get("detail"), *places[:5]]
        detail = " ".join([detail, *[ascii(str(part))[1:-1][:300] for part in parts if part]])
    return Refused(detail, is_transient, _seconds(retry_after))


def _seconds(retry_after: str) -> float:
    """Returns the seconds that `Retry-After` demands, directly or as a date (RFC 9110, section 10.2.3)."""
    if retry_after.isdecimal() and retry_after.isascii():
        return float(retry_after[:10])
    if date := email.utils.parsedate_tz(retry_after):
        return max(0.0, email.utils.mktime_tz(date) - time.time())
    return 0.0


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, Refused):
        return error.is_transient
    return isinstance(error, (urllib3.exceptions.HTTPError, OSError))


def _report(attempt: tenacity.RetryCallState, on_retry: Callable[[BaseException], None]) -> None:
    """Reports errors from the third attempt on, because one or two retries are normal."""
    if attempt.attempt_number >= 3 and attempt.outcome and (error := attempt.outcome.exception()):
        on_retry(error)


def _pause(attempt: tenacity.RetryCallState) -> float:
    """Returns the pause before the next attempt: exponential with jitter, and at least `Retry-After`, up to a minute."""
    error = attempt.outcome.exception() if attempt.outcome else None
    requested = error.retry_after if isinstance(error, Refused) else 0.0
    jitter = tenacity.wait_random_exponential(multiplier=0.5, max=30)(attempt)
    return min(requested, LONGEST_PAUSE) + jitter
