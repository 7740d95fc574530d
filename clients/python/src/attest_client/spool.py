"""The folder that keeps traces until they are confirmed, in the format of `clients/SPOOL.md`.

Safety does not depend on knowing which processes are alive. A process adopts a file by renaming it, and an owner checks after
each append that its file still has its name. A wrong guess makes two processes send one trace, which is stored once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

import simplejson

from attest_client.warn import warn

SEGMENT_BYTES = 1 << 20  # the size at which the owner starts a new file
FOLDER_BYTES = 1 << 30
MAX_AGE = 30 * 24 * 3600  # seconds since the file was created
STALE = 60  # seconds without a heartbeat
CACHED_BYTES = 16 << 20  # lines kept in memory; longer queues are read back from the files
REJECTED = "rejected.jsonl"

_NAME = re.compile(r"(\d+)\.([A-Za-z0-9_-]{1,64})\.(\d+)\.(\d+)\.[0-9a-f]{16}\.jsonl", re.ASCII)
_HOST = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())[:64] or "_"


class SpoolFull(OSError):
    """The folder has reached its size limit."""


@dataclasses.dataclass(eq=False)
class Segment:
    """A file that this process owns."""

    path: pathlib.Path
    fd: int | None = None
    size: int = 0
    pending: int = 0
    """Lines that are neither confirmed nor rejected."""


@dataclasses.dataclass
class Entry:
    """An unconfirmed trace: one line of JSON without its line feed, and its position in a file, if any."""

    id: str
    line: bytes | None
    segment: Segment | None = None
    offset: int = 0
    length: int = 0


def default_folder(url: str) -> pathlib.Path:
    """Returns the default folder for an endpoint's traces. Two endpoints never share a default folder."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return pathlib.Path(state, "attest", "spool", hashlib.sha256(url.encode()).hexdigest()[:16])


class Spool:
    """A folder of JSON Lines files. Each process appends only to its own files."""

    def __init__(self, folder: pathlib.Path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written")
        self.folder = folder
        self._lock = threading.Lock()
        self._segments: set[Segment] = set()
        self._current: Segment | None = None
        self._cached = 0
        self._size = 0
        self._start = _start_of(os.getpid()) or "0"
        for _ in self._files():
            pass  # measures the folder

    def append(self, trace_id: str, line: bytes) -> Entry:
        """Appends a trace. Once this returns, the trace survives the end of this process."""
        data = line + b"\n"
        with self._lock:
            if self._size + len(data) > FOLDER_BYTES:
                raise SpoolFull(f"{self.folder} has reached {FOLDER_BYTES} bytes")
            for _ in range(3):  # a new file is too young to be adopted, unless the clock jumps
                segment = self._writable(len(data))
                offset = segment.size
                try:
                    _write(segment, data)
                except OSError:
                    self._seal(segment)  # a partial line must be the last one of its file
                    if segment.pending == 0:
                        self._delete(segment)
                    raise
                self._size += len(data)
                if segment.path.exists():  # its name is random, so it is this file
                    break
                self._seal(segment)
            segment.pending += 1
            entry = Entry(trace_id, line, segment, offset, len(line))
            if self._cached + len(line) > CACHED_BYTES:
                entry.line = None
            else:
                self._cached += len(line)
            return entry

    def read(self, entry: Entry) -> bytes | None:
        """Returns the line of an entry, or `None` if another process adopted its file and sends it."""
        if entry.line is not None or entry.segment is None:
            return entry.line
        try:
            with open(entry.segment.path, "rb") as file:
                file.seek(entry.offset)
                return file.read(entry.length)
        except FileNotFoundError:
            return None

    def release(self, entry: Entry) -> None:
        """Marks a trace as confirmed or rejected, and deletes its file after the last one."""
        if (segment := entry.segment) is None:
            return
        with self._lock:
            if entry.line is not None:
                self._cached -= len(entry.line)
            segment.pending -= 1
            if segment.pending == 0:
                self._seal(segment)
                self._delete(segment)

    def reject(self, line: bytes) -> pathlib.Path:
        """Writes a trace that the endpoint refuses to the file of rejected traces, and returns its path."""
        path = self.folder / REJECTED
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, line + b"\n")
        finally:
            os.close(fd)
        return path

    def beat(self) -> None:
        """Updates the heartbeat, which shows other processes that the owner of these files is alive."""
        with self._lock:
            segments = list(self._segments)
        for segment in segments:
            try:
                os.utime(segment.path)
            except OSError:
                pass  # another process adopted the file, and sends its lines too

    def adopt(self, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[Entry]:
        """Adopts the files of dead processes, oldest first, while `is_wanted` returns true."""
        for created, path in sorted(self._files()):
            if not is_wanted():
                return
            if time.time() - created > MAX_AGE:
                self._expire(path)
            elif segment := self._claim(created, path):
                yield from self._load(segment)

    def forget(self) -> None:
        """Closes the files after a fork: they belong to the parent."""
        for segment in self._segments:
            if segment.fd is not None:
                os.close(segment.fd)

    def _writable(self, length: int) -> Segment:
        segment = self._current
        if segment and segment.fd is not None and segment.size + length <= SEGMENT_BYTES:
            return segment
        if segment:
            self._seal(segment)
        path = self.folder / self._name(int(time.time()))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._current = Segment(path, os.open(path, flags, 0o600))
        self._segments.add(self._current)
        return self._current

    def _name(self, created: int) -> str:
        return f"{created}.{_HOST}.{os.getpid()}.{self._start}.{secrets.token_hex(8)}.jsonl"

    def _seal(self, segment: Segment) -> None:
        if segment.fd is not None:
            os.close(segment.fd)
            segment.fd = None
        if segment is self._current:
            self._current = None

    def _delete(self, segment: Segment) -> None:
        self._segments.discard(segment)
        self._size -= segment.size
        try:
            segment.path.unlink()
        except FileNotFoundError:
            pass  # another process adopted the file, and finds its traces stored
        except OSError as error:
            warn("spool", "%s cannot be deleted: %s", segment.path, error)

    def _files(self) -> Iterator[tuple[int, pathlib.Path]]:
        """Yields the abandoned files with their creation times. Measures the folder."""
        size = 0
        abandoned = []
        for file in os.scandir(self.folder):
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            size += status.st_size
            name = _NAME.fullmatch(file.name)
            if name and _is_abandoned(name, status.st_mtime):
                abandoned.append((int(name[1]), pathlib.Path(file.path)))
        self._size = size
        yield from abandoned

    def _claim(self, created: int, path: pathlib.Path) -> Segment | None:
        mine = self.folder / self._name(created)
        try:
            os.rename(path, mine)
            os.utime(mine)
        except FileNotFoundError:
            return None  # another process was faster
        except OSError as error:
            warn("spool", "%s cannot be adopted: %s", path, error)
            return None
        return Segment(mine)

    def _load(self, segment: Segment) -> list[Entry]:
        """Creates an entry for each line."""
        try:
            content = segment.path.read_bytes()
        except OSError as error:
            warn("spool", "%s cannot be read: %s", segment.path, error)
            return []
        *lines, last = content.split(b"\n")
        entries, offset = [], 0
        for line in [*lines, last]:
            trace_id = _id_of(line)
            if trace_id is not None:
                entries.append(Entry(trace_id, None, segment, offset, len(line)))
            elif line and offset < len(content) - len(last):
                path = self.reject(line)
                warn("unreadable", "a line of the spool is not a trace with an id; it was moved to %s", path)
            offset += len(line) + 1
        with self._lock:
            segment.size, segment.pending = len(content), len(entries)
            self._segments.add(segment)
            if not entries:
                self._delete(segment)
        return entries

    def _expire(self, path: pathlib.Path) -> None:
        try:
            count = path.read_bytes().count(b"\n")
            path.unlink()
        except FileNotFoundError:
            return
        warn("expired", "%d traces in %s were deleted: they are older than 30 days", count, path)


def _write(segment: Segment, data: bytes) -> None:
    assert segment.fd is not None
    try:
        _write_all(segment.fd, data)
    finally:
        segment.size = os.fstat(segment.fd).st_size


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _is_abandoned(name: re.Match[str], changed: float) -> bool:
    _, host, pid, start = name.groups()
    return time.time() - changed > STALE or (host == _HOST and not _is_alive(int(pid), start))


def _is_alive(pid: int, start: str) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it belongs to another user
    actual = _start_of(pid)
    return actual is None or actual == start or (start == "0" and actual != "ended")


def _start_of(pid: int) -> str | None:
    """Returns the start time of a process in clock ticks since boot (proc(5), field 22), or `None` without `/proc`.

    A process that its parent has not waited for yet is `ended`.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)  # `open` does not exist late in an interpreter shutdown
        try:
            stat = os.read(fd, 4_096).decode("latin-1")
        finally:
            os.close(fd)
        state, *fields = stat.rpartition(")")[2].split()  # the name before it may contain spaces
    except OSError:
        return None
    return "ended" if state in ("Z", "X") else fields[18]


def _id_of(line: bytes) -> str | None:
    try:
        trace = simplejson.loads(line)
    except ValueError:
        return None
    trace_id = trace.get("id") if isinstance(trace, dict) else None
    return trace_id if isinstance(trace_id, str) else None
