"""The local endpoint and the stand-ins of clients/python, for the tests of the examples. ATTEST names the program."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "clients" / "python" / "tests"))
import stand_ins
from stand_ins import Endpoint


class Server(stand_ins.Server):
    """An HTTP server that answers with what `respond` makes of the request's headers and body, or of its path and body."""

    def __init__(self, respond, *, by_path=False):
        super().__init__(lambda path, headers, body: respond(path if by_path else headers, json.loads(body)))


@pytest.fixture
def endpoint(tmp_path):
    endpoint = Endpoint(tmp_path / "traces")
    yield endpoint
    endpoint.kill()


@pytest.fixture
def environment(endpoint, tmp_path, monkeypatch):
    """The variables that curl.sh reads."""
    values = {"API_URL": endpoint.url, "API_KEY": "recipe", "UNDELIVERED": str(tmp_path / "undelivered.jsonl")}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values
