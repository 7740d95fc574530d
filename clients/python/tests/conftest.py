"""Fixtures with a local endpoint, an environment and the stored traces."""

import os

import pytest

import attest_client
from attest_client import client, warn
from stand_ins import running_endpoint

endpoint = pytest.fixture(running_endpoint, name="endpoint")


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Gives the client a spool of its own. `environment(url)` returns the variables for another process."""
    def set_up(url):
        values = {"ATTEST_URL": url, "ATTEST_API_KEY": "recipe", "ATTEST_SPOOL": str(tmp_path / "spool")}
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return {**os.environ, **values}

    monkeypatch.setattr(client, "_client", None)
    monkeypatch.setattr(client, "_has_warned", False)
    warn.COUNTERS.update(dict.fromkeys(warn.COUNTERS, 0))
    warn._last.clear()
    yield set_up
    if client._client:
        client._client._sender.closing.set()


@pytest.fixture
def logged(endpoint, environment):
    """Returns a function that flushes the queue and returns the stored traces."""
    environment(endpoint.url)

    def traces():
        assert attest_client.flush(20)
        return endpoint.traces()

    return traces
