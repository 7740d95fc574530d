"""Ownership of spool files, as `clients/SPOOL.md` specifies it."""

from __future__ import annotations

import os
import re
import socket
import time

STALE = 60  # seconds without a heartbeat
NAME = re.compile(r"(\d+)\.([A-Za-z0-9_-]{1,64})\.(\d+)\.(\d+)\.[0-9a-f]{16}\.(jsonl|tmp)", re.ASCII)
HOST = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())[:64] or "_"


def is_abandoned(name: re.Match[str], changed: float) -> bool:
    """Returns whether the owner of a file has ended, or its heartbeat has stopped."""
    _, host, pid, start, _ = name.groups()
    # A time in the future is not a heartbeat either: the clock was wrong.
    return abs(time.time() - changed) > STALE or (host == HOST and not _is_alive(int(pid), start))


def _is_alive(pid: int, start: str) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it belongs to another user
    actual = start_of(pid)
    return actual is None or actual == start or (start == "0" and actual != "ended")


def start_of(pid: int) -> str | None:
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
