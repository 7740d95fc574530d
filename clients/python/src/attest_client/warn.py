"""Warnings that do not flood the log of an application, and counters of what they report."""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

logger = logging.getLogger("attest_client")

COUNTERS: collections.Counter[str] = collections.Counter()
INTERVAL = 60  # seconds between two warnings of one kind

_last: dict[str, float] = {}

P = ParamSpec("P")
T = TypeVar("T")


def warn(kind: str, message: str, *arguments: object) -> None:
    """Counts an event, and logs it unless one of its kind was logged less than a minute ago. No message has content."""
    COUNTERS[kind] += 1
    now = time.monotonic()
    if now - _last.get(kind, -INTERVAL) < INTERVAL:
        return
    _last[kind] = now
    with contextlib.suppress(Exception):  # a broken handler of the application must not stop its call
        logger.warning(message, *arguments)


def never_raises(function: Callable[P, T]) -> Callable[P, T | None]:
    """Turns a problem of the log into a warning without content, so that it never reaches the application."""

    @functools.wraps(function)
    def quiet(*arguments: P.args, **named: P.kwargs) -> T | None:
        try:
            return function(*arguments, **named)
        except Exception as error:
            warn("capture", "a call was not logged: %s", type(error).__name__)
            return None

    return quiet


def counters() -> dict[str, int]:
    """Returns how often each kind of event happened in this process.

    `logged`, `stored` and `rejected` count traces. The other names are those of warnings: `not-configured`, `mask`, `capture`,
    `spool`, `full`, `dropped`, `expired`, `unreadable`, `late`, `left`.
    """
    return dict(COUNTERS)
