"""The fixtures of the tests."""

import os

import pytest

import attest_client
from attest_client import log, warn
from stand_ins import Endpoint


@pytest.fixture
def endpoint(tmp_path):
    endpoint = Endpoint(tmp_path / "traces")
    yield endpoint
    endpoint.kill()


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Points the client to a spool of its own; `environment(url)` gives the variables for another process too."""
    def set_up(url):
        values = {"ATTEST_URL": url, "ATTEST_API_KEY": "recipe", "ATTEST_SPOOL": str(tmp_path / "spool")}
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return {**os.environ, **values}

    monkeypatch.setattr(log, "_log", None)
    warn.COUNTERS.clear()
    warn._last.clear()
    yield set_up
    if log._log:
        log._log._sender.closing.set()


@pytest.fixture
def logged(endpoint, environment):
    """The traces that are stored after the queue is flushed."""
    environment(endpoint.url)

    def traces():
        assert attest_client.flush(20)
        return endpoint.traces()

    return traces
