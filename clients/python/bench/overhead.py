"""Measures what logging adds to a call: median and 99th percentile of a 10 KB chat completion.

    ATTEST=target/debug/attest python bench/overhead.py [CALLS]

The provider is a stand-in in another process that answers at once, and so is the service that LangSmith's and Langfuse's
wrappers send to; this package sends to `attest serve`. The variants take turns, so noise meets all of them. A variant whose package
is not installed is left out.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
ANSWER = "x" * 5_000
QUESTION = "y" * 5_000

STAND_IN = r'''
import http.server, json, sys
sys.path.insert(0, sys.argv[1])
from conftest import Server
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
    from conftest import Endpoint

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
    import attest_client
    import openai

    options = {"base_url": url, "api_key": "sk"}
    clients = {
        "without logging": openai.OpenAI(**options),
        "attest-client": openai.OpenAI(**options, http_client=attest_client.http_client()),
    }
    try:
        import langsmith.wrappers

        clients["langsmith"] = langsmith.wrappers.wrap_openai(openai.OpenAI(**options))
    except ImportError:
        pass
    try:
        import langfuse.openai

        clients["langfuse"] = langfuse.openai.OpenAI(**options)
    except ImportError:
        pass

    messages = [{"role": "user", "content": QUESTION}]
    times = {name: [] for name in clients}
    for turn in range(calls + 50):
        for name, client in clients.items():
            start = time.perf_counter()
            client.chat.completions.create(model="gpt-4o", messages=messages)
            if turn >= 50:
                times[name].append(time.perf_counter() - start)
    assert attest_client.flush(60)
    assert attest_client.counters()["stored"] == calls + 50
    provider.kill()
    service.kill()
    endpoint.kill()

    def figures(name):
        values = sorted(times[name])
        return statistics.median(values) * 1e3, values[int(len(values) * 0.99)] * 1e3

    base_median, base_p99 = figures("without logging")
    print(f"{calls} calls of 10 KB each, {os.cpu_count()} CPUs")
    print(f"{'':18}{'median':>10}{'ratio':>8}{'added':>10}{'p99':>10}{'ratio':>8}")
    for name in clients:
        median, p99 = figures(name)
        print(
            f"{name:18}{median:7.3f} ms{median / base_median:8.2f}{median - base_median:7.3f} ms{p99:7.2f} ms{p99 / base_p99:8.2f}"
        )


if __name__ == "__main__":
    main()
