"""The folder that keeps traces until they are confirmed, in the format of `clients/SPOOL.md`.

Safety does not depend on knowing which processes are alive. A process adopts a file by renaming it, and an owner checks after
each append that its file still has its name. A wrong guess makes two processes send one trace, which is stored once.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import secrets
import socket
import stat
import time
from collections.abc import Callable, Iterator

import simplejson

from attest_client import private
from attest_client.handoff import Lock
from attest_client.warn import count, reason, warn

SEGMENT_BYTES = 1 << 20  # the size at which the owner starts a new file
FOLDER_BYTES = 1 << 30
MAX_AGE = 30 * 24 * 3600  # seconds
STALE = 60  # seconds without a heartbeat
CACHED_BYTES = 16 << 20  # lines kept in memory; longer queues are read back from the files
REJECTED = "rejected.jsonl"

_NAME = re.compile(r"(\d+)\.([A-Za-z0-9_-]{1,64})\.(\d+)\.(\d+)\.[0-9a-f]{16}\.jsonl", re.ASCII)
_HOST = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())[:64] or "_"
_QUICK_ID = re.compile(rb'\{"id":"([0-9a-f-]{36})",')


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
    folder: tuple[int, int] | None = None
    """The device and the inode of the folder in which the file was written."""


@dataclasses.dataclass(eq=False)
class Entry:
    """An unconfirmed trace: one line of JSON without its line feed, and its position in a file, if any."""

    id: str
    line: bytes | None
    segment: Segment | None = None
    offset: int = 0
    length: int = 0


class Spool:
    """A folder of JSON Lines files. Each process appends only to its own files."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._lock = Lock()
        self._segments: set[Segment] = set()
        self._current: Segment | None = None
        self._cached = 0
        self._size = 0
        self._start = _start_of(os.getpid()) or "0"
        self._identity: tuple[int, int] | None = None
        self._folder_fd: int | None = None
        """Keeps the inode of the folder, so that a new folder in its place has another one."""
        self.unsent: list[Entry] = []
        """Refused traces that could not be moved to `rejected.jsonl`, for example because the disk is full."""
        self._unread: set[pathlib.Path] = set()
        self._prepare()
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError("it cannot be written")
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
        """Returns the line of an entry, or `None` if another process adopted its file, or the folder was deleted."""
        if entry.line is not None or entry.segment is None:
            return entry.line
        try:
            with open(private.open_file(entry.segment.path, os.O_RDONLY), "rb") as file:
                file.seek(entry.offset)
                return file.read(entry.length)
        except FileNotFoundError:
            if self._identity_now() != entry.segment.folder:
                count("lost")
                warn("deleted", "traces are lost: %s was deleted while they waited in it", self.folder)
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
        data = line + b"\n"
        with self._lock:
            if self._size + len(data) > FOLDER_BYTES:
                raise SpoolFull(f"{self.folder} has reached {FOLDER_BYTES} bytes")
            self._prepare()
            fd = private.open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                size = os.fstat(fd).st_size
                if size and os.pread(fd, 1, size - 1) != b"\n":
                    data = b"\n" + data  # a full disk took only a part of the last line
                _write_all(fd, data)
            finally:
                os.close(fd)
            self._size += len(data)
        return path

    def reject_again(self) -> None:
        """Retries to move refused traces to `rejected.jsonl`."""
        for entry in list(self.unsent):
            line = self.read(entry)
            try:
                if line is not None:
                    self.reject(line)
            except OSError:
                continue
            self.unsent.remove(entry)
            self.release(entry)

    def beat(self) -> None:
        """Updates the heartbeat, which shows other processes that the owner of these files is alive."""
        with self._lock:
            segments = list(self._segments)
        for segment in segments:
            try:
                os.utime(segment.path, follow_symlinks=False)
            except OSError:
                pass  # another process adopted the file, and sends its lines too

    def adopt(self, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[Entry]:
        """Adopts the files of dead processes, oldest first. Stops before the next file once `is_wanted` returns false."""
        for created, changed, path in sorted(self._files()):
            if not is_wanted():
                return
            # The name alone proves nothing: the clock may have been wrong when the file was created.
            if time.time() - max(created, changed) > MAX_AGE:
                self._expire(path)
            elif segment := self._claim(created, path):
                yield from self._load(segment)

    def has_abandoned(self) -> bool:
        """Returns whether a process has died since the last adoption, or that cannot be known."""
        try:
            return next(self._files(), None) is not None
        except OSError:
            return True

    @property
    def has_unsent(self) -> bool:
        """Whether a trace cannot leave its file: nobody can read it, or it was refused and cannot be moved."""
        return bool(self.unsent) or any(map(os.path.lexists, self._unread))

    def forget(self) -> None:
        """Closes the files after a fork, because the parent owns them."""
        for fd in [self._folder_fd, *[segment.fd for segment in self._segments]]:
            if fd is not None:
                os.close(fd)

    def _prepare(self) -> None:
        """Creates the folder if a cleaner has deleted it. Raises `OSError` if others may change it."""
        if self._identity is None or self._identity_now() != self._identity:
            fd, before = private.open_folder(self.folder), self._folder_fd
            status = os.fstat(fd)
            self._folder_fd, self._identity = fd, (status.st_dev, status.st_ino)
            if before is not None:
                os.close(before)

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            status = os.lstat(self.folder)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _writable(self, length: int) -> Segment:
        segment = self._current
        if segment and segment.fd is not None and segment.size + length <= SEGMENT_BYTES:
            return segment
        if segment:
            self._seal(segment)
        self._prepare()
        path = self.folder / self._name(int(time.time()))
        fd = private.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self._current = Segment(path, fd, folder=self._identity)
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
            warn("spool", "%s cannot be deleted (%s)", segment.path, reason(error))

    def _files(self) -> Iterator[tuple[int, float, pathlib.Path]]:
        """Yields the abandoned files with the times of their creation and last change. Measures the folder."""
        size = 0
        abandoned = []
        self._prepare()
        for file in os.scandir(self.folder):
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            size += status.st_size
            name = _NAME.fullmatch(file.name)
            if name and not private.is_private(status):
                if status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode):
                    self._unread.add(pathlib.Path(file.path))
                warn("foreign", "%s is left alone: it is not a file that only this user can write", file.path)
            elif name and _is_abandoned(name, status.st_mtime):
                abandoned.append((int(name[1]), status.st_mtime, pathlib.Path(file.path)))
        self._size = size
        yield from abandoned

    def _claim(self, created: int, path: pathlib.Path) -> Segment | None:
        mine = self.folder / self._name(created)
        try:
            os.rename(path, mine)
            os.utime(mine, follow_symlinks=False)
        except FileNotFoundError:
            return None  # another process was faster
        except OSError as error:
            self._unread.add(path)
            warn("adopt", "%s cannot be adopted (%s)", path, reason(error))
            return None
        return Segment(mine, folder=self._identity)

    def _load(self, segment: Segment) -> list[Entry]:
        """Creates an entry for each line, and moves what is not a trace to the file of rejected traces."""
        entries, unreadable = [], []
        try:
            with open(private.open_file(segment.path, os.O_RDONLY), "rb") as file:
                for line in file:
                    content = line.removesuffix(b"\n")
                    entry = Entry(_id_of(content) or "", content, segment, segment.size, len(content))
                    segment.size += len(line)
                    if entry.id:
                        entries.append(entry)
                    elif content and content != line:  # a last line without a line feed was cut off
                        unreadable.append(entry)
        except OSError as error:
            self._unread.add(segment.path)
            warn("adopt", "%s cannot be read (%s)", segment.path, reason(error))
            return []
        with self._lock:
            segment.pending = len(entries) + len(unreadable)
            for entry in [*entries, *unreadable]:
                if self._cached + entry.length > CACHED_BYTES:
                    entry.line = None
                else:
                    self._cached += entry.length
            self._segments.add(segment)
            if segment.pending == 0:
                self._delete(segment)
        if unreadable:
            self.unsent += unreadable
            self.reject_again()
            count("rejected", len(unreadable))
            warn("unreadable", "a line of the spool is not a trace with an id; it belongs in %s", self.folder / REJECTED)
        return entries

    def _expire(self, path: pathlib.Path) -> None:
        try:
            with open(private.open_file(path, os.O_RDONLY), "rb") as file:
                lines = sum(1 for _ in file)
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            self._unread.add(path)
            warn("adopt", "%s cannot be read (%s)", path, reason(error))
            return
        count("lost", lines)
        warn("expired", "%d traces in %s were deleted: they are older than 30 days", lines, path)


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
    # A time in the future is not a heartbeat either: the clock was wrong.
    return abs(time.time() - changed) > STALE or (host == _HOST and not _is_alive(int(pid), start))


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
            fields = os.read(fd, 4_096).decode("latin-1")
        finally:
            os.close(fd)
        state, *rest = fields.rpartition(")")[2].split()  # the name before it may contain spaces
        return "ended" if state in ("Z", "X") else rest[18]
    except (OSError, ValueError, IndexError):
        return None


def _id_of(line: bytes) -> str | None:
    if line.endswith(b"}") and (quick := _QUICK_ID.match(line)):
        return quick[1].decode()  # both clients write the id there; the endpoint judges the rest
    try:
        trace = simplejson.loads(line)
    except (ValueError, RecursionError):
        return None
    trace_id = trace.get("id") if isinstance(trace, dict) else None
    return trace_id if isinstance(trace_id, str) else None
