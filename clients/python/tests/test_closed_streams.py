"""Tests that a stream that the application leaves is in the spool before the application continues."""

import os
import subprocess
import sys
import threading

import pytest

from attest_client import values
from stand_ins import Server

CHUNK = b'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"}}]}\n\n'
PROGRAM = """
import asyncio, os, signal
import attest_client, openai
options = {"base_url": os.environ["PROVIDER"], "api_key": "x", "max_retries": 0}
client = openai.OpenAI(**options, http_client=attest_client.http_client())
asynchronous = openai.AsyncOpenAI(**options, http_client=attest_client.async_http_client())
call = {"model": "m", "messages": [], "stream": True}
"""
ENDS = {
    "close": "stream = client.chat.completions.create(**call); next(iter(stream)); stream.close()",
    "a with statement": "with client.chat.completions.create(**call) as stream: next(iter(stream))",
    "a loop within a with statement": """
with client.chat.completions.create(**call) as stream:
    for _ in stream:
        break""",
    "an exception within a with statement": """
try:
    with client.chat.completions.create(**call) as stream:
        for _ in stream:
            raise KeyError
except KeyError:
    pass""",
    "the asynchronous close": """
async def run():
    stream = await asynchronous.chat.completions.create(**call)
    async for _ in stream:
        break
    await stream.close()
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(run())""",
    "a cancelled task": """
async def read():
    async for _ in await asynchronous.chat.completions.create(**call):
        asyncio.get_running_loop().call_soon(task.cancel)
async def run():
    global task
    task = asyncio.create_task(read())
    try:
        await task
    except asyncio.CancelledError:
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(run())""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_stream_that_was_closed_survives_sigkill(environment, tmp_path, end):
    left = threading.Event()

    def respond(*_):
        def chunks():
            yield CHUNK
            while not left.wait(0.01):
                yield b": go on\n\n"

        return 200, {"content-type": "text/event-stream"}, chunks()

    program = f"{PROGRAM}{ENDS[end]}\nos.kill(os.getpid(), signal.SIGKILL)"
    with Server(respond) as server:
        variables = {**environment("http://127.0.0.1:1"), "PROVIDER": server.url}
        done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60)
        left.set()
    assert done.returncode == -9, done.stderr
    [path] = (tmp_path / "spool").iterdir()
    [trace] = map(values.loads, path.read_bytes().splitlines())
    assert trace["incomplete"] == "closed" and trace["messages"][-1]["content"] == "Hello"
    assert os.stat(path).st_mode & 0o777 == 0o600
