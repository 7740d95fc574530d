"""The local endpoint, run by the command in `ATTEST`, and provider stand-ins."""

import http.server
import json
import pathlib
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.append(str(pathlib.Path(__file__).parents[3] / ".ci"))
import endpoint
from endpoint import ATTEST


class Endpoint(endpoint.Endpoint):
    """A local endpoint that can also import a file and read back what is stored."""

    def __init__(self, folder):
        super().__init__(folder, "recipe")

    def imports(self, file):
        subprocess.run([ATTEST, "import", file, "--url", self.url, "--api-key", "recipe", "--quiet"], check=True)

    def paths(self):
        folders = [folder for folder in pathlib.Path(self.folder).glob("*") if not folder.name.startswith("~")]
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    def whole(self):
        """Returns the stored traces by API. Numbers keep every digit."""
        from attest_client import values

        return {trace["api"]: trace for trace in (values.loads(path.read_bytes()) for path in self.paths())}

    def traces(self):
        """Returns the stored traces, ordered by `created`."""
        return sorted((json.loads(path.read_bytes()) for path in self.paths()), key=lambda trace: trace["created"])


def running_endpoint(tmp_path):
    endpoint = Endpoint(tmp_path / "traces")
    yield endpoint
    endpoint.kill()


def receipt(body):
    """Returns the endpoint's receipt for a stored trace."""
    trace = json.loads(body)
    fingerprint = trace.get("system_fingerprint", trace["model"])
    key = "/".join(urllib.parse.quote(part, safe="") for part in (fingerprint, trace["id"]))
    return json.dumps({"id": trace["id"], "object": "chat.trace", "system_fingerprint": fingerprint, "key": key}).encode()


class Server:
    """An HTTP server that responds with the result of `respond(path, headers, body)`.

    `respond` returns a status, headers, and a body as bytes or chunks, or a function that writes the whole response to the handler.
    """

    def __init__(self, respond):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"] or 0))
                answer = respond(self.path, self.headers, body)
                if callable(answer):
                    self.close_connection = True
                    return answer(self)
                status, headers, chunks = answer
                self.send_response(status)
                if isinstance(chunks, bytes):
                    headers = {"content-length": str(len(chunks)), **headers}
                    chunks = [chunks]
                else:
                    headers = {"transfer-encoding": "chunked", **headers}
                for header in {"content-type": "application/json", **headers}.items():
                    self.send_header(*header)
                self.end_headers()
                for chunk in chunks:
                    framed = b"%x\r\n%s\r\n" % (len(chunk), chunk) if "transfer-encoding" in headers else chunk
                    self.wfile.write(framed)
                    self.wfile.flush()
                if "transfer-encoding" in headers:
                    self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST

            def log_message(self, *_):
                pass

        class ThreadingServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # the tests' clients close connections

        self._server = ThreadingServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not hold in time"
        threading.Event().wait(0.01)
