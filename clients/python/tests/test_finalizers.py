"""Tests finalizers, which the garbage collector runs at any allocation, even in a thread that holds a lock."""

import os
import pathlib
import subprocess
import sys

import pytest

import attest_client
from stand_ins import Server, receipt

STREAM = (pathlib.Path(__file__).parents[2] / "streams" / "openai-chat.text.sse").read_bytes()

PROGRAM = """
import faulthandler
faulthandler.dump_traceback_later(60, exit=True)  # shows where a lock is waited for
import attest_client, gc, json, logging, logging.handlers, os, sys, queue, threading
logging.getLogger("attest_client").addHandler(logging.handlers.QueueHandler(queue.Queue()))
client, url = attest_client.http_client(), os.environ["PROVIDER"] + "/v1/chat/completions"
request = {"model": "m", "messages": [], "stream": True}
lock = threading.Lock()

def log():
    attest_client.log_trace({"model": "m", "messages": []}, {"choices": []})

class Logs:
    def __del__(self):
        log()

def abandon():
    "Leaves a cycle with a stream that was begun, and with an object that logs when it is collected."
    response = client.send(client.build_request("POST", url, json=request), stream=True)
    iterator = response.iter_raw(8)
    next(iterator)
    cycle = [response, iterator, Logs()]
    cycle.append(cycle)
"""

EVERY_ALLOCATION = """
gc.set_threshold(1, 1, 1)
for _ in range(20):
    abandon()
    log()
gc.collect()
print(attest_client.flush(60), attest_client.counters()["logged"], flush=True)
os._exit(0)
"""

# Collects garbage at each line, call and return of the package, so at each point where a lock may be held.
EVERY_STEP = """
gc.disable()
def step(frame, event, argument):
    if event in ("call", "return", "line") and "attest_client" in frame.f_code.co_filename:
        gc.collect(0)
    return step
for _ in range(3):
    abandon()
sys.settrace(step)
log()
sys.settrace(None)
abandon()
threading.settrace(step)
sys.settrace(step)
print(attest_client.flush(60), attest_client.counters()["logged"], flush=True)
os._exit(0)
"""

MASK = """
def mask(trace):
    with lock:
        return trace
client = attest_client.http_client(mask=mask)
abandon()
with lock:  # the mask needs it too
    gc.collect()
    print("collected", flush=True)
print(attest_client.flush(60), attest_client.counters()["logged"], flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("program", "printed"),
    [(EVERY_ALLOCATION, "True 60\n"), (EVERY_STEP, "True 9\n"), (MASK, "collected\nTrue 2\n")],
    ids=["at every allocation", "at every line of the package", "while the application holds the lock of its mask"],
)
def test_a_finalizer_never_waits_for_a_lock(environment, program, printed):
    def respond(path, _headers, body):
        if "completions" in path:
            return 200, {"content-type": "text/event-stream"}, [STREAM[:100], STREAM[100:]]
        return 201, {}, receipt(body)

    with Server(respond) as server:
        variables = {**environment(server.url), "PROVIDER": server.url}
        done = subprocess.run([sys.executable, "-c", PROGRAM + program], env=variables, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == (printed, "")


def test_what_finalizers_defer_is_logged_at_the_end_of_the_process(environment, tmp_path):
    program = PROGRAM + "gc.disable(); abandon(); gc.collect()"
    with Server(lambda *_: (200, {"content-type": "text/event-stream"}, [STREAM[:100], STREAM[100:]])) as server:
        variables = {**environment("http://127.0.0.1:1"), "PROVIDER": server.url}
        command = [sys.executable, "-c", program + "; import attest_client.client as c; c.EXIT_SECONDS = 1"]
        subprocess.run(command, env=variables, check=True, capture_output=True, timeout=120)
    lines = [line for path in (tmp_path / "spool").iterdir() for line in path.read_bytes().splitlines()]
    assert len(lines) == 2, os.listdir(tmp_path / "spool")
    assert attest_client.counters()["logged"] == 0
