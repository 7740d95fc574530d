"""Measures what logging adds to a call: a chat completion with 10 KB of text.

    ATTEST=target/debug/attest python bench/overhead.py [CALLS]

The provider is a stand-in in another process that answers at once, and so is the service that LangSmith's and Langfuse's
wrappers send to; this package sends to `attest serve`. The variants take turns in random order, so noise meets all of them. CPU is
the time of the calling thread, which other processes hardly change. A variant whose package is not installed is left out.
"""

import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
ANSWER = "x" * 5_000
QUESTION = "y" * 5_000
WARM_UP = 50

STAND_IN = r'''
import http.server, json, sys
sys.path.insert(0, sys.argv[1])
from stand_ins import Server
body = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [{"index": 0,
    "message": {"role": "assistant", "content": "x" * 5000}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()
http.server.BaseHTTPRequestHandler.wbufsize = -1  # one packet for head and body
Server.__init__(server := Server.__new__(Server), lambda path, headers, data: (200, {}, body if "completions" in path else b"{}"))
print(server.url, flush=True)
server._server.serve_forever()
'''


def stand_in():
    process = subprocess.Popen([sys.executable, "-c", STAND_IN, str(HERE.parent / "tests")], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def main():
    from stand_ins import Endpoint

    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    folder = pathlib.Path(tempfile.mkdtemp())
    endpoint = Endpoint(folder / "traces")
    provider, url = stand_in()
    service, service_url = stand_in()
    os.environ |= {
        "ATTEST_URL": endpoint.url,
        "ATTEST_API_KEY": "recipe",
        "ATTEST_SPOOL": str(folder / "spool"),
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_ENDPOINT": service_url,
        "LANGSMITH_API_KEY": "x",
        "LANGFUSE_HOST": service_url,
        "LANGFUSE_PUBLIC_KEY": "x",
        "LANGFUSE_SECRET_KEY": "x",
    }
    import openai

    import attest_client

    options = {"base_url": url, "api_key": "sk"}
    calls_of = {
        "without logging": openai.OpenAI(**options).chat.completions.create,
        "attest-client": openai.OpenAI(**options, http_client=attest_client.http_client()).chat.completions.create,
    }
    try:
        import langsmith.wrappers

        calls_of["langsmith"] = langsmith.wrappers.wrap_openai(openai.OpenAI(**options)).chat.completions.create
    except ImportError:
        pass
    try:
        import langfuse.openai  # replaces methods of the SDK's classes; those above are bound already

        calls_of["langfuse"] = langfuse.openai.OpenAI(**options).chat.completions.create
    except ImportError:
        pass

    messages = [{"role": "user", "content": QUESTION}]
    times = {name: [] for name in calls_of}
    for turn in range(calls + WARM_UP):
        for name in random.sample(sorted(calls_of), len(calls_of)):
            start, cpu = time.perf_counter(), time.thread_time()
            calls_of[name](model="gpt-4o", messages=messages)
            if turn >= WARM_UP:
                times[name].append((time.perf_counter() - start, time.thread_time() - cpu))
    assert attest_client.flush(60)
    assert attest_client.counters()["stored"] == calls + WARM_UP
    provider.kill()
    service.kill()
    endpoint.kill()

    def figures(name):
        wall, cpu = ([1e3 * value for value in sorted(values)] for values in zip(*times[name], strict=True))
        return statistics.median(wall), wall[int(len(wall) * 0.99)], statistics.median(cpu)

    base = figures("without logging")
    print(f"{calls} calls of 10 KB each, {os.cpu_count()} CPUs; milliseconds, and ratio to the call without logging")
    print(f"{'':18}{'median':>16}{'p99':>16}{'CPU':>16}{'added':>9}{'CPU added':>11}")
    for name in calls_of:
        here = figures(name)
        columns = "".join(f"{value:9.3f} {value / of:6.2f}" for value, of in zip(here, base, strict=True))
        print(f"{name:18}{columns}{here[0] - base[0]:9.3f}{here[2] - base[2]:11.3f}")


if __name__ == "__main__":
    main()
