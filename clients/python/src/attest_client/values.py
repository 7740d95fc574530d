"""JSON without loss: numbers keep their digits, and a value that JSON cannot hold becomes a readable text."""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import math
import re
from typing import Any

import simplejson

MAX_DEPTH = 120
"""The endpoint takes 128 levels, and a trace puts up to six around a value."""


class Number(simplejson.RawJSON):  # type: ignore[misc]
    """A number as its source wrote it. `float` would turn `1.50` into `1.5`."""

    def __str__(self) -> str:
        return str(self.encoded_json)

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self.encoded_json == other.encoded_json

    def __hash__(self) -> int:
        return hash(self.encoded_json)


def loads(text: str | bytes) -> Any:
    """Parses JSON. NaN and infinities, which some servers send, become text."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return simplejson.loads(text, parse_float=Number, parse_int=_integer, parse_constant=str)


def _integer(text: str) -> int | Number:
    return Number(text) if text == "-0" or len(text) > 4_000 else int(text)  # Python reads 4,300 digits at most


def dumps(value: Any) -> bytes:
    """Prints a value of `loads` or `to_json` as one line. Unpaired surrogates become U+FFFD."""
    text = simplejson.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
