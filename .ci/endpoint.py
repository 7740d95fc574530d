"""Starts the local endpoint for a check. ATTEST names the command."""

import atexit
import json
import os
import subprocess


def start(folder, api_key, *options):
    """Serves a folder on free ports until the check ends. Returns the process, the endpoint's URL and the URL of its S3."""
    reader, writer = os.pipe()
    command = [os.environ["ATTEST"], "serve", "--port", "0", "--s3-port", "0", "--folder", folder]
    command += ["--ready-file", f"/dev/fd/{writer}", *options]
    environment = {**os.environ, "API_KEY": api_key}
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, pass_fds=[writer], env=environment, **output)
    atexit.register(process.kill)
    os.close(writer)
    with open(reader, encoding="utf-8") as ready:  # ends at the first document, or when the process ends
        ready = json.loads(ready.readline() or "null")
    if ready is None:
        raise RuntimeError("the endpoint did not start")
    return process, ready["url"], ready["s3_url"]
