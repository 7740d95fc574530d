"""curl.sh against the local endpoint, and against a server that responds like a busy endpoint."""

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
    answers = [(503, {"retry-after": "1"}), (429, {"retry-after": "1"}), (201, {})]
    keys = []

    def respond(headers, _):
        keys.append(headers["idempotency-key"])
        return *answers[len(keys) - 1], b""

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
