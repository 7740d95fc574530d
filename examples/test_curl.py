"""Tests curl.sh against the local endpoint, and against a server that responds like a busy endpoint."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import Server

TRACE = """{
  "model": "m", "created": 3, "messages": [{"role": "user", "content": "Line\\nbreak, Gr\u00fc\u00dfe"}],
  "number": 0.10
}"""


@pytest.fixture
def curl(environment, tmp_path):
    (tmp_path / "trace.json").write_text(TRACE, encoding="utf-8")

    def curl(url=environment["API_URL"]):
        arguments = [Path(__file__).with_name("curl.sh"), tmp_path / "trace.json"]
        return subprocess.Popen(arguments, env={**os.environ, "API_URL": url}, stdout=subprocess.PIPE)

    return curl


def test_a_trace_is_stored_once_however_often_it_is_sent(curl, endpoint):
    for _ in range(2):
        process = curl()
        answer = json.loads(process.communicate()[0])
        assert (process.returncode, answer["system_fingerprint"]) == (0, "m")
    [trace] = endpoint.traces()
    assert trace == {**json.loads(TRACE), "id": answer["id"], "object": "chat.trace", "system_fingerprint": "m"}


def test_it_waits_for_an_endpoint_that_is_away(curl, endpoint):
    endpoint.kill()
    process = curl()
    endpoint.start()
    assert process.wait() == 0
    assert len(endpoint.traces()) == 1


def test_503_is_repeated_with_the_same_key(curl, environment):
    receipt = json.dumps({"id": "i", "object": "chat.trace", "system_fingerprint": "m", "key": "m/i"}).encode()
    answers = [
        (503, {"retry-after": "1"}, b""),
        (429, {"retry-after": "1"}, b""),
        (201, {"content-type": "application/json"}, receipt),
    ]
    keys = []

    def respond(headers, _):
        keys.append(headers["idempotency-key"])
        return answers[len(keys) - 1]

    with Server(respond) as server:
        assert curl(server.url).wait() == 0
    assert len(keys) == 3 and len(set(keys)) == 1
    assert not Path(environment["UNDELIVERED"]).exists()


@pytest.mark.parametrize("status", [400, 403, 409, 413])
def test_no_other_4xx_is_repeated_and_import_takes_the_file_without_a_double(curl, endpoint, environment, status):
    came = []
    with Server(lambda _, trace: (came.append(trace), (status, {}, b""))[1]) as server:
        assert curl(server.url).wait() == 1
    assert len(came) == 1
    assert curl().wait() == 0
    endpoint.imports(environment["UNDELIVERED"])
    assert len(endpoint.traces()) == 1


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("status", "headers", "receipt"),
    [
        (200, {"content-type": "text/html"}, "<html>Sign in</html>"),
        (201, {"content-type": "text/html"}, {"id": "i", "system_fingerprint": "m", "key": "m/i"}),
        (201, {"content-type": ""}, {"id": "i", "system_fingerprint": "m", "key": "m/i"}),
        (200, JSON, {}),
        (201, JSON, {"ok": True}),
        (201, JSON, "not JSON"),
        (201, JSON, {"id": "i", "system_fingerprint": "m", "key": "m/other"}),
        (201, JSON, {"id": "i", "system_fingerprint": "other", "key": "m/i"}),
        (204, JSON, {"id": "i", "system_fingerprint": "m", "key": "m/i"}),
    ],
)
def test_only_the_receipt_of_the_trace_confirms_it(curl, environment, status, headers, receipt):
    body = receipt if isinstance(receipt, str) else json.dumps(receipt)
    with Server(lambda *_: (status, headers, body.encode())) as server:
        assert curl(server.url).wait() == 1
    assert json.loads(Path(environment["UNDELIVERED"]).read_text(encoding="utf-8")) == json.loads(TRACE)


def test_the_id_that_was_sent_may_have_any_character(curl, tmp_path):
    for name, key in [("a/b c~!*'():@+=,ü", "a%2Fb%20c%7E!*'():@+=,%C3%BC"), ("..", "%2E%2E")]:
        (tmp_path / "trace.json").write_text(json.dumps({**json.loads(TRACE), "id": name}), encoding="utf-8")
        for sent, expected in [(name, 0), ("other", 1)]:
            receipt = json.dumps({"id": sent, "system_fingerprint": "m", "key": "m/" + (key if sent == name else sent)})
            with Server(lambda *_, receipt=receipt: (201, JSON, receipt.encode())) as server:
                assert curl(server.url).wait() == expected
