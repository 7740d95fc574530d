"""Converts providers' times to whole seconds since 1970."""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

from attest_client.values import Number

_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def seconds(value: Any) -> int | None:
    """Returns the whole seconds since 1970 of a number, a numeric string or an RFC 3339 string, or `None` for any other value.

    A time without an offset is in UTC.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float, Number)):
        value = str(value)
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value) if -(2**63) <= int(value) < 2**63 else None
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value):
        number = float(value)
        return math.floor(number) if abs(number) < 2**53 else None
    if not (parts := _RFC_3339.fullmatch(value)):
        return None
    date, time, offset = parts.groups()
    try:
        moment = datetime.datetime.fromisoformat(f"{date}T{time}{'+00:00' if offset in (None, 'Z', 'z') else offset}")
        return math.floor(moment.timestamp())
    except (ValueError, OverflowError):
        return None
