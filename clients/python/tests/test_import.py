"""Tests that `attest import --from` and this package store the same traces, even for randomly changed cases."""

import json
import random
import subprocess

import pytest
from test_mapping import MAPPED

import lines
from attest_client import mapping, values
from stand_ins import ATTEST

FORMATS = ["openai-chat", "openai-responses", "anthropic", "litellm"]
COUNT = 400
VALUES = [None, True, 0, values.Number("1.50"), "", "text", [], {}, [None], ["a"], {"a": 1}]
VALUES += ["user", "developer", "tool", "message", "reasoning", "text", "thinking", "tool_use", "tool_result", "x_call", "x_output"]
NAMES = ["original", "member", "content", "role", "type", "call_id", "id", "name", "text", "refusal", "thinking", "input"]
NAMES += ["arguments", "output", "summary", "tool_use_id", "usage", "choices", "created", "model"]


def members(value):
    """Yields every member of every object in a value."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from members(item)


POOL = {}
for case in MAPPED:
    for name, value in members(case["line"]):
        POOL.setdefault(name, []).append(value)


def changed(value, randomness):
    """Returns the value with members and items removed, replaced, added and moved."""
    if isinstance(value, dict):
        result = {}
        for name, member in value.items():
            draw = randomness.random()
            if draw >= 0.04:
                choices = POOL[name] if draw < 0.1 else VALUES if draw < 0.14 else [changed(member, randomness)]
                result[name] = randomness.choice(choices)
        if randomness.random() < 0.08:
            name = randomness.choice(NAMES)
            result[name] = randomness.choice(POOL.get(name, []) + VALUES)
        return result
    if isinstance(value, list):
        items = [changed(item, randomness) for item in value if randomness.random() > 0.05]
        if items and randomness.random() < 0.15:
            items.insert(randomness.randrange(len(items) + 1), randomness.choice(VALUES + items))
        if randomness.random() < 0.1:
            randomness.shuffle(items)
        return items
    return value


def is_a_call(source, line):
    """Returns whether `import` accepts the line. It rejects more lines than the clients, which log everything that was sent."""
    if source == "litellm" or "request" in line:
        response = line.get("response")
        is_complete = isinstance(response, dict) or line.get("error") is not None
        return source == "litellm" or (isinstance(line["request"], dict) and is_complete)
    return isinstance(line.get("output" if source == "openai-responses" else "choices"), list) and source != "anthropic"


def mapped(source, line):
    try:
        return lines.to_trace(source, line)
    except mapping.NotMapped:
        return None


@pytest.mark.parametrize("source", FORMATS)
def test_import_maps_changed_lines_as_this_package_does(source, tmp_path):
    if "openai-responses" not in subprocess.run([ATTEST, "import", "--help"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this program does not import the formats yet")
    randomness = random.Random(22)
    cases = [case for case in MAPPED if case["from"] == source and "surrogate" not in case["name"]]
    expected = {}
    while len(expected) < COUNT:
        line = {**changed(randomness.choice(cases)["line"], randomness), "number": len(expected)}
        if is_a_call(source, line) and (trace := mapped(source, line)):
            expected[len(expected)] = (line, trace)
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b"".join(values.dumps(line) + b"\n" for line, _ in expected.values()))
    folder = tmp_path / "traces"
    command = [ATTEST, "import", file, "--from", source, "--folder", folder, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    stored = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.relative_to(folder).parts[0].startswith("~"):
            trace = values.loads(path.read_bytes())
            kept = (trace.get(name, {}) for name in ("log", "litellm", "response"))
            stored[next(rest["number"] for rest in kept if "number" in rest)] = trace
    assert stored.keys() == expected.keys(), done.stderr
    for number, (line, trace) in expected.items():
        completed = {"id": stored[number]["id"], "object": "chat.trace", "system_fingerprint": trace["model"], **trace}
        text = [json.dumps(values.loads(values.dumps(value)), sort_keys=True, default=str) for value in (stored[number], completed)]
        assert text[0] == text[1], values.dumps(line).decode()
