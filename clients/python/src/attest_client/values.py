"""JSON without loss: numbers keep their digits, and a value that JSON cannot represent becomes a readable string."""

from __future__ import annotations

import base64
import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import uuid
from typing import Any

import simplejson

MAX_DEPTH = 120
"""The maximum nesting of a value. The endpoint accepts 128 levels, and a trace adds up to six around a value."""

MAX_TEXT = 10_000
"""The maximum length of a string that replaces an object."""

_MAX_INTEGER = 10**4_000  # Python prints 4,300 digits at most


class Number(simplejson.RawJSON):
    """A number with its original digits. `float` would turn `1.50` into `1.5`."""

    def __str__(self) -> str:
        return str(self.encoded_json)

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self.encoded_json == other.encoded_json

    def __hash__(self) -> int:
        return hash(self.encoded_json)


def loads(text: str | bytes) -> Any:
    """Parses JSON. NaN and infinities, which some servers send, become strings. Raises `ValueError` for too many levels."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    value = _DECODER.decode(text)
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(value):
        raise ValueError(f"the value has more than {MAX_DEPTH} levels")
    return value


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for item in level if isinstance(item, (list, dict))]
        if not level:
            return False
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return True


def _integer(text: str) -> int | Number:
    return Number(text) if text == "-0" or len(text) > 4_000 else int(text)  # Python parses 4,300 digits at most


_DECODER = simplejson.JSONDecoder(parse_float=Number, parse_int=_integer, parse_constant=str)
_ENCODER = simplejson.JSONEncoder(ensure_ascii=False, separators=(",", ":"), use_decimal=False)


def dumps(value: Any) -> bytes:
    """Serializes a value from `loads` or `to_json` as one line. Unpaired surrogates become U+FFFD."""
    text: str = _ENCODER.encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def to_json(value: Any) -> Any:
    """Converts a value to JSON. A value that JSON cannot represent becomes a readable string, list or object.

    An SDK's object becomes the JSON that the server sent, without the SDK's defaults.
    """
    return _to_json(value, 0)


def _to_json(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None or kind is Number:
        return value if kind is not int or -_MAX_INTEGER < value < _MAX_INTEGER else _text(value)
    if kind is float:
        return value if math.isfinite(value) else _not_finite(value)
    if depth >= MAX_DEPTH:
        return _text(value)
    try:
        if kind is dict or isinstance(value, collections.abc.Mapping):
            return {_name(name): _to_json(member, depth + 1) for name, member in value.items()}
        if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
            return [_to_json(item, depth + 1) for item in value]
        return _object(value, depth)
    except Exception:
        return _text(value)


def _object(value: Any, depth: int) -> Any:
    if isinstance(value, enum.Enum):
        return _to_json(value.value, depth + 1)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _to_json(int(value), depth + 1)
    if isinstance(value, float):
        return _to_json(float(value), depth + 1)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    for method in ("to_dict", "model_dump", "dict"):
        if callable(convert := getattr(value, method, None)):
            return _to_json(convert(), depth + 1)
    if dataclasses.is_dataclass(value):
        return {field.name: _to_json(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)}
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, collections.abc.Iterator):
        return [_to_json(item, depth + 1) for item in value] or _text(value)  # a consumed iterator is empty
    if isinstance(value, (collections.abc.Sequence, collections.abc.Set, collections.abc.ValuesView)):
        return [_to_json(item, depth + 1) for item in value]
    if isinstance(value, (decimal.Decimal, uuid.UUID, pathlib.PurePath)):
        return str(value)
    return _text(value)


def _name(name: Any) -> str:
    if type(name) is str:
        return name
    text = _to_json(name, MAX_DEPTH - 1)
    return text if isinstance(text, str) else simplejson.dumps(text)


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _text(value: Any) -> str:
    try:
        return repr(value)[:MAX_TEXT]
    except Exception:
        return f"<{type(value).__module__}.{type(value).__qualname__}>"
