"""Writes each trace to the spool, and sends it in the background."""

from __future__ import annotations

import atexit
import collections
import multiprocessing
import multiprocessing.util
import os
import pathlib
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from attest_client import values
from attest_client.sender import Refused, Sender
from attest_client.spool import Entry, Spool, SpoolFull, default_folder
from attest_client.warn import COUNTERS, warn

MAX_TRACE = 4 << 20  # bytes; the endpoint's default limit
THREADS = 8
MEMORY_BYTES = 64 << 20  # bytes of traces that are in no spool
EXIT_SECONDS = 10  # seconds that the end of the process waits for the queue
ADOPT_SECONDS = 30  # seconds between two searches for files of dead processes
BEAT_SECONDS = 10
MAX_QUEUE = 1_000  # the number of pending traces above which no file is adopted
PAUSE_SECONDS = 0.5  # seconds before a trace in the spool is sent: bursts disturb the application less than single requests
MAX_WAITING = 100  # the number of traces that ends the pause


class Client:
    """The unconfirmed traces of this process, and the threads that send them."""

    def __init__(self, url: str, api_key: str, folder: str | None = None):
        self._sender = Sender(url, api_key, THREADS, self._warn_of_retry)
        self._queue: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._adopting = threading.Lock()
        self._pending = 0
        self._memory = 0
        self._threads: list[threading.Thread] = []
        self._waiting: collections.deque[Entry] = collections.deque()
        self._wake = threading.Event()
        path = pathlib.Path(folder).absolute() if folder else default_folder(url)
        try:
            self._spool: Spool | None = Spool(path)
        except OSError as error:
            self._spool = None
            warn("spool", "the spool %s cannot be written (%s); traces are sent from memory", path, error)

    def put(self, trace: dict[str, Any]) -> None:
        """Accepts a trace with an `id`. The trace is in the spool once this returns."""
        line = values.dumps(trace)
        COUNTERS["logged"] += 1
        if len(line) > MAX_TRACE:
            self._reject(line, f"trace {trace['id']} has {len(line)} bytes; the limit is {MAX_TRACE}")
            return
        if entry := self._entry(trace["id"], line):
            with self._changed:
                self._pending += 1
            self._waiting.append(entry)
            if len(self._waiting) >= MAX_WAITING:
                self._wake.set()
            self._start()

    def _send_waiting(self) -> None:
        while True:
            try:
                self._queue.put(self._waiting.popleft())
            except IndexError:
                return

    def flush(self, timeout: float) -> bool:
        """Waits until every trace is confirmed or rejected, including those of dead processes. Returns `False` on a timeout."""
        end = time.monotonic() + timeout
        self._start()
        self._send_waiting()
        self._adopt(wanted=lambda: time.monotonic() < end)
        with self._changed:
            return self._changed.wait_for(lambda: self._pending == 0, max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """Sends traces for a bounded time at the end of the process. The others stay in the spool."""
        self._send_waiting()
        with self._changed:
            is_empty = self._changed.wait_for(lambda: self._pending == 0, EXIT_SECONDS)
        self._sender.closing.set()
        self._wake.set()
        if is_empty:
            return
        if self._spool:
            warn("left", "%d traces are not confirmed; the next process that uses %s sends them", self._pending, self._spool.folder)
        if self._memory:
            warn("dropped", "traces are lost: %d bytes were in memory, and there is no spool", self._memory)

    def forget(self) -> None:
        """Leaves everything to the parent after a fork."""
        if self._spool:
            self._spool.forget()

    def _entry(self, trace_id: str, line: bytes) -> Entry | None:
        if self._spool:
            try:
                return self._spool.append(trace_id, line)
            except SpoolFull as error:
                warn("full", "%s; traces are sent from memory", error)
            except OSError as error:
                warn("spool", "the spool %s cannot be written (%s); traces are sent from memory", self._spool.folder, error)
        with self._changed:
            if self._memory + len(line) > MEMORY_BYTES:
                warn("dropped", "traces are lost: %d bytes wait in memory, and there is no spool", self._memory)
                return None
            self._memory += len(line)
        return Entry(trace_id, line)

    def _start(self) -> None:
        """Starts the threads. If the interpreter is shutting down, no thread starts, and the traces stay in the spool."""
        if self._threads or sys.is_finalizing():  # a thread that starts now never runs, and `start` would wait for it
            return
        with self._changed:
            if self._threads:
                return
            targets = [self._keep, *[self._run] * THREADS]
            self._threads = [threading.Thread(target=target, name="attest", daemon=True) for target in targets]
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:
            self._threads = []  # the next call tries again

    def _run(self) -> None:
        while True:
            entry = self._queue.get()
            try:
                self._deliver(entry)
            except BaseException as error:  # the thread must survive a fault of its own
                if not self._sender.closing.is_set():
                    warn("spool", "a trace stays in the spool: %s", error)
            if self._sender.closing.is_set():
                return

    def _deliver(self, entry: Entry) -> None:
        line = self._spool.read(entry) if self._spool and entry.segment else entry.line
        is_kept = False
        if line is not None:
            try:
                self._sender.deliver(entry.id, line)
                COUNTERS["stored"] += 1
            except Refused as error:
                if error.is_transient:
                    return  # the process ends, and the trace stays in the spool
                is_kept = not self._reject(line, f"trace {entry.id} was refused with {error}")
        if self._spool and not is_kept:
            self._spool.release(entry)
        with self._changed:
            self._pending -= 1
            if entry.segment is None:
                self._memory -= len(line or b"")
            self._changed.notify_all()

    def _reject(self, line: bytes, reason: str) -> bool:
        """Moves a trace to the file of rejected traces. Returns `False` if the trace stays in the spool."""
        if self._spool is None:
            warn("rejected", "%s; it is lost, because there is no spool", reason)
            return True
        try:
            path = self._spool.reject(line)
        except OSError as error:
            warn("rejected", "%s; the file of rejected traces cannot be written (%s)", reason, error)
            return False
        warn("rejected", "%s; it is in %s", reason, path)
        return True

    def _keep(self) -> None:
        """Starts bursts, adopts files, updates the heartbeat, and closes connections that exceed their deadline."""
        adopted = beaten = -float("inf")
        while not self._sender.closing.is_set():
            self._wake.clear()
            try:
                self._send_waiting()
                self._sender.close_overdue()
                now = time.monotonic()
                if self._spool and now - beaten >= BEAT_SECONDS:
                    beaten = now
                    self._spool.beat()
                if now - adopted >= ADOPT_SECONDS:
                    adopted = now
                    self._adopt(wanted=lambda: not self._sender.closing.is_set())
            except Exception as error:  # the thread must survive a fault of its own
                warn("spool", "files of the spool wait for the next search: %s", error)
            self._wake.wait(PAUSE_SECONDS)

    def _adopt(self, wanted: Callable[[], bool]) -> None:
        if not self._spool:
            return
        with self._adopting:
            try:
                for entry in self._spool.adopt(lambda: wanted() and self._pending < MAX_QUEUE):
                    with self._changed:
                        self._pending += 1
                    self._queue.put(entry)
            except OSError as error:
                warn("spool", "the spool %s cannot be read: %s", self._spool.folder, error)

    def _warn_of_retry(self, error: BaseException) -> None:
        warn("late", "the endpoint does not confirm traces (%s); %d are pending", error, self._pending)


_lock = threading.Lock()
_client: Client | None = None


def put(trace: dict[str, Any]) -> None:
    """Logs a trace, with a new `id` if it has none. Warns once if the environment names no endpoint."""
    if client := _open():
        client.put({"id": str(uuid.uuid4()), **trace})


def flush(timeout: float = 10.0) -> bool:
    """Waits until the endpoint has confirmed every trace of this process and of dead processes.

    Returns `False` if this takes longer than `timeout` seconds. Call it where the host freezes the process between requests,
    such as on AWS Lambda. Unconfirmed traces stay in the spool.
    """
    client = _open() if os.environ.get("ATTEST_URL") else _client
    return client.flush(timeout) if client else True


def is_configured() -> bool:
    """Returns whether the environment names an endpoint. Warns the first time that it does not."""
    return _open() is not None


def _open() -> Client | None:
    global _client
    if _client:
        return _client
    url, api_key = os.environ.get("ATTEST_URL"), os.environ.get("ATTEST_API_KEY")
    with _lock:
        if _client:
            return _client
        if not url or not api_key:
            missing = " and ".join(name for name, value in [("ATTEST_URL", url), ("ATTEST_API_KEY", api_key)] if not value)
            if not COUNTERS["not-configured"]:
                warn("not-configured", "calls are not logged: set %s", missing)
            return None
        try:
            _client = Client(url, api_key, os.environ.get("ATTEST_SPOOL"))
        except ValueError as error:
            warn("not-configured", "calls are not logged: %s", error)
            return None
        if multiprocessing.parent_process() is not None:  # children of multiprocessing end without `atexit`
            multiprocessing.util.Finalize(None, _close, exitpriority=0)
        return _client


before_close: list[Callable[[], None]] = []
"""Functions that log the calls that are in flight at the end of the process."""


def _close() -> None:
    for function in before_close:
        function()
    if _client:
        _client.close()


def _after_fork() -> None:
    """Creates a new client in the child, because threads do not survive a fork, and locks may be held."""
    global _client, _lock
    _lock = threading.Lock()
    if _client:
        _client.forget()
    _client = None


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
