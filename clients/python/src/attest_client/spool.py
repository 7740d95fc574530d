"""The folder that keeps traces until they are confirmed, in the format of `clients/SPOOL.md`.

Safety does not depend on knowing which processes are alive. A process adopts a file by renaming it, and an owner checks after
each append that its file still has its name. A wrong guess makes two processes send one trace, which is stored once.
"""

from __future__ import annotations

import os
import pathlib
import secrets
import stat
import time
from collections.abc import Callable, Iterator

from attest_client import private
from attest_client.entry import Entry, Segment, id_of
from attest_client.handoff import Lock
from attest_client.owners import HOST, NAME, is_abandoned, start_of
from attest_client.warn import count, reason, warn

SEGMENT_BYTES = 1 << 20  # the size at which the owner starts a new file
FOLDER_BYTES = 1 << 30
MAX_AGE = 30 * 24 * 3600  # seconds
CACHED_BYTES = 16 << 20  # lines kept in memory; longer queues are read back from the files
REJECTED = "rejected.jsonl"


class SpoolFull(OSError):
    """The line was not written, because the folder would exceed its size limit."""


class Spool:
    """A folder of JSON Lines files. Each process appends only to its own files."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._lock = Lock()
        self._moving = Lock()
        """Held while refused traces are moved, because `flush` and the background thread both do it. Taken before `_lock`."""
        self._segments: set[Segment] = set()
        self._current: Segment | None = None
        self._cached = 0
        self._size = 0
        self._start = start_of(os.getpid()) or "0"
        self._identity: tuple[int, int] | None = None
        self._folder_fd: int | None = None
        """Kept open, so that a new folder in the same place cannot reuse the inode."""
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
            self._check_room(data)
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
            return self._cache(Entry(trace_id, line, segment, offset, len(line)))

    def hold(self, trace_id: str, line: bytes) -> Entry:
        """Writes a trace to a file of its own, which `replace` can exchange atomically."""
        data = line + b"\n"
        with self._lock:
            self._check_room(data)
            segment = self._create()
            try:
                _write(segment, data)
            except OSError:
                self._delete(segment)
                raise
            finally:
                self._seal(segment)
            self._size += len(data)
            segment.pending = 1
            return self._cache(Entry(trace_id, line, segment, 0, len(line)))

    def replace(self, held: Entry, trace_id: str, line: bytes) -> Entry | None:
        """Exchanges a held trace for another, so that no kill leaves both. Returns `None` if that is impossible."""
        data = line + b"\n"
        segment = held.segment
        assert segment is not None
        temporary = segment.path.with_suffix(".tmp")
        with self._lock:
            try:
                self._check_room(data)
                if not segment.path.exists():
                    return None  # another process has adopted the held trace, and sends it
                fd = private.open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                try:
                    _write_all(fd, data)
                finally:
                    os.close(fd)
                os.rename(temporary, segment.path)
            except OSError:
                temporary.unlink(missing_ok=True)
                return None
            self._size += len(data) - segment.size
            segment.size = len(data)
            if held.line is not None:
                self._cached -= len(held.line)
            return self._cache(Entry(trace_id, line, segment, 0, len(line)))

    def _check_room(self, data: bytes) -> None:
        if self._size + len(data) > FOLDER_BYTES:
            raise SpoolFull(f"{self.folder} has reached {FOLDER_BYTES} bytes")

    def _cache(self, entry: Entry) -> Entry:
        if self._cached + entry.length > CACHED_BYTES:
            entry.line = None
        else:
            self._cached += entry.length
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
        """Appends a refused trace to `rejected.jsonl`, and returns the path of that file."""
        path = self.folder / REJECTED
        data = line + b"\n"
        with self._lock:
            self._check_room(data)
            self._prepare()
            fd = private.open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                size = os.fstat(fd).st_size
                if size and os.pread(fd, 1, size - 1) != b"\n":
                    data = b"\n" + data  # a full disk cut off the last line
                _write_all(fd, data)
            finally:
                os.close(fd)
            self._size += len(data)
        return path

    def reject_again(self) -> None:
        """Tries again to move refused traces to `rejected.jsonl`."""
        with self._moving:
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
        """Returns whether a dead process has left a file since the last adoption, or `True` if that is unknown."""
        try:
            return next(self._files(), None) is not None
        except OSError:
            return True

    @property
    def has_unsent(self) -> bool:
        """Whether a trace is stuck in its file: the file cannot be read, or the trace was refused and cannot be moved."""
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
        self._current = self._create()
        return self._current

    def _create(self) -> Segment:
        self._prepare()
        path = self.folder / self._name(int(time.time()))
        fd = private.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        segment = Segment(path, fd, folder=self._identity)
        self._segments.add(segment)
        return segment

    def _name(self, created: int) -> str:
        return f"{created}.{HOST}.{os.getpid()}.{self._start}.{secrets.token_hex(8)}.jsonl"

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
            pass  # another process adopted the file; it sends the traces again, and each is stored once
        except OSError as error:
            warn("spool", "%s cannot be deleted (%s)", segment.path, reason(error))

    def _files(self) -> Iterator[tuple[int, float, pathlib.Path]]:
        """Yields the abandoned files with their creation and modification times. Measures the folder."""
        size = 0
        abandoned = []
        self._prepare()
        for file in os.scandir(self.folder):
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            size += status.st_size
            name = NAME.fullmatch(file.name)
            if name and not private.is_private(status):
                if status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode):
                    self._unread.add(pathlib.Path(file.path))
                warn("foreign", "%s is left alone: it is not a file that only this user can write", file.path)
            elif name and is_abandoned(name, status.st_mtime):
                path = pathlib.Path(file.path)
                if name[5] == "tmp":
                    path.unlink(missing_ok=True)  # its process died before it replaced the held trace
                else:
                    abandoned.append((int(name[1]), status.st_mtime, path))
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
        """Creates an entry for each line, and moves lines that are not traces to `rejected.jsonl`."""
        entries, unreadable = [], []
        try:
            with open(private.open_file(segment.path, os.O_RDONLY), "rb") as file:
                for line in file:
                    content = line.removesuffix(b"\n")
                    entry = Entry(id_of(content) or "", content, segment, segment.size, len(content))
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
                self._cache(entry)
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
