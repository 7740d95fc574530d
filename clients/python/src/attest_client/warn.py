"""Warnings that do not flood the log of an application, and counters of what they report."""

from __future__ import annotations

import collections
import logging
import time

logger = logging.getLogger("attest_client")

COUNTERS: collections.Counter[str] = collections.Counter()
INTERVAL = 60  # seconds between two warnings of one kind

_last: dict[str, float] = {}


def warn(kind: str, message: str, *arguments: object) -> None:
    """Counts an event, and logs it unless one of its kind was logged less than a minute ago. No message has content."""
    COUNTERS[kind] += 1
    now = time.monotonic()
    if now - _last.get(kind, -INTERVAL) < INTERVAL:
        return
    _last[kind] = now
    try:
        logger.warning(message, *arguments)
    except Exception:
        pass  # a broken handler of the application must not stop its call


def counters() -> dict[str, int]:
    """Returns how often each kind of event happened in this process.

    `logged`, `stored` and `rejected` count traces. The other names are those of warnings: `not-configured`, `mask`, `capture`,
    `spool`, `full`, `dropped`, `expired`, `unreadable`, `late`, `left`.
    """
    return dict(COUNTERS)
