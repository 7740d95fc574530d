"""The recipe against the local endpoint, with the real `openai` client and a stand-in for its server."""

import importlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from conftest import Server

HERE = Path(__file__).parent
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.fixture
def recipe(environment, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    sys.modules.pop("trace_log", None)
    return importlib.import_module("trace_log")


def provider(_, request):
    """OpenAI's server: a fixed answer, whole or as events."""
    head = {"id": "chatcmpl-1", "created": 7, "model": "gpt-4o-2024-08-06", "system_fingerprint": "fp_1"}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "new_detail": {"a": 1}}
    message = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    if not request.get("stream"):
        choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}]
        return 200, {}, json.dumps({**head, "object": "chat.completion", "choices": choices, "usage": usage}).encode()
    deltas = [{"role": "assistant", "content": "Grü"}, {"content": "ße"}, {}]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]} for delta in deltas]
    events = [{**head, "object": "chat.completion.chunk", **chunk} for chunk in [*chunks, {"choices": [], "usage": usage}]]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return 200, {"content-type": "text/event-stream"}, text.encode()


def test_every_case_of_the_mapping(recipe):
    for case in json.loads((HERE.parent / "mapping.json").read_text()):
        line, created = case["line"], None
        if case["from"] == "openai" and "response" in line:
            trace = recipe.to_trace(line["request"], line["response"])
        elif case["from"] == "openai":
            request = {"messages": line.pop("messages")}
            trace = recipe.to_trace(request, line)
        else:
            continue  # LiteLLM's recipe has them
        del trace["id"]
        assert trace == case["trace"], case["what"]


def test_a_call_is_stored_whole(recipe, endpoint):
    messages = [
        {"role": "developer", "content": "Kurz."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "tool", "tool_call_id": "call_0", "content": "42"},
    ]
    request = {"model": "gpt-4o", "messages": messages, "temperature": 0.5}
    with Server(provider) as server:
        client = openai.OpenAI(base_url=server.url, api_key="sk")
        response = client.chat.completions.create(**request)
    recipe.log_trace(request, response, user="u-1")
    recipe.LOG.close()
    [trace] = endpoint.traces()
    assert [message["role"] for message in trace["messages"]] == ["system", "user", "user", "assistant"]
    assert trace["messages"][1]["original"]["content"] == messages[1]["content"]
    assert trace["messages"][3]["tool_calls"] == [TOOL_CALL]
    assert trace["messages"][3]["original"] == {"role": "assistant", "content": None}
    assert trace["choices"]["0"]["finish_reason"] == "tool_calls"
    assert trace["usage"]["new_detail"] == {"a": 1}
    assert trace["request"] == {"model": "gpt-4o", "temperature": 0.5}
    assert trace["response"]["id"] == "chatcmpl-1"
    assert (trace["system_fingerprint"], trace["log"]) == ("fp_1", {"user": "u-1"})


def test_a_stream_is_put_together(recipe, endpoint):
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    with Server(provider) as server:
        client = openai.OpenAI(base_url=server.url, api_key="sk")
        with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
            text = "".join(event.delta for event in stream if event.type == "content.delta")
            recipe.log_trace(request, stream.get_final_completion())
    recipe.LOG.close()
    [trace] = endpoint.traces()
    assert trace["messages"][1]["content"] == text == "Grüße"
    assert (trace["usage"]["total_tokens"], trace["created"]) == (11, 7)


def test_a_failed_call_is_a_trace_too(recipe, endpoint):
    recipe.log_trace({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}, error="RateLimitError")
    recipe.LOG.close()
    [trace] = endpoint.traces()
    assert (len(trace["messages"]), trace["log"]) == (1, {"error": "RateLimitError"})


def test_a_thousand_traces_by_16_at_once_while_the_endpoint_is_killed(recipe, endpoint, environment):
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    with ThreadPoolExecutor(16) as pool:
        for first in range(1, 1000, 200):
            stored = len(endpoint.traces())
            logged = [pool.submit(recipe.log_trace, request, {"created": n}) for n in range(first, first + 200)]
            while len(endpoint.traces()) < stored + 20:
                pass
            endpoint.kill()
            endpoint.start()
            for future in logged:
                future.result()
    recipe.LOG.close()
    assert [trace["created"] for trace in endpoint.traces()] == list(range(1, 1001))
    assert not Path(environment["UNDELIVERED"]).exists()


def test_what_a_status_asks_for_is_done(recipe, environment, monkeypatch):
    answers = [(429, {"retry-after": "1"}), (503, {}), (502, {}), (504, {}), (201, {})]
    came = []

    def respond(headers, trace):
        came.append((time.monotonic(), headers["idempotency-key"], trace["id"], headers["x-api-key"]))
        return *answers[len(came) - 1], b""

    with Server(respond) as server:
        log = recipe.TraceLog(server.url, "secret", environment["UNDELIVERED"])
        log.put(recipe.to_trace({"model": "m"}, {}))
        log.close()
    assert len(came) == 5
    assert {(key, api_key) for _, key, _, api_key in came} == {(came[0][2], "secret")}
    assert came[1][0] - came[0][0] >= 1, "Retry-After is waited for"
    assert not Path(environment["UNDELIVERED"]).exists()


@pytest.mark.parametrize("status", [400, 403, 409, 413, 500])
def test_no_other_status_is_retried_and_import_takes_the_file(recipe, endpoint, environment, status):
    came = []
    with Server(lambda _, trace: (came.append(trace), (status, {}, b""))[1]) as server:
        log = recipe.TraceLog(server.url, "secret", environment["UNDELIVERED"])
        log.put(recipe.to_trace({"model": "m"}, {"created": 3}))
        log.close()
    assert len(came) == 1
    endpoint.imports(environment["UNDELIVERED"])
    assert endpoint.traces() == [{**came[0], "object": "chat.trace", "system_fingerprint": "m"}]


def test_a_process_that_ends_while_nobody_answers_leaves_the_file(endpoint, environment):
    program = """
import trace_log
trace_log.FLUSH = 0.1
for number in range(1, 1201):
    trace_log.log_trace({"model": "m", "messages": []}, {"created": number})
"""
    endpoint.kill()
    subprocess.run([sys.executable, "-c", program], check=True, cwd=HERE)
    endpoint.start()
    endpoint.imports(environment["UNDELIVERED"])
    assert [trace["created"] for trace in endpoint.traces()] == list(range(1, 1201))
