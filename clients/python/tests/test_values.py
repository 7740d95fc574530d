"""Tests that a value that JSON cannot represent becomes a readable string, list or object."""

import dataclasses
import datetime
import enum
import json
import math
import pathlib
import re
import types

import openai
import pydantic
import pytest

from attest_client import values


class Color(enum.Enum):
    RED = "red"


class Model(pydantic.BaseModel):
    name: str
    score: float = 1.5


@dataclasses.dataclass
class Data:
    value: int


class Hostile:
    def __repr__(self):
        raise RuntimeError("no")

    def to_dict(self):
        raise RuntimeError("no")


class Locked(dict):
    def items(self):
        raise RuntimeError("no")


def read_generator():
    generator = (number for number in range(2))
    list(generator)
    return generator


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (0.1, 0.1),
        (2**200, 2**200),
        (True, True),
        (None, None),
        (b"text", "text"),
        (b"\xff\x00", "/wA="),
        (bytearray(b"a"), "a"),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        ({1: "a", None: "b", (1, 2): "c", False: "d"}, {"1": "a", "null": "b", "[1, 2]": "c", "false": "d"}),
        (Color.RED, "red"),
        (Model(name="a"), {"name": "a", "score": 1.5}),
        (Model, "test_values.Model"),
        (Data(1), {"value": 1}),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), "2026-01-02T00:00:00+00:00"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (pathlib.PurePosixPath("/a"), "/a"),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        ((number for number in range(3)), [0, 1, 2]),
        (iter([]), "<list_iterator"),
        (read_generator(), "<generator object"),
        (openai.NOT_GIVEN, "NOT_GIVEN"),
        (Hostile(), "<test_values.Hostile>"),
        (Locked(a=1), "{'a': 1}"),
        (object(), "<object object"),
        (lambda: 1, "<function"),
        (1j, "1j"),
    ],
)
def test_every_value_becomes_json(value, expected):
    result = values.to_json({"before": 1, "value": value, "after": 2})
    text = json.loads(values.dumps(result))
    assert (text["before"], text["after"]) == (1, 2)
    if isinstance(expected, str) and expected.startswith("<"):
        assert text["value"].startswith(expected)
    else:
        assert text["value"] == expected


def test_cycles_and_depths_end_in_a_text():
    cycle = {"a": 1}
    cycle["self"] = cycle
    deep = []
    for _ in range(5_000):
        deep = [deep]
    text = re.sub(rb'"[^"]*"', b"", values.dumps(values.to_json({"cycle": cycle, "deep": deep})))
    depth = longest = 0
    for byte in text:
        depth += {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}.get(byte, 0)
        longest = max(longest, depth)
    assert longest <= 124


def test_large_integers_are_readable():
    assert isinstance(values.to_json(10**5_000), str)
    assert values.dumps(values.loads(b"[" + b"9" * 5_000 + b"]")) == b"[" + b"9" * 5_000 + b"]"


def test_unpaired_surrogates_become_the_replacement_character():
    assert values.dumps({"a": "x\ud83dy", "\ude00": "\ud83d\ude00"}).decode() == '{"a":"x\ufffdy","\ufffd":"\U0001f600"}'


def test_nan_of_a_server_becomes_text():
    assert values.loads(b'{"a": [NaN, Infinity, -Infinity], "b": 1.50}') == {
        "a": ["NaN", "Infinity", "-Infinity"],
        "b": values.Number("1.50"),
    }


def test_the_object_of_an_sdk_is_what_the_server_sent():
    completion = openai.types.chat.ChatCompletion.construct(id="c", choices=[], created=1, model="m", extra={"a": 1})
    assert values.to_json(completion) == {"id": "c", "choices": [], "created": 1, "model": "m", "extra": {"a": 1}}
