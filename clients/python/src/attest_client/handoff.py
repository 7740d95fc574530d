"""Does work that a finalizer must not do itself.

The garbage collector runs finalizers at any allocation, even in a thread that holds a lock of this package, the application's mask
or its log handler. A finalizer that waited for such a lock would wait forever. Therefore, it only adds to a `SimpleQueue`, whose
`put` is reentrant, and a thread does the work.
"""

from __future__ import annotations

import collections
import queue
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from attest_client.warn import count, reason, warn

Work = Callable[[], None]

_queue: queue.SimpleQueue[Work] = queue.SimpleQueue()
_unfinished: collections.deque[None] = collections.deque()
_inside = threading.local()


class Lock:
    """A lock that no finalizer waits for in the thread that holds it: see `inside`.

    When the interpreter shuts down, daemon threads never run again, so a lock that they hold is ignored after a second.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire(timeout=1 if sys.is_finalizing() else -1)

    def __exit__(self, *_: object) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # the interpreter shuts down, and another thread held the lock


class inside:
    """Marks code of this package that may hold a lock. Meanwhile, a finalizer defers what it logs."""

    def __enter__(self) -> None:
        self._before = is_inside()
        _inside.value = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _inside.value = self._before


def is_inside() -> bool:
    return getattr(_inside, "value", False)


def defer(work: Work) -> None:
    """Queues work for a thread without taking a lock. Does the work itself once threads no longer run."""
    if sys.is_finalizing():
        return _do(work)
    _unfinished.append(None)
    _queue.put(work)


def run(is_closing: Callable[[], bool]) -> None:
    """Does the deferred work in this thread until the process ends."""
    while not is_closing():
        try:
            work = _queue.get(timeout=1)
        except queue.Empty:
            continue
        _finish(work)


def wait(end: float) -> bool:
    """Does the deferred work, and waits for what another thread is doing. Returns whether all was done before `end`."""
    while _unfinished:
        try:
            _finish(_queue.get(timeout=0.01))
        except queue.Empty:
            if time.monotonic() > end:
                return False
    return True


def forget() -> None:
    """Drops the work after a fork, because the parent does it."""
    global _queue, _unfinished
    _queue, _unfinished = queue.SimpleQueue(), collections.deque()
    _inside.value = False


def _finish(work: Work) -> None:
    try:
        _do(work)
    finally:
        if _unfinished:
            _unfinished.pop()


def _do(work: Work) -> None:
    try:
        work()
    except Exception as error:
        count("lost")
        warn("lost", "a call was not logged: %s", reason(error))
