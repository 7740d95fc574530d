"""Tests the cases that all implementations of docs/mapping.md share."""

import pathlib

import pytest

import lines
from attest_client import values

FOLDER = pathlib.Path(__file__).parents[3] / "examples" / "mapping"
CASES = [case for file in sorted(FOLDER.glob("*.json")) for case in values.loads(file.read_bytes())]
MAPPED = [case for case in CASES if "trace" in case]  # only `import` rejects lines


def by_name(case):
    return f"{case['from']}: {case['name']}"


def text(value):
    """Serializes a value so that numbers keep their digits and members their order."""
    return values.dumps(value).decode()


def without_order(value):
    if isinstance(value, dict):
        return {name: without_order(value[name]) for name in sorted(value)}
    return [without_order(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", MAPPED, ids=by_name)
def test_a_line_becomes_its_trace(case):
    assert text(lines.to_trace(case["from"], case["line"])) == text(case["trace"])


@pytest.mark.parametrize("case", MAPPED, ids=by_name)
def test_request_and_response_are_rebuilt_exactly(case):
    rebuilt = lines.rebuild(case["from"], case["trace"])
    assert text(without_order(rebuilt)) == text(without_order(lines.as_call(case["from"], case["line"])))


@pytest.mark.parametrize("case", MAPPED, ids=by_name)
def test_a_trace_is_valid_under_the_schema(case):
    trace = case["trace"]
    assert isinstance(trace["model"], str) and isinstance(trace["created"], int)
    assert all(message["role"] in ("system", "user", "assistant") for message in trace["messages"])
    assert all(isinstance(message["content"], str) for message in trace["messages"])
    assert all(isinstance(trace.get(name, {}), dict) for name in ("choices", "usage"))
    assert isinstance(trace.get("system_fingerprint", ""), str)


def test_every_format_has_cases():
    assert {case["from"] for case in MAPPED} == {"openai-chat", "openai-responses", "openai-batch", "anthropic", "litellm"}
    assert {case["from"] for case in CASES if "refused" in case} >= {"openai-chat", "anthropic", "litellm"}
