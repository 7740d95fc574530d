"""Fixtures for the example tests: the local endpoint and the stand-ins of clients/python. ATTEST is the path of the command."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "clients" / "python" / "tests"))
import stand_ins
from stand_ins import running_endpoint

endpoint = pytest.fixture(running_endpoint, name="endpoint")


class Server(stand_ins.Server):
    """An HTTP server that responds with the result of `respond` for the request's headers and body, or for its path and body."""

    def __init__(self, respond, *, by_path=False):
        super().__init__(lambda path, headers, body: respond(path if by_path else headers, json.loads(body)))


@pytest.fixture
def environment(endpoint, tmp_path, monkeypatch):
    """The variables that curl.sh reads."""
    values = {"API_URL": endpoint.url, "API_KEY": "recipe", "UNDELIVERED": str(tmp_path / "undelivered.jsonl")}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values
