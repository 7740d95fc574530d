"""Writes each trace to the spool, and sends it in the background."""

from __future__ import annotations

import atexit
import collections
import dataclasses
import multiprocessing
import multiprocessing.util
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from attest_client import handoff, settings, values
from attest_client.entry import Entry
from attest_client.handoff import Lock, inside, is_inside
from attest_client.sender import Refused, Sender
from attest_client.settings import NotConfigured, Settings, is_loopback
from attest_client.spool import Spool, SpoolFull
from attest_client.warn import COUNTERS, count, reason, warn

MAX_TRACE = 4 << 20  # bytes; the endpoint's default limit
THREADS = 8
BACKLOG_THREADS = 64  # threads that send the traces of dead processes: at a latency of 30 ms, 1,500 traces per second
MEMORY_BYTES = 64 << 20  # largest total of traces outside the spool
EXIT_SECONDS = 10  # seconds that an ending process waits for its queue
ADOPT_SECONDS = 30  # seconds between two searches for files of dead processes
BEAT_SECONDS = 10
MAX_QUEUE = 1_000  # pending traces above which no file is adopted
PAUSE_SECONDS = 0.5  # seconds before a trace in the spool is sent: bursts disturb the application less than single requests
HELD_SECONDS = 60  # `flush` and an ending process do not wait for traces that are held for longer
MAX_WAITING = 100  # traces that end the pause


@dataclasses.dataclass(eq=False, frozen=True)
class Held:
    """A trace in a file of its own, which is sent only if nothing replaces it."""

    entry: Entry
    end: float
    seconds: float


class Client:
    """The unconfirmed traces of this process, and the threads that send them."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._sender = Sender(settings, BACKLOG_THREADS, self._warn_of_retry)
        self._queue: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._adopting = Lock()
        self._starting = Lock()
        self._pending: set[Entry] = set()
        self._awaited = 0
        self._held: set[Held] = set()
        self._memory_lock = Lock()
        self._memory = 0
        self._threads: list[threading.Thread] = []
        self._waiting: collections.deque[Entry] = collections.deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lost = COUNTERS["lost"]
        """The count of lost traces at the last `flush`, which has reported them."""
        self._spool: Spool | None = None
        self._open_spool()
        if not settings.is_encrypted and not is_loopback(settings.host):
            warn("insecure", "ATTEST_URL has http, so the key and the traces are sent without encryption")

    def put(self, trace: dict[str, Any], held: Held | None = None) -> None:
        """Accepts a trace with an `id`. The trace is in the spool once this returns. It replaces `held`, if given."""
        line = values.dumps(trace)
        count("logged")
        before = self._take(held)
        entry = None
        if len(line) > MAX_TRACE:
            count("rejected")
            self._reject(Entry(trace["id"], line), line, f"it has {len(line)} bytes; the limit is {MAX_TRACE}")
        elif before and self._spool and (entry := self._spool.replace(before, trace["id"], line)):
            before = None
        else:
            entry = self._entry(trace["id"], line)
        if before and self._spool:
            self._spool.release(before)
        if entry:
            self._pending.add(entry)
            self._waiting.append(entry)
            if len(self._waiting) >= MAX_WAITING:
                self._wake.put(None)
            self.start()

    def hold(self, trace: dict[str, Any], seconds: float) -> Held | None:
        """Writes a trace to the spool without sending it, for at most `seconds`."""
        line = values.dumps(trace)
        if self._spool is None or len(line) > MAX_TRACE:
            return None
        try:
            held = Held(self._spool.hold(trace["id"], line), time.monotonic() + seconds, seconds)
        except OSError:
            return None  # `put` reports it
        self._held.add(held)
        self.start()
        return held

    def settle(self, held: Held) -> bool:
        """Removes a held trace. Returns `False` if it is being sent already."""
        if (entry := self._take(held)) and self._spool:
            self._spool.release(entry)
        return entry is not None

    def _take(self, held: Held | None) -> Entry | None:
        """Removes a trace from those held, and returns its entry. Returns `None` if it is already being sent."""
        if held not in self._held:
            return None
        try:
            self._held.remove(held)
        except KeyError:
            return None  # another thread was faster
        return held.entry

    def _send_held(self, now: float) -> None:
        """Queues the held traces whose time is over."""
        for held in [held for held in list(self._held) if held.end <= now]:
            if entry := self._take(held):
                count("logged")
                self._pending.add(entry)
                self._queue.put(entry)

    def _wait_for_held(self, end: float) -> bool:
        """Waits until the held traces are replaced, except those of streams, which may be in progress."""
        while any(held.seconds <= HELD_SECONDS for held in list(self._held)):
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def flush(self, timeout: float) -> bool:
        """Waits until every trace is confirmed or rejected, including those of dead processes. Returns `False` on a timeout."""
        end = time.monotonic() + timeout
        self.start()
        is_whole = handoff.wait(end) and self._wait_for_held(end)
        with inside():
            self._send_waiting()
            if self._spool:
                self._spool.reject_again()
            while (is_adopted := self._adopt(wanted=lambda: time.monotonic() < end)) is not None and time.monotonic() < end:
                is_sent = self._wait(end, 0 if is_adopted else MAX_QUEUE // 2)
                if self._spool and self._spool.has_unsent:
                    return False
                if is_adopted and is_sent and not (self._spool and self._spool.has_abandoned()):
                    before, self._lost = self._lost, COUNTERS["lost"]
                    return is_whole and self._lost == before
            return False

    def close(self) -> None:
        """Sends traces for a bounded time when the process ends. The others stay in the spool."""
        end = time.monotonic() + EXIT_SECONDS
        handoff.wait(end)
        self._wait_for_held(time.monotonic() + EXIT_SECONDS / 10)
        with inside():
            self._send_held(float("inf"))
            self._send_waiting()
            is_empty = self._wait(end, 0)
            self._sender.closing.set()
            self._wake.put(None)
            if is_empty:
                return
            if self._spool:
                kept = sum(entry.segment is not None for entry in list(self._pending))
                warn("left", "%d traces are not confirmed; the next process that uses %s sends them", kept, self._spool.folder)
            self._lose_memory()

    def start(self) -> None:
        """Starts the threads. If the interpreter is shutting down, no thread starts, and the traces stay in the spool."""
        if self._threads or sys.is_finalizing():  # a thread that starts now never runs, and `start` would wait for it
            return
        with inside(), self._starting:
            if self._threads:
                return
            targets: list[Callable[[], None]] = [self._keep, self._do_deferred, *[self._run] * THREADS]
            threads = [threading.Thread(target=target, name="attest", daemon=True) for target in targets]
            try:
                for thread in threads:
                    thread.start()
                self._threads = threads
            except RuntimeError:
                pass  # the next call tries again

    def _start_more(self) -> None:
        """Starts the threads that only a backlog needs."""
        with self._starting:
            while len(self._threads) < BACKLOG_THREADS and self._threads and not sys.is_finalizing():
                thread = threading.Thread(target=self._run, name="attest", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return
                self._threads.append(thread)

    def forget(self) -> None:
        """Leaves the traces and files to the parent after a fork, because it owns them."""
        if self._spool:
            self._spool.forget()

    def _open_spool(self) -> None:
        try:
            folder = self._settings.folder
            try:
                self._spool = Spool(folder)
            except OSError as error:
                detail = str(error) if type(error).__module__.startswith("attest_client") else reason(error)
                warn("spool", "the spool %s cannot be written (%s); traces are sent from memory", folder, detail)
        except OSError:
            warn("spool", "there is no home folder for a spool: set ATTEST_SPOOL; traces are sent from memory")

    def _send_waiting(self) -> None:
        while True:
            try:
                self._queue.put(self._waiting.popleft())
            except IndexError:
                return

    def _wait(self, end: float, most: int) -> bool:
        """Waits until at most `most` traces are pending. Returns `False` on a timeout."""
        with self._changed:
            self._awaited = most
            return self._changed.wait_for(lambda: len(self._pending) <= most, max(0.0, end - time.monotonic()))

    def _entry(self, trace_id: str, line: bytes) -> Entry | None:
        if self._spool:
            try:
                return self._spool.append(trace_id, line)
            except SpoolFull as error:
                warn("full", "%s; traces are sent from memory", error)
            except OSError as error:
                text = "the spool %s cannot be written (%s); traces are sent from memory"
                warn("spool", text, self._spool.folder, reason(error))
        with self._memory_lock:
            if self._memory + len(line) > MEMORY_BYTES:
                count("lost")
                warn("lost", "traces are lost: %d bytes wait in memory, and the spool takes no more", self._memory)
                return None
            self._memory += len(line)
        return Entry(trace_id, line)

    def _lose_memory(self) -> None:
        lost = [entry for entry in list(self._pending) if entry.segment is None]
        if lost:
            count("lost", len(lost))
            warn("lost", "traces lost: %d, which were in memory when the process ended", len(lost))

    def _run(self) -> None:
        with inside():
            while True:
                entry = self._queue.get()
                try:
                    self._deliver(entry)
                except BaseException as error:  # the thread must survive a fault of its own
                    if not self._sender.closing.is_set():
                        warn("sender", "a trace waits for another attempt (%s)", reason(error))
                        self._waiting.append(entry)
                if self._sender.closing.is_set():
                    return

    def _deliver(self, entry: Entry) -> None:
        line = self._spool.read(entry) if self._spool and entry.segment else entry.line
        is_kept = False
        if line is not None:
            try:
                self._sender.deliver(entry.id, line)
                count("stored")
            except Refused as error:
                if error.is_transient:
                    return  # the process ends, and the trace stays in the spool
                count("rejected")
                is_kept = not self._reject(entry, line, f"it was refused with {error}")
        if self._spool and not is_kept:
            self._spool.release(entry)
        if entry.segment is None:
            with self._memory_lock:
                self._memory -= len(line or b"")
        with self._changed:
            self._pending.discard(entry)
            if len(self._pending) <= self._awaited:  # waking the waiting thread for each trace would double the work
                self._changed.notify_all()

    def _reject(self, entry: Entry, line: bytes, problem: str) -> bool:
        """Moves a trace to `rejected.jsonl`. Returns `False` if the trace stays in its spool file."""
        try:
            if self._spool is None:
                raise FileNotFoundError
            path = self._spool.reject(line)
            warn("rejected", "trace %s is in %s: %s", _shown(entry.id), path, problem)
            return True
        except OSError as error:
            if self._spool and entry.segment:
                self._spool.unsent.append(entry)
                text = "trace %s stays in the spool, because the file of rejected traces cannot be written (%s): %s"
                warn("rejected", text, _shown(entry.id), reason(error), problem)
                return False
            count("lost")
            text = "trace %s is lost, because no file of rejected traces can be written (%s): %s"
            warn("lost", text, _shown(entry.id), reason(error), problem)
            return True

    def _keep(self) -> None:
        """Starts bursts, adopts files, updates the heartbeat, and closes connections that exceed their deadline."""
        adopted = beaten = -float("inf")
        with inside():
            while not self._sender.closing.is_set():
                try:
                    now = time.monotonic()
                    self._send_held(now)
                    self._send_waiting()
                    self._sender.close_overdue()
                    if self._spool and now - beaten >= BEAT_SECONDS:
                        beaten = now
                        self._spool.beat()
                    if now - adopted >= ADOPT_SECONDS:
                        adopted = now
                        if self._spool:
                            self._spool.reject_again()
                        self._adopt(wanted=lambda: not self._sender.closing.is_set())
                except Exception as error:  # the thread must survive a fault of its own
                    warn("keeper", "files of the spool wait for the next search (%s)", reason(error))
                try:
                    self._wake.get(timeout=PAUSE_SECONDS)
                except queue.Empty:
                    pass

    def _do_deferred(self) -> None:
        handoff.run(self._sender.closing.is_set)

    def _adopt(self, wanted: Callable[[], bool]) -> bool | None:
        """Queues traces of dead processes while there is room. Returns whether none is left, or `None` if that is unknown."""
        if not self._spool:
            return True
        is_left = False

        def has_room() -> bool:
            nonlocal is_left
            is_left = not wanted() or len(self._pending) >= MAX_QUEUE
            return not is_left

        with self._adopting:
            try:
                for entry in self._spool.adopt(has_room):
                    self._pending.add(entry)
                    self._queue.put(entry)
                if len(self._pending) >= MAX_WAITING:
                    self._start_more()
            except OSError as error:
                warn("adopt", "the spool %s cannot be read (%s)", self._spool.folder, reason(error))
                return None
        return not is_left

    def _warn_of_retry(self, error: BaseException) -> None:
        text = str(error) if isinstance(error, Refused) else reason(error)
        warn("late", "the endpoint does not confirm traces (%s); %d are pending", text, len(self._pending))


def _shown(trace_id: str) -> str:
    """Escapes and shortens an id for a warning, because a mask may have set it to any string."""
    return ascii(trace_id)[1:-1][:64]


_lock = Lock()
_client: Client | None = None
_has_warned = False


def put(trace: dict[str, Any], held: Held | None = None) -> None:
    """Logs a trace, with a new `id` if it has none, in place of `held`. Warns once if no endpoint is configured."""
    if is_inside():
        handoff.defer(lambda: put(trace, held))  # a finalizer: this thread may hold a lock
    elif client := _open():
        with inside():
            client.put({"id": str(uuid.uuid4()), **trace}, held)


def hold(trace: dict[str, Any], seconds: float) -> Held | None:
    """Writes a trace to the spool, and logs it after `seconds` unless `put` replaces it or `settle` removes it first."""
    if is_inside() or not (client := _open()):
        return None
    with inside():
        return client.hold({"id": str(uuid.uuid4()), **trace}, seconds)


def settle(held: Held) -> bool:
    """Removes a held trace. Returns `False` if it has been logged already."""
    with inside():
        return _client is not None and _client.settle(held)


def flush(timeout: float = 10.0) -> bool:
    """Sends all pending traces, including those of dead processes, for at most `timeout` seconds.

    Returns whether the endpoint stored or refused every one of them. Call it on hosts that freeze the process between requests,
    such as AWS Lambda. Unconfirmed traces stay in the spool.
    """
    client = _open() if os.environ.get("ATTEST_URL") else _client
    if client is None:
        return not os.environ.get("ATTEST_URL")
    return client.flush(timeout)


def is_configured() -> bool:
    """Returns whether an endpoint is configured. Warns once if none is."""
    if is_inside():
        return _client is not None
    client = _open()
    if client:
        client.start()  # before a finalizer needs the threads
    return client is not None


def _open() -> Client | None:
    global _client, _has_warned
    if _client:
        return _client
    with inside(), _lock:
        if _client:
            return _client
        try:
            _client = Client(settings.read())
        except NotConfigured as error:
            if not _has_warned:
                warn("not-configured", "calls are not logged: %s", error)
            _has_warned = True
            return None
        if multiprocessing.parent_process() is not None:  # children of multiprocessing end without `atexit`
            multiprocessing.util.Finalize(None, _close, exitpriority=0)
        return _client


before_close: list[Callable[[], None]] = []
"""Functions that log the calls in flight when the process ends."""


def _close() -> None:
    for function in before_close:
        function()
    if _client:
        _client.close()


def _after_fork() -> None:
    """Makes the child create a new client, because threads do not survive a fork, and locks may be held."""
    global _client, _lock
    _lock = Lock()
    handoff.forget()
    if _client:
        _client.forget()
    _client = None


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
