"""Tests traces that are held in the spool until another trace replaces them."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

import attest_client
from attest_client import client
from stand_ins import wait_until

PROGRAM = pathlib.Path(__file__).with_name("held.py")
STEP = 10  # between the `created` of two processes


def trace(created):
    return {"model": "m", "messages": [], "created": created}


def left_by_kills(variables):
    """Kills a process at each step. Returns which of the two traces may be left after each kill."""
    expected, temporary = {}, 0
    for step in range(1, 100):
        command = [sys.executable, PROGRAM, str(step), str(STEP * step)]
        program = subprocess.run(command, env=variables, capture_output=True, text=True)
        done = program.stdout.split()
        expected[step] = {"put": [{1}], "held": [{0}, {1}]}.get(done[-1] if done else "", [set(), {0}])
        temporary += any(path.suffix == ".tmp" for path in pathlib.Path(variables["ATTEST_SPOOL"]).iterdir())
        if program.returncode == 0:
            assert temporary >= 2, "killed between the creation of a temporary file and its rename"
            return expected
        assert program.returncode == -9, program.stderr
    raise AssertionError("the program does not end")


def test_a_kill_at_any_step_leaves_one_of_the_two_traces(endpoint, environment, tmp_path):
    expected = left_by_kills(environment(endpoint.url))
    assert attest_client.flush(20)
    stored = {step: set() for step in expected}
    for found in endpoint.traces():
        stored[found["created"] // STEP].add(found["created"] % STEP)
    assert all(stored[step] in expected[step] for step in expected), stored
    assert {0} in stored.values() and {1} in stored.values()
    assert len(endpoint.paths()) == sum(map(len, stored.values())), "none of them twice"
    assert list((tmp_path / "spool").iterdir()) == [], "no trace was rejected, and no temporary file is left"


def test_a_held_trace_is_logged_unchanged_once_its_time_is_over(endpoint, environment):
    environment(endpoint.url)
    held = client.hold(trace(1), seconds=0)
    wait_until(endpoint.traces)
    client.put(trace(2), held)
    assert attest_client.flush(20)
    assert [found["created"] for found in endpoint.traces()] == [1, 2], "two traces, because the first one was sent already"
    assert attest_client.counters()["rejected"] == 0


def test_a_held_trace_that_another_process_adopted_is_not_replaced(endpoint, environment, tmp_path):
    environment(endpoint.url)
    held = client.hold(trace(1), seconds=60)
    [path] = (tmp_path / "spool").iterdir()
    adopted = path.with_name(path.name.replace(f".{os.getpid()}.", ".999999999."))
    path.rename(adopted)
    os.utime(adopted, (time.time() - 61,) * 2)
    client.put(trace(2), held)
    assert attest_client.flush(20)
    assert [found["created"] for found in endpoint.traces()] == [1, 2]
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("size", [10, client.MAX_TRACE])
def test_what_replaces_a_held_trace_may_have_any_size(endpoint, environment, tmp_path, size):
    environment(endpoint.url)
    client.put({**trace(2), "text": "x" * size}, client.hold(trace(1), seconds=60))
    assert attest_client.flush(20)
    is_rejected = size == client.MAX_TRACE
    assert [found["created"] for found in endpoint.traces()] == ([] if is_rejected else [2])
    assert attest_client.counters()["rejected"] == is_rejected
    assert [path.name for path in (tmp_path / "spool").iterdir()] == (["rejected.jsonl"] if is_rejected else [])


def test_a_disk_that_takes_no_replacement_leaves_the_trace_in_memory(endpoint, environment, monkeypatch, tmp_path):
    environment(endpoint.url)
    held = client.hold(trace(1), seconds=60)

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "rename", fails)
        client.put(trace(2), held)
    assert attest_client.flush(20)
    assert [found["created"] for found in endpoint.traces()] == [2]
    assert list((tmp_path / "spool").iterdir()) == []
