"""Tests which responses confirm a trace, and what `flush` returns."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

import attest_client
from attest_client import client, owners, sender, spool
from stand_ins import Server, receipt

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Grüße"}]}


def files(folder):
    return sorted(path for path in folder.glob("*.jsonl") if path.name != spool.REJECTED)


def members(body, **changes):
    return json.dumps({**json.loads(receipt(body)), **changes}).encode()


WRONG = {
    "a login page": lambda body: ({"content-type": "text/html"}, b"<html>Sign in</html>"),
    "a receipt that is labelled as a page": lambda body: ({"content-type": "text/html"}, receipt(body)),
    "another service": lambda body: ({}, b'{"ok":true}'),
    "an empty answer": lambda body: ({}, b""),
    "a list": lambda body: ({}, b"[" + receipt(body) + b"]"),
    "deeply nested JSON": lambda body: ({}, b"[" * 30_000),
    "the trace itself": lambda body: ({}, body),
    "another id": lambda body: ({}, members(body, id="other")),
    "another key": lambda body: ({}, members(body, key="m/other")),
    "a longer key": lambda body: ({}, members(body, key=json.loads(receipt(body))["key"] + "x")),
    "a key without a fingerprint": lambda body: ({}, members(body, key=json.loads(body)["id"])),
    "a key of another fingerprint": lambda body: ({}, members(body, system_fingerprint="other")),
    "a key that is no text": lambda body: ({}, members(body, key=7)),
    "a receipt that was cut off": lambda body: ({"content-length": "500"}, receipt(body)),
    "a receipt behind many bytes": lambda body: ({}, b" " * sender.MAX_ANSWER + receipt(body)),
}


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("what", WRONG)
def test_only_a_receipt_for_the_trace_confirms_it(environment, tmp_path, status, what):
    came, gate = [], threading.Event()

    def respond(_path, _headers, body):
        came.append(body)
        if len(came) > 1:
            gate.wait(20)
        headers, answer = WRONG[what](body)
        if "content-length" in headers:
            return lambda handler: handler.wfile.write(
                b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n%s" % (status, answer)
            )
        return (status, headers, answer) if len(came) == 1 else (201, {}, receipt(body))

    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        client._client._send_waiting()
        while not came:
            threading.Event().wait(0.01)
        assert len(files(tmp_path / "spool")) == 1 and attest_client.counters()["stored"] == 0
        gate.set()
        if "cut off" not in what:
            assert attest_client.flush(20) and attest_client.counters()["stored"] == 1


@pytest.mark.parametrize("fingerprint", ["m", "a/b", "ä b", "50%"])
def test_the_receipt_of_the_endpoint_confirms_any_fingerprint_and_id(endpoint, environment, fingerprint):
    environment(endpoint.url)

    def mask(trace):
        return {**trace, "id": f"{fingerprint}/ü~(1)", "system_fingerprint": fingerprint}

    attest_client.log_trace(REQUEST, {"created": 1}, mask=mask)
    assert attest_client.flush(20) and attest_client.counters()["stored"] == 1
    assert [trace["id"] for trace in endpoint.traces()] == [f"{fingerprint}/ü~(1)"]


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n"])
def test_an_answer_that_drips_confirms_nothing(environment, tmp_path, monkeypatch, head):
    monkeypatch.setattr(sender, "ATTEMPT", 1)
    came = []

    def drip(handler):
        try:
            handler.wfile.write(head)
            while True:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                threading.Event().wait(0.05)
        except OSError:
            pass

    def respond(_path, _headers, body):
        came.append(body)
        return drip if len(came) == 1 else (201, {}, receipt(body))

    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert attest_client.flush(20) and len(came) == 2


@pytest.mark.parametrize("trace_id", ["order\n17", "ü", " x", "x" * 2_000])
def test_an_id_that_no_header_can_have_is_sent_in_the_trace(environment, trace_id):
    came = []

    def respond(_path, headers, body):
        came.append((headers["idempotency-key"], json.loads(body)["id"]))
        return 201, {}, receipt(body)

    with Server(respond) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1}, mask=lambda trace: {**trace, "id": trace_id})
        assert attest_client.flush(20)
    assert came == [(None, trace_id)]


def dead(folder, lines, number=0):
    """Writes a spool file as a dead process leaves it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{int(time.time())}.{owners.HOST}.999999999.0.{number:016x}.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def trace(name):
    return json.dumps({"id": name, "model": "m", "created": 1, "messages": []}).encode()


FLUSH = "import attest_client; print(attest_client.flush(60), attest_client.counters()['stored'])"


def test_flush_in_a_process_that_has_logged_nothing_sends_every_trace_of_dead_processes(environment, tmp_path):
    for number in range(30):
        dead(tmp_path / "spool", [trace(f"{number}-{place}") for place in range(100)], number)
    with Server(lambda _path, _headers, body: (201, {}, receipt(body))) as server:
        command = [sys.executable, "-c", FLUSH]
        done = subprocess.run(command, env=environment(server.url), capture_output=True, text=True, timeout=120)
    assert done.stdout == "True 3000\n", done.stderr
    assert files(tmp_path / "spool") == []


def test_flush_is_false_while_a_trace_of_a_dead_process_is_unsent(environment, tmp_path):
    for number in range(30):
        dead(tmp_path / "spool", [trace(f"{number}-{place}") for place in range(100)], number)
    with Server(lambda _path, _headers, body: (threading.Event().wait(0.01), (201, {}, receipt(body)))[1]) as server:
        environment(server.url)
        assert not attest_client.flush(0.5)
        assert attest_client.flush(60) and attest_client.counters()["stored"] == 3_000


def test_flush_is_false_if_a_file_cannot_be_read(environment, tmp_path, monkeypatch):
    path = dead(tmp_path / "spool", [trace("a")])
    real = spool.private.open_file

    def refuses(file, flags):
        if not flags & os.O_CREAT:
            raise PermissionError(13, "no")
        return real(file, flags)

    monkeypatch.setattr(spool.private, "open_file", refuses)
    with Server(lambda _path, _headers, body: (201, {}, receipt(body))) as server:
        environment(server.url)
        assert not attest_client.flush(10) and not attest_client.flush(10)
    assert len(files(path.parent)) == 1


def test_flush_is_false_once_after_a_trace_was_lost(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "MEMORY_BYTES", 10)
    (tmp_path / "spool").write_text("")
    environment("http://127.0.0.1:1")
    attest_client.log_trace(REQUEST, {"created": 1})
    assert not attest_client.flush(10) and attest_client.flush(10)


def test_flush_without_a_configuration(monkeypatch, environment):
    environment("http://127.0.0.1:1")
    monkeypatch.setenv("ATTEST_URL", "not a URL")
    assert not attest_client.flush(1)
    monkeypatch.delenv("ATTEST_URL")
    assert attest_client.flush(1)
