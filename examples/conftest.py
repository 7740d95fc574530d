"""The local endpoint for the tests of the examples, and its stored traces. ATTEST names the program."""

import http.server
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest


class Endpoint:
    """The program `attest serve` with a folder of its own, on a port that the first start chooses."""

    def __init__(self, folder):
        self.folder = folder
        self._port = "0"
        self.start()

    def start(self):
        arguments = [os.environ["ATTEST"], "serve", "--port", self._port, "--s3-port", "0", "--folder", self.folder]
        environment = {**os.environ, "API_KEY": "recipe", "RUST_LOG": "error"}
        self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        for line in self._process.stdout:
            if line.startswith("Listening on "):
                self.url = line.removeprefix("Listening on ").split(". Try:")[0].strip()
                self._port = self.url.split(":")[2].split("/")[0]
            if line.startswith("Ctrl-C"):
                return
        raise RuntimeError("the endpoint did not start")

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def imports(self, file):
        subprocess.run([os.environ["ATTEST"], "import", file, "--url", self.url, "--api-key", "recipe", "--quiet"], check=True)

    def traces(self):
        """Every stored trace, in the order of their creation."""
        folders = [folder for folder in Path(self.folder).glob("*") if not folder.name.startswith("~")]
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        return sorted((json.loads(file.read_bytes()) for file in files), key=lambda trace: trace["created"])


class Server:
    """An HTTP server that answers with what `respond` makes of the request's headers and body, or of its path and body."""

    def __init__(self, respond, *, by_path=False):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers, body = respond(self.path if by_path else self.headers, json.loads(body))
                self.send_response(status)
                for header in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
                    self.send_header(*header)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()


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
