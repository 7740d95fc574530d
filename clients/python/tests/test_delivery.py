"""Tests the delivery of a trace, from the call to its confirmation."""

import email.utils
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import attest_client
from attest_client import client, owners, sender, settings, spool
from stand_ins import Server, receipt, wait_until

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Grüße"}]}


def files(folder):
    return sorted(path for path in folder.glob("*.jsonl") if path.name != spool.REJECTED)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def answers(*statuses):
    """Responds with each status in turn, and repeats the last one. 200 and 201 have a receipt. Records the requests."""
    came = []

    def respond(_, headers, body):
        came.append((time.monotonic(), headers, json.loads(body)))
        status, *rest = statuses[min(len(came), len(statuses)) - 1]
        default = receipt(body) if status in (200, 201) else b"{}"
        return status, rest[0] if rest else {}, rest[1] if len(rest) > 1 else default

    return respond, came


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_transient_errors_are_retried_with_the_same_idempotency_key(environment, folder, status):
    respond, came = answers((status,), (status,), (201,))
    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert attest_client.flush(20)
    assert len(came) == 3
    assert {headers["idempotency-key"] for _, headers, _ in came} == {came[0][2]["id"]}
    assert {headers["x-api-key"] for _, headers, _ in came} == {"recipe"}
    assert files(folder) == [] and attest_client.counters()["stored"] == 1


def test_a_gateway_failure_is_retried(environment, folder):
    problem = json.dumps({"type": "urn:attest:problem:gateway", "title": "x"}).encode()
    respond, came = answers((500, {}, problem), (201,))
    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert attest_client.flush(20)
    assert len(came) == 2 and files(folder) == []


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_respected(environment, as_date):
    value = email.utils.formatdate(time.time() + 3, usegmt=True) if as_date else "1"
    respond, came = answers((429, {"retry-after": value}), (201,))
    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert attest_client.flush(20)
    assert came[1][0] - came[0][0] >= 1


def test_retry_after_is_bounded():
    class Attempt:
        attempt_number = 1

        class outcome:
            @staticmethod
            def exception():
                return sender.Refused("", True, 86_400.0)

    assert sender._pause(Attempt) <= sender.LONGEST_PAUSE + 1


def test_a_broken_connection_is_retried(environment, folder):
    came = []

    def respond(_, headers, body):
        came.append(headers["idempotency-key"])
        return (201, {}, receipt(body)) if len(came) > 2 else lambda handler: handler.connection.close()

    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert attest_client.flush(20)
    assert len(set(came)) == 1 and files(folder) == []


@pytest.mark.parametrize("status", [200, 201])
def test_a_confirmed_trace_leaves_the_spool(environment, folder, status):
    with Server(lambda _path, _headers, body: (status, {}, receipt(body))) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert attest_client.flush(20)
    assert files(folder) == [] and not (folder / spool.REJECTED).exists()


@pytest.mark.parametrize("status", [204, 301, 400, 403, 404, 409, 413, 415, 500, 501])
def test_other_statuses_move_the_trace_to_the_rejected_file(endpoint, environment, folder, caplog, status):
    problem = {"type": "urn:attest:problem:x", "detail": "It is wrong.", "errors": [{"pointer": "/model", "detail": "x"}]}
    respond, came = answers((status, {"location": "/elsewhere"}, b"" if status == 204 else json.dumps(problem).encode()))
    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 3})
        assert attest_client.flush(20)
    assert len(came) == 1 and files(folder) == []
    rejected = folder / spool.REJECTED
    assert oct(rejected.stat().st_mode & 0o777) == "0o600"
    assert json.loads(rejected.read_text()) == came[0][2]
    assert str(status) in caplog.text and str(rejected) in caplog.text and "Grüße" not in caplog.text
    if status != 204:
        assert "It is wrong. /model" in caplog.text
    endpoint.imports(rejected)
    assert [trace["id"] for trace in endpoint.traces()] == [came[0][2]["id"]]


def test_a_trace_over_the_limit_is_rejected_without_sending(environment, folder, caplog):
    respond, came = answers((201,))
    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace({"model": "m", "messages": [{"role": "user", "content": "x" * (4 << 20)}]}, {"created": 1})
        assert attest_client.flush(5)
    assert came == [] and (folder / spool.REJECTED).stat().st_size > 4 << 20
    assert "the limit is 4194304" in caplog.text


def test_a_rejected_trace_stays_in_the_spool_if_its_file_cannot_be_written(environment, folder, caplog):
    (folder / spool.REJECTED).mkdir(parents=True)
    respond, came = answers((400,))
    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert not attest_client.flush(20), "it is neither stored nor in the file of rejected traces"
        assert len(came) == 1 and "cannot be written" in caplog.text
        [file] = files(folder)
        assert json.loads(file.read_text()) == came[0][2]
        (folder / spool.REJECTED).rmdir()
        assert attest_client.flush(20)
    assert files(folder) == [] and json.loads((folder / spool.REJECTED).read_text()) == came[0][2]


def test_a_trace_is_in_a_private_file_before_the_call_returns(environment, folder, monkeypatch):
    monkeypatch.setattr(client, "THREADS", 0)
    environment("http://127.0.0.1:1")
    attest_client.log_trace(REQUEST, {"created": 1})
    [file] = files(folder)
    assert json.loads(file.read_text())["messages"] == REQUEST["messages"]
    assert file.read_bytes().endswith(b"\n")
    assert oct(file.stat().st_mode & 0o777) == "0o600" and oct(folder.stat().st_mode & 0o777) == "0o700"


def test_the_default_folder_belongs_to_the_user_and_the_endpoint(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    first, second = settings.default_folder("https://a/prod"), settings.default_folder("https://b/prod")
    assert first != second and first.parent == second.parent == tmp_path / ".local/state/attest/spool"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert settings.default_folder("https://a/prod").parent == tmp_path / "state/attest/spool"


def test_traces_are_sent_from_memory_if_the_spool_cannot_be_written(environment, tmp_path, caplog):
    (tmp_path / "spool").write_text("a file, not a folder")
    respond, came = answers((503,), (201,))
    with Server(respond) as server:
        environment(server.url)
        for _ in range(50):
            attest_client.log_trace(REQUEST, {"created": 1})
        assert attest_client.flush(20)
    assert len({body["id"] for *_, body in came}) == 50
    assert attest_client.counters()["stored"] == 50 and "cannot be written" in caplog.text


@pytest.mark.parametrize("errno_name", ["ENOSPC", "EROFS", "EIO"])
def test_a_full_or_read_only_disk_is_a_warning(environment, folder, monkeypatch, caplog, errno_name):
    import errno

    real, broken = os.write, threading.Event()

    def write(fd, data):
        if broken.is_set() and len(data) > 100:
            if len(data) % 2:  # a part is written before the disk is full
                real(fd, bytes(data)[:50])
            raise OSError(getattr(errno, errno_name), "disk")
        return real(fd, data)

    monkeypatch.setattr(spool.os, "write", write)
    respond, came = answers((201,))
    with Server(respond) as server:
        environment(server.url)
        for number in range(40):
            if number == 10:
                broken.set()
            if number == 30:
                broken.clear()
            attest_client.log_trace({**REQUEST, "pad": "x" * number}, {"created": number + 1})
        assert attest_client.flush(20)
    assert sorted(body["created"] for *_, body in came) == list(range(1, 41))
    assert "cannot be written" in caplog.text and files(folder) == []


def test_the_folder_has_a_size_limit(environment, folder, monkeypatch, caplog):
    monkeypatch.setattr(spool, "FOLDER_BYTES", 2_000)
    monkeypatch.setattr(client, "MEMORY_BYTES", 2_000)
    environment("http://127.0.0.1:1")
    for _ in range(50):
        attest_client.log_trace(REQUEST, {"created": 1})
    assert sum(file.stat().st_size for file in files(folder)) <= 2_000
    assert "has reached 2000 bytes" in caplog.text and "traces are lost" in caplog.text
    assert attest_client.counters()["lost"] > 30


def test_a_long_queue_is_read_back_from_the_files(endpoint, environment, folder, monkeypatch):
    monkeypatch.setattr(spool, "CACHED_BYTES", 5_000)
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 20_000)
    endpoint.kill()
    environment(endpoint.url)
    for number in range(500):
        attest_client.log_trace(REQUEST, {"created": number + 1})
    assert len(files(folder)) > 5
    endpoint.start()
    assert attest_client.flush(60)
    assert [trace["created"] for trace in endpoint.traces()] == list(range(1, 501))
    assert files(folder) == []


def leave(folder, lines, created=None, mtime=None):
    """Writes a spool file as a dead process leaves it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{created or int(time.time())}.{owners.HOST}.999999999.0.{os.urandom(8).hex()}.jsonl"
    path.write_bytes(b"".join(lines))
    if mtime:
        os.utime(path, (mtime, mtime))
    return path


def line(number, **members):
    return json.dumps({"id": f"i{number}", "model": "m", "created": number, "messages": [], **members}).encode() + b"\n"


def test_files_of_dead_processes_are_adopted_once(endpoint, environment, folder):
    for first in range(1, 100, 10):
        leave(folder, [line(number) for number in range(first, first + 10)])
    environment(endpoint.url)
    attest_client.log_trace(REQUEST, {"created": 1_000})
    assert attest_client.flush(20)
    assert [trace["created"] for trace in endpoint.traces()] == [*range(1, 101), 1_000]
    assert files(folder) == []


def test_a_line_that_was_cut_off_is_ignored_and_an_unreadable_one_is_rejected(endpoint, environment, folder, caplog):
    leave(folder, [line(1), b"not json\n", b'{"model": "no id"}\n', line(2), line(3)[:-1]])
    leave(folder, [line(4), line(5)[:-10]])
    environment(endpoint.url)
    assert attest_client.flush(20)
    assert [trace["created"] for trace in endpoint.traces()] == [1, 2, 3, 4]
    assert (folder / spool.REJECTED).read_bytes() == b'not json\n{"model": "no id"}\n'
    assert files(folder) == [] and "not json" not in caplog.text


def test_files_of_living_processes_and_other_names_are_left_alone(endpoint, environment, folder):
    folder.mkdir()
    own = folder / f"{int(time.time())}.{owners.HOST}.{os.getppid()}.0.{'0' * 16}.jsonl"
    elsewhere = folder / f"{int(time.time())}.elsewhere.1.0.{'0' * 16}.jsonl"
    for path in (own, elsewhere, folder / "notes.jsonl", folder / spool.REJECTED):
        path.write_bytes(line(1))
    environment(endpoint.url)
    assert attest_client.flush(20)
    assert endpoint.traces() == [] and len(list(folder.iterdir())) == 4
    for path in (own, elsewhere):
        os.utime(path, (time.time() - 61, time.time() - 61))
    assert attest_client.flush(20)
    assert len(endpoint.traces()) == 1 and not own.exists() and not elsewhere.exists()


def test_old_files_are_deleted_with_a_warning(endpoint, environment, folder, caplog):
    old = int(time.time()) - 31 * 24 * 3600
    leave(folder, [line(1), line(2)], created=old, mtime=old)
    environment(endpoint.url)
    assert not attest_client.flush(20), "two traces are lost"
    assert endpoint.traces() == [] and files(folder) == [] and attest_client.counters()["lost"] == 2
    assert "2 traces" in caplog.text and "older than 30 days" in caplog.text


def test_a_file_that_another_process_adopted_loses_nothing(environment, folder, monkeypatch):
    """Other processes consider a frozen process dead. When it resumes, it writes its next trace to a new file."""
    monkeypatch.setattr(client, "THREADS", 0)
    environment("http://127.0.0.1:1")
    attest_client.log_trace(REQUEST, {"created": 1})
    [file] = files(folder)
    file.rename(folder / "adopted")
    attest_client.log_trace(REQUEST, {"created": 2})
    [new] = files(folder)
    assert new != file and json.loads(new.read_text())["created"] == 2
    assert [json.loads(text)["created"] for text in (folder / "adopted").read_text().splitlines()][0] == 1


def drip(handler):
    """Sends one byte of the response every tenth of a second."""
    try:
        for byte in b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\nx-long: " + b"x" * 100_000:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            threading.Event().wait(0.1)
    except OSError:
        pass


def test_an_attempt_has_a_deadline_if_the_answer_comes_byte_by_byte(environment, folder, monkeypatch):
    monkeypatch.setattr(sender, "ATTEMPT", 1)
    came = []

    def respond(_, headers, body):
        came.append(headers["idempotency-key"])
        return drip if len(came) == 1 else (201, {}, receipt(body))

    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert attest_client.flush(20)
    assert came[0] == came[1] and files(folder) == []


def test_flush_has_a_deadline(environment, folder):
    with Server(lambda *_: drip) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        start = time.monotonic()
        assert not attest_client.flush(0.5)
        assert time.monotonic() - start < 5
        assert len(files(folder)) == 1


PROGRAM = """
import attest_client, sys
from attest_client import client
client.EXIT_SECONDS = 0.5
attest_client.log_trace({"model": "m", "messages": [{"role": "user", "content": "secret"}]}, {"created": 1})
print("logged", flush=True)
"""


def test_the_end_of_the_process_has_a_deadline(endpoint, environment, folder):
    with Server(lambda *_: drip) as server:
        start = time.monotonic()
        variables = environment(server.url)
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and time.monotonic() - start < 15
    assert "1 traces are not confirmed" in done.stderr and "secret" not in done.stderr
    assert len(files(folder)) == 1
    environment(endpoint.url)
    assert attest_client.flush(20)
    assert len(endpoint.traces()) == 1 and files(folder) == []


FROZEN = """
import attest_client, sys
for number in range(1, 4):
    print("ready", flush=True)
    sys.stdin.readline()
    attest_client.log_trace({"model": "m", "messages": []}, {"created": number})
    print(attest_client.flush(20), flush=True)
"""


def test_a_host_that_freezes_the_process_between_requests(endpoint, environment, folder):
    """AWS Lambda freezes the process when the handler returns. Before that, `flush` waits until every trace is confirmed."""
    process = subprocess.Popen(
        [sys.executable, "-c", FROZEN], env=environment(endpoint.url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for number in range(1, 4):
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "True\n"
        process.send_signal(signal.SIGSTOP)
        assert [trace["created"] for trace in endpoint.traces()] == list(range(1, number + 1))
        assert files(folder) == []
        endpoint.kill()  # the connection dies while the process is frozen
        endpoint.start()
        process.send_signal(signal.SIGCONT)
    assert process.wait(30) == 0


def test_a_process_that_is_frozen_within_a_request_sends_it_later(endpoint, environment, folder):
    gate, came = threading.Event(), threading.Event()

    def respond(_path, _headers, body):
        came.set()
        gate.wait(30)
        return 201, {}, receipt(body)

    with Server(respond) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", FROZEN],
            env=environment(server.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert came.wait(20)
        process.send_signal(signal.SIGSTOP)
        gate.set()
        assert len(files(folder)) == 1
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "True\n"
        assert files(folder) == []
        process.kill()
        process.wait()


def test_an_endpoint_that_is_down_is_waited_for(endpoint, environment, folder, caplog):
    endpoint.kill()
    environment(endpoint.url)
    for number in range(20):
        attest_client.log_trace(REQUEST, {"created": number + 1})
    assert not attest_client.flush(0.5)
    wait_until(lambda: "does not confirm traces" in caplog.text)
    endpoint.start()
    assert attest_client.flush(60)
    assert len(endpoint.traces()) == 20 and files(folder) == []


def test_a_thousand_traces_by_16_threads_while_the_endpoint_is_killed(endpoint, environment, folder):
    from concurrent.futures import ThreadPoolExecutor

    environment(endpoint.url)
    with ThreadPoolExecutor(16) as pool:
        for first in range(1, 1000, 200):
            stored = len(endpoint.paths())
            calls = [pool.submit(attest_client.log_trace, REQUEST, {"created": n}) for n in range(first, first + 200)]
            wait_until(lambda stored=stored: len(endpoint.paths()) >= stored + 20)
            endpoint.kill()
            endpoint.start()
            for call in calls:
                call.result()
    assert attest_client.flush(60)
    assert [trace["created"] for trace in endpoint.traces()] == list(range(1, 1001))
    assert files(folder) == []
