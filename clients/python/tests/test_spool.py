"""Tests faults in the spool folder. Every line is sent, moved to `rejected.jsonl`, or counted as lost."""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time

import attest_client
from attest_client import client, spool
from stand_ins import Server, receipt

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Grüße"}]}
REFUSED = (400, {}, b"{}")


def stores(_path, _headers, body):
    return 201, {}, receipt(body)


def dead(folder, *lines, created=None, host="other", changed=1):
    """Writes a spool file as a dead process leaves it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{int(time.time()) if created is None else created}.{host}.999999999.0.{os.urandom(8).hex()}.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    os.utime(path, (changed, changed))
    return path


def trace(name):
    return json.dumps({"id": name, "model": "m", "created": 1, "messages": []}).encode()


def test_a_file_is_old_only_if_its_name_and_its_modification_time_say_so(environment, tmp_path):
    old = time.time() - 31 * 24 * 3600
    dead(tmp_path / "spool", trace("a"), created=1_000, changed=time.time() - 61)
    dead(tmp_path / "spool", trace("b"), changed=old)
    dead(tmp_path / "spool", trace("c"), trace("d"), created=int(old), changed=old)
    with Server(stores) as server:
        environment(server.url)
        assert not attest_client.flush(20), "two traces are lost"
    counters = attest_client.counters()
    assert (counters["stored"], counters["lost"]) == (2, 2)


def test_a_file_from_the_future_is_sent(environment, tmp_path):
    dead(tmp_path / "spool", trace("a"), created=9_999_999_999, changed=time.time() + 1e6)
    with Server(stores) as server:
        environment(server.url)
        assert attest_client.flush(20) and attest_client.counters()["stored"] == 1


def test_lines_that_are_no_traces_do_not_hold_up_the_others(environment, tmp_path):
    deep = b'{"id":"deep","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    dead(tmp_path / "spool", trace("a"), deep, b"\xff", b'{"id":7}', trace("b"))
    with Server(stores) as server:
        environment(server.url)
        assert attest_client.flush(20) and attest_client.counters()["stored"] == 2
    assert (tmp_path / "spool" / spool.REJECTED).read_bytes() == deep + b'\n\xff\n{"id":7}\n'
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [spool.REJECTED]


def test_a_line_that_is_no_trace_stays_if_it_cannot_be_moved(environment, tmp_path):
    path = dead(tmp_path / "spool", trace("a"), b"no trace", trace("b"))
    (path.parent / spool.REJECTED).mkdir()
    with Server(stores) as server:
        environment(server.url)
        assert not attest_client.flush(10) and attest_client.counters()["stored"] == 2
        [kept] = [path for path in path.parent.iterdir() if path.name != spool.REJECTED]
        assert b"no trace\n" in kept.read_bytes()
        (path.parent / spool.REJECTED).rmdir()
        assert attest_client.flush(10)
    assert (path.parent / spool.REJECTED).read_bytes() == b"no trace\n"


def test_two_threads_move_a_refused_line_once(tmp_path, monkeypatch):
    folder = spool.Spool(tmp_path / "spool")
    folder.unsent.append(folder.append("a", b"no trace"))
    both, move, errors = threading.Barrier(2, timeout=0.5), folder.reject, []

    def reject(line):
        try:
            both.wait()
        except threading.BrokenBarrierError:
            pass  # the other thread waits for this one
        return move(line)

    monkeypatch.setattr(folder, "reject", reject)
    monkeypatch.setattr(threading, "excepthook", errors.append)
    threads = [threading.Thread(target=folder.reject_again) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and (folder.folder / spool.REJECTED).read_bytes() == b"no trace\n"
    assert [path.name for path in folder.folder.iterdir()] == [spool.REJECTED]


DELETED = """
import attest_client, os, shutil, sys
for number in range(1, 6):
    attest_client.log_trace({"model": "m", "messages": []}, {"created": number})
    if number == 1:
        shutil.rmtree(os.environ["ATTEST_SPOOL"])
os.kill(os.getpid(), 9)
"""


def test_a_folder_that_was_deleted_is_created_again(environment, tmp_path):
    subprocess.run([sys.executable, "-c", DELETED], env=environment("http://127.0.0.1:1"), timeout=60)
    lines = [line for path in (tmp_path / "spool").iterdir() for line in path.read_text().splitlines()]
    assert [json.loads(line)["created"] for line in lines] == [2, 3, 4, 5]


def test_traces_that_only_a_deleted_folder_had_are_counted_as_lost(environment, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(spool, "CACHED_BYTES", 0)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 60)
    with Server(stores) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        shutil.rmtree(tmp_path / "spool")
        assert not attest_client.flush(20) and attest_client.counters()["lost"] == 1
    assert "was deleted while they waited" in caplog.text


def test_the_limit_of_the_folder_includes_rejected_traces(environment, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(spool, "FOLDER_BYTES", 5_000)
    with Server(lambda *_: REFUSED) as server:
        environment(server.url)
        for _ in range(100):
            attest_client.log_trace(REQUEST, {"created": 1})
        assert not attest_client.flush(20)
    counters = attest_client.counters()
    kept = sum(path.read_bytes().count(b"\n") for path in (tmp_path / "spool").iterdir())
    assert sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) <= 5_000
    assert counters["rejected"] == 100 and counters["lost"] + kept >= 100 and counters["lost"] > 50


LIMITED = """
import attest_client
attest_client.log_trace({"model": "cut", "messages": [{"role": "user", "content": "x" * 60_000}]}, {"choices": []})
print(attest_client.flush(10))
"""


def test_a_refused_trace_is_on_a_line_of_its_own_after_the_disk_was_full(environment, tmp_path):
    """A file size limit simulates a full disk, which cuts off a line."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    (folder / spool.REJECTED).write_bytes(b'{"id":"a","x":"' + b"y" * 60_000 + b'"}\n')

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    with Server(lambda *_: REFUSED) as server:
        variables = environment(server.url)
        subprocess.run([sys.executable, "-c", LIMITED], env=variables, preexec_fn=limit, capture_output=True, timeout=60)
        assert (folder / spool.REJECTED).stat().st_size == 100_000
        attest_client.log_trace({**REQUEST, "model": "next"}, {"choices": []})
        assert attest_client.flush(20)
    models = []
    for line in (folder / spool.REJECTED).read_bytes().splitlines():
        try:
            models.append(json.loads(line).get("model"))
        except ValueError:
            models.append("cut off")
    assert sorted(map(str, models)) == ["None", "cut", "cut off", "next"]
