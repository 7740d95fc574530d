"""Starts the local endpoint for a check. ATTEST names the program."""

import atexit
import os
import re
import subprocess


def start(folder, api_key):
    """Serves a folder on free ports until the check ends. Gives the process, the endpoint's URL and that of its S3."""
    program = [os.environ["ATTEST"], "serve", "--port", "0", "--s3-port", "0", "--folder", folder]
    environment = {**os.environ, "API_KEY": api_key}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    atexit.register(process.kill)
    for line in process.stdout:
        if found := re.search(r"^Listening on (\S+)\. Try:", line):
            url = found[1]
        if found := re.search(r"--endpoint-url (\S+)", line):
            s3 = found[1]
        if line.startswith("Ctrl-C"):
            return process, url, s3
    raise RuntimeError("the endpoint did not start")
