"""A trace in the spool: one line of a file."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import simplejson

_QUICK_ID = re.compile(rb'\{"id":"([0-9a-f-]{36})",')


@dataclasses.dataclass(eq=False)
class Segment:
    """A spool file that this process owns."""

    path: pathlib.Path
    fd: int | None = None
    size: int = 0
    pending: int = 0
    """Lines that are neither confirmed nor rejected."""
    folder: tuple[int, int] | None = None
    """The device and inode of the folder in which the file was created."""


@dataclasses.dataclass(eq=False)
class Entry:
    """An unconfirmed trace: one line of JSON without its line feed, and its position in a file, if any."""

    id: str
    line: bytes | None
    segment: Segment | None = None
    offset: int = 0
    length: int = 0


def id_of(line: bytes) -> str | None:
    if line.endswith(b"}") and (quick := _QUICK_ID.match(line)):
        return quick[1].decode()  # both clients write the id first; the endpoint validates the rest
    try:
        trace = simplejson.loads(line)
    except (ValueError, RecursionError):
        return None
    trace_id = trace.get("id") if isinstance(trace, dict) else None
    return trace_id if isinstance(trace_id, str) else None
