"""Starts the local endpoint for a check. ATTEST is the path of the command, by default `attest` on the PATH."""

import atexit
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
from typing import NamedTuple

ATTEST = os.environ.get("ATTEST") or "attest"


class S3(NamedTuple):
    """An endpoint's S3, with the keys that it generated at this start."""

    url: str
    access_key: str
    secret_key: str

    @property
    def environment(self):
        """Returns the variables that the AWS CLI reads."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return {**keys, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.url}


def start(folder, api_key, *options, port="0"):
    """Serves a folder until the check ends, on free ports or on `port`.

    Returns the process, the endpoint's URL and its S3.
    """
    reader, writer = os.pipe()
    command = [ATTEST, "serve", "--port", port, "--s3-port", "0", "--folder", folder]
    command += ["--ready-file", f"/dev/fd/{writer}", *options]
    environment = {**os.environ, "ATTEST_API_KEY": api_key}
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, pass_fds=[writer], env=environment, **output)
    atexit.register(process.kill)
    os.close(writer)
    with open(reader, encoding="utf-8") as ready:  # readline returns at the first line, or at end of file if the process exits
        ready = json.loads(ready.readline() or "null")
    if ready is None:
        raise RuntimeError("the endpoint did not start")
    return process, ready["url"], S3(ready["s3_url"], ready["s3_access_key"], ready["s3_secret_key"])


def traces(folder):
    """Returns the traces in an endpoint's folder."""
    folder = pathlib.Path(folder)
    files = [file for file in folder.rglob("*") if file.is_file() and "~" not in str(file.relative_to(folder))]
    return [json.loads(file.read_bytes()) for file in files]


class Endpoint:
    """The local endpoint with its own folder, on a free port that it keeps across restarts."""

    def __init__(self, folder, api_key):
        self.folder, self.api_key = folder, api_key
        self._port = "0"
        self.start()

    def start(self):
        self._process, self.url, self.s3 = start(self.folder, self.api_key, port=self._port)
        self._port = self.url.split(":")[2].split("/")[0]

    def kill(self):
        """Kills the process without waiting for its requests."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Ends the process after its current requests."""
        self._process.terminate()
        self._process.wait()

    def traces(self):
        return traces(self.folder)


@contextlib.contextmanager
def temporary(api_key):
    """Serves an empty folder, and deletes it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint(f"{folder}/traces", api_key)  # a valid bucket name, which a temporary folder's name may not be
        try:
            yield endpoint
        finally:
            endpoint.kill()
