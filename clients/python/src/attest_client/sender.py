"""Sends one trace to the endpoint, with retries and a deadline for each attempt."""

from __future__ import annotations

import email.utils
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

ATTEMPT = 30  # seconds for one attempt, also if the answer comes byte by byte
LONGEST_PAUSE = 60  # seconds, also if `Retry-After` asks for more
MAX_PROBLEM = 64 << 10  # bytes of an error that are read

_TRANSIENT = (408, 429, 502, 503, 504)
_GATEWAY = "urn:attest:problem:gateway"


class Refused(Exception):
    """The endpoint answered with an error."""

    def __init__(self, status: int, detail: str, is_transient: bool, retry_after: float):
        super().__init__(f"{status}: {detail}" if detail else f"status {status}")
        self.is_transient = is_transient
        self.retry_after = retry_after


class Sender:
    """A pool of connections to the endpoint."""

    def __init__(self, url: str, api_key: str, connections: int, on_retry: Callable[[BaseException], None]):
        target = urllib3.util.parse_url(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise ValueError("ATTEST_URL is not a URL with http or https")
        self._target, self._headers = url, {"x-api-key": api_key, "content-type": "application/json"}
        self._pool = _pool(target.scheme, target.host, connections)
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
        """Sends a trace until it is confirmed or refused. Raises the last error if `closing` is set before."""
        self._retrying(self._send, trace_id, line)

    def _send(self, trace_id: str, line: bytes) -> None:
        thread = threading.get_ident()
        self._deadlines[thread] = (time.monotonic() + ATTEMPT, None)
        _current.deadlines = self._deadlines
        try:
            response = self._pool.request(
                "POST",
                self._target,
                body=line,
                headers=self._headers | {"idempotency-key": trace_id},
                timeout=urllib3.Timeout(connect=10, read=ATTEMPT),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            body = response.read(MAX_PROBLEM, decode_content=True)
            if len(body) == MAX_PROBLEM:
                response.close()
        finally:
            self._deadlines.pop(thread, None)
        if response.status not in (200, 201):
            raise _refused(response.status, response.headers.get("retry-after", ""), body)

    def close_overdue(self) -> None:
        """Closes the connections of attempts that took too long. A read timeout covers only the pause between two bytes."""
        now = time.monotonic()
        for deadline, sock in list(self._deadlines.values()):
            if now > deadline and sock is not None:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is closed already


_current = threading.local()


class _Watched:
    """A connection that registers its socket with the deadline of the attempt that uses it."""

    def request(self, *arguments: Any, **named: Any) -> None:
        super().request(*arguments, **named)  # type: ignore[misc]
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


def _pool(scheme: str, host: str, connections: int) -> urllib3.PoolManager:
    options: dict[str, Any] = {"maxsize": connections}
    if scheme == "https":
        options["ssl_context"] = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy = urllib.request.getproxies().get(scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        parts = urllib.parse.urlsplit(proxy)
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}" if parts.username else None
        headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
        pool: urllib3.PoolManager = urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    else:
        pool = urllib3.PoolManager(**options)
    pool.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pool


def _refused(status: int, retry_after: str, body: bytes) -> Refused:
    try:
        problem = simplejson.loads(body)
    except ValueError:
        problem = None
    problem = problem if isinstance(problem, dict) else {}
    detail = problem.get("detail") or problem.get("title") or problem.get("message")
    errors = problem.get("errors")
    places = [error.get("pointer") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    text = " ".join([str(detail or ""), *[str(place) for place in places[:5]]]).strip()
    is_transient = status in _TRANSIENT or (status >= 500 and problem.get("type") == _GATEWAY)
    return Refused(status, text, is_transient, _seconds(retry_after))


def _seconds(retry_after: str) -> float:
    """`Retry-After` (RFC 9110, section 10.2.3) is a number of seconds or a date."""
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
    """One or two retries are usual; the third is worth a warning."""
    if attempt.attempt_number >= 3 and attempt.outcome and (error := attempt.outcome.exception()):
        on_retry(error)


def _pause(attempt: tenacity.RetryCallState) -> float:
    """Grows with every attempt, is random, and is not shorter than `Retry-After` up to a minute."""
    error = attempt.outcome.exception() if attempt.outcome else None
    requested = error.retry_after if isinstance(error, Refused) else 0.0
    jitter = tenacity.wait_random_exponential(multiplier=0.5, max=30)(attempt)
    return min(requested, LONGEST_PAUSE) + jitter
