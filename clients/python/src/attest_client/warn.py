"""Warnings that do not flood an application's log, and trace counters."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

logger = logging.getLogger("attest_client")

COUNTERS = dict.fromkeys(("logged", "stored", "rejected", "unmasked", "lost", "truncated", "unparsed", "unmerged"), 0)
INTERVAL = 60  # seconds between two warnings of one kind

_last: dict[str, float] = {}

P = ParamSpec("P")
T = TypeVar("T")


def count(name: str, number: int = 1) -> None:
    """Counts traces without a lock, because finalizers count too. CPython increments an existing member atomically."""
    COUNTERS[name] += number


def warn(kind: str, message: str, *arguments: object) -> None:
    """Logs a warning, at most once a minute for each kind. It must not contain content, keys or error messages."""
    now = time.monotonic()
    if now - _last.get(kind, -INTERVAL) < INTERVAL:
        return
    _last[kind] = now
    with contextlib.suppress(Exception):  # the application's log handler may be broken, which must not stop its call
        logger.warning(message, *arguments)


def reason(error: BaseException) -> str:
    """Returns the name of an error. Its message may quote a key, a password or content, so it is never logged."""
    names: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(names) < 3:
        code = errno.errorcode.get(seen.errno or 0) if isinstance(seen, OSError) else None
        names.append(f"{type(seen).__name__} {code}" if code else type(seen).__name__)
        seen = seen.__cause__
    return ", caused by ".join(names)


def never_raises(function: Callable[P, T]) -> Callable[P, T | None]:
    """Turns a logging problem into a warning without content, so that no exception reaches the application."""

    @functools.wraps(function)
    def quiet(*arguments: P.args, **named: P.kwargs) -> T | None:
        try:
            return function(*arguments, **named)
        except Exception as error:
            count("lost")
            warn("lost", "a call was not logged: %s", type(error).__name__)
            return None

    return quiet


def counters() -> dict[str, int]:
    """Returns how many traces of this process had each outcome.

    `logged`: accepted from the application. `stored`: confirmed by the endpoint, including those of dead processes. `rejected`:
    refused by the endpoint, or too large. `unmasked`: not logged, because `mask` failed. `lost`: neither sent nor kept. Of the
    logged traces, `truncated` have a response of more than 64 MiB, `unparsed` one that is not a JSON object, and `unmerged` a
    stream with a part that has no place in its response.
    """
    return dict(COUNTERS)
