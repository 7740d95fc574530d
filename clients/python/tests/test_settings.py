"""Tests the environment variables: keys, which no warning shows, and proxies."""

import json
import subprocess
import sys

import pytest

from attest_client import settings, warn
from stand_ins import Server, receipt

PROGRAM = """
import logging, os
logging.basicConfig(level=logging.DEBUG)
import attest_client
attest_client.log_trace({"model": "m", "messages": [{"role": "user", "content": "CONTENT"}]}, {"choices": []})
print(attest_client.flush(5), attest_client.counters()["logged"], flush=True)
os._exit(0)
"""


@pytest.fixture
def run(environment):
    """Returns a function that runs a program that logs a trace. It returns the output, the warnings, and the received requests."""
    def run(answer=None, url=None, **variables):
        came = []

        def respond(path, headers, body):
            came.append((path, headers["x-api-key"]))
            return answer or (201, {}, receipt(body))

        with Server(respond) as server:
            values = {name: value.replace("SERVER", server.url) for name, value in variables.items()}
            named = {**environment((url or "SERVER").replace("SERVER", server.url)), **values}
            kept = {name: text for name, text in named.items() if not name.lower().endswith("_proxy") or name in variables}
            done = subprocess.run([sys.executable, "-c", PROGRAM], env=kept, capture_output=True, text=True, timeout=60)
        assert "CONTENT" not in done.stderr
        return done.stdout.strip(), done.stderr, came

    return run


@pytest.mark.parametrize("key", ["sk-SECRET", "sk-SECRET\n", "\t sk-SECRET \r\n"])
def test_white_space_around_a_key_is_removed(run, key):
    printed, warnings, [(_, sent)] = run(ATTEST_API_KEY=key)
    assert (printed, sent) == ("True 1", "sk-SECRET") and "SECRET" not in warnings


@pytest.mark.parametrize("key", ["sk-SECRET\nx", "sk-SECRETü", "sk-SECRET\x7f"])
def test_a_key_that_no_header_can_have_is_never_shown(run, key):
    printed, warnings, came = run(ATTEST_API_KEY=key)
    assert (printed, came) == ("False 0", []) and "ATTEST_API_KEY has characters" in warnings and "SECRET" not in warnings


def test_the_text_of_another_server_is_never_shown(run):
    answer = (400, {}, json.dumps({"detail": "the key recipe of CONTENT \x1b[31m", "type": "about:blank"}).encode())
    printed, warnings, _ = run(answer)
    assert printed == "True 1" and "status 400" in warnings and "the key" not in warnings and "\x1b" not in warnings


def test_control_characters_of_a_problem_are_escaped(run):
    answer = (400, {}, json.dumps({"detail": "a\x1b[31m\u202eb", "type": "urn:attest:problem:invalid"}).encode())
    assert "a\\x1b[31m\\u202eb" in run(answer)[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9"])
def test_traces_for_this_machine_never_go_through_a_proxy(run, host):
    with Server(lambda *_: (502, {}, b"{}")) as proxy:
        printed, _, _ = run(http_proxy=proxy.url, all_proxy=proxy.url, url=None)
    assert printed == "True 1"
    assert settings.is_loopback(host)


def test_other_traces_go_through_the_proxy(run):
    printed, warnings, came = run(url="http://attest.invalid/prod", http_proxy="SERVER")
    assert (printed, came) == ("True 1", [("http://attest.invalid/prod", "recipe")])
    assert "without encryption" in warnings


def test_no_proxy_names_hosts_that_are_reached_directly(run):
    printed, _, came = run(url="http://attest.invalid/prod", http_proxy="SERVER", no_proxy="attest.invalid")
    assert (printed, came) == ("False 1", [])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.0.1", "[::1]", "::ffff:127.0.0.1"])
def test_loopback(host):
    assert settings.is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com", "128.0.0.1", "10.0.0.1", "::2", "[fe80::1]"])
def test_other_hosts(host):
    assert not settings.is_loopback(host)


def test_a_warning_never_has_the_text_of_an_error():
    try:
        try:
            raise ConnectionRefusedError(111, "SECRET")
        except OSError as error:
            raise ValueError("SECRET") from error
    except ValueError as error:
        assert warn.reason(error) == "ValueError, caused by ConnectionRefusedError ECONNREFUSED"
