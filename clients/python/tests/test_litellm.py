"""Tests the logger in LiteLLM's SDK and proxy, against the local endpoint."""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

litellm = pytest.importorskip("litellm")
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import httpx
import yaml

import attest_client.litellm
from attest_client import mapping, values
from stand_ins import Server, wait_until

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples" / "litellm" / "config.yaml"
MESSAGES = [{"role": "user", "content": "Hi"}]
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 4},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "status": "completed",
    "model": "gpt-5",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "type": "message",
            "id": "m_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        },
    ],
    "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    "parallel_tool_calls": True,
    "tools": [],
    "tool_choice": "auto",
    "temperature": 1.0,
    "top_p": 1.0,
    "metadata": {},
}


def provider(path, _, body):
    return 200, {}, json.dumps(MESSAGE if "messages" in path else RESPONSE).encode()


@pytest.fixture
def logged(endpoint, environment, monkeypatch):
    """Returns a function that waits until `count` calls are logged, and returns the stored traces."""
    environment(endpoint.url)
    litellm.logging_callback_manager._reset_all_callbacks()
    payloads = []

    class Logger(attest_client.litellm.AttestLogger):
        def _log(self, kwargs):
            super()._log(kwargs)
            payloads.append(values.loads(values.dumps(values.to_json(kwargs["standard_logging_object"]))))

    litellm.callbacks = [Logger()]

    def traces(count=1):
        wait_until(lambda: len(payloads) >= count)  # LiteLLM calls its loggers in the background
        assert attest_client.flush(20)
        return endpoint.traces()

    traces.payloads = payloads
    yield traces
    litellm.callbacks = []


def test_a_call_with_tools_is_stored_whole(logged):
    call = {"model": "gpt-4o", "messages": MESSAGES, "tools": TOOLS, "temperature": 0.5}
    litellm.completion(**call, mock_response="", mock_tool_calls=[TOOL_CALL])
    [trace] = logged()
    assert trace["messages"][0] == MESSAGES[0]
    assert trace["messages"][1]["tool_calls"] == trace["choices"]["0"]["message"]["tool_calls"] == [TOOL_CALL]
    assert (trace["request"]["tools"], trace["request"]["temperature"]) == (TOOLS, 0.5)
    assert trace["usage"]["total_tokens"] == 30
    assert (trace["litellm"]["status"], trace["litellm"]["call_type"]) == ("success", "completion")
    assert trace["response"]["id"].startswith("chatcmpl-")


def test_a_stream_is_assembled(logged):
    stream = litellm.completion(model="gpt-4o", messages=MESSAGES, mock_response="Grüße an alle", stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    [trace] = logged()
    assert trace["messages"][1]["content"] == text == "Grüße an alle"
    assert trace["litellm"]["stream"] is True


def test_asynchronous_calls_are_logged_once_each(logged):
    async def calls():
        await litellm.acompletion(model="gpt-4o", messages=MESSAGES, mock_response="a")
        async for _ in await litellm.acompletion(model="gpt-4o", messages=MESSAGES, mock_response="b", stream=True):
            pass
        with pytest.raises(litellm.InternalServerError):
            await litellm.acompletion(model="gpt-4o", messages=MESSAGES, mock_response=Exception("down"))
        return await asyncio.to_thread(logged, 3)

    traces = asyncio.run(calls())
    assert sorted(trace["messages"][-1]["content"] for trace in traces) == ["Hi", "a", "b"]


def test_a_failed_call_has_its_error(logged):
    with pytest.raises(litellm.InternalServerError):
        litellm.completion(model="gpt-4o", messages=MESSAGES, mock_response=Exception("down"))
    [trace] = logged()
    assert (trace["messages"], trace["litellm"]["status"]) == (MESSAGES, "failure")
    assert "down" in trace["litellm"]["error_str"]


CALLS = {
    "/v1/messages": lambda url: litellm.anthropic_messages(
        model="anthropic/claude-sonnet-4-5",
        api_key="x",
        api_base=url,
        max_tokens=10,
        system="Be brief",
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    ),
    "Responses": lambda url: litellm.aresponses(
        model="openai/gpt-5", api_key="x", api_base=url, input=MESSAGES, instructions="Be brief"
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_of_other_apis_have_their_messages_and_can_be_rebuilt(logged, endpoint, call):
    async def run(url):
        await CALLS[call](url)
        await asyncio.to_thread(logged)

    with Server(provider) as server:
        asyncio.run(run(server.url))
    [path] = endpoint.paths()
    trace = values.loads(path.read_bytes())
    assert [message["content"] for message in trace["messages"]] == ["Be brief", "Hi", "Hello"]
    assert trace["messages"][2]["reasoning_content"] == "hm"
    assert mapping.rebuild_litellm(trace) == logged.payloads[0]


def test_every_payload_can_be_rebuilt(logged, endpoint):
    litellm.completion(model="gpt-4o", messages=MESSAGES, tools=TOOLS, mock_response="Hi", temperature=0.5)
    logged()
    [path] = endpoint.paths()
    assert mapping.rebuild_litellm(values.loads(path.read_bytes())) == logged.payloads[0]


STREAMS = pathlib.Path(__file__).parents[2] / "streams"


def streams(path, _, body):
    name = "openai-responses.apply-patch.sse" if "responses" in path else "openai-chat.text.sse"
    return 200, {"content-type": "text/event-stream"}, [(STREAMS / name).read_bytes()]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_of_responses_is_logged_once(endpoint, logged, is_async):
    async def read(url):
        async for _ in await litellm.aresponses(model="openai/gpt-5", api_key="x", api_base=url, input="Hi", stream=True):
            pass
        await asyncio.to_thread(logged, 1)

    with Server(streams) as server:
        if is_async:
            asyncio.run(read(server.url))
        else:
            list(litellm.responses(model="openai/gpt-5", api_key="x", api_base=server.url, input="Hi", stream=True))
            logged(1)
    threading.Event().wait(1)  # a second event would come from a thread
    [trace] = logged()
    assert "incomplete" not in trace and trace["messages"][-1]["role"] == "assistant"


KILLED = """
import os, sys, signal, threading
import litellm, attest_client.litellm
litellm.callbacks = [attest_client.litellm.logger]
litellm.suppress_debug_info = True
arguments = {"api_base": os.environ["PROVIDER"] + "/v1", "api_key": "sk-SECRET", "messages": [{"role": "user", "content": "Hi"}]}
if sys.argv[1] == "event":
    rename, renamed = os.rename, []
    def kill_after(*paths):
        rename(*paths)
        renamed.append(paths)
        if len(renamed) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
    os.rename = kill_after
for number in range(5):
    if sys.argv[1] == "stream":
        stream = litellm.completion("openai/gpt-4o", user=f"u-{number}", stream=True, **arguments)
        next(iter(stream))
        stream.completion_stream.close()
    elif sys.argv[1] == "failure":
        try:
            litellm.completion("openai/gpt-4o", user=f"u-{number}", **arguments)
        except litellm.APIError:
            pass
    else:
        litellm.completion("openai/gpt-4o", user=f"u-{number}", **arguments)
if sys.argv[1] == "event":
    threading.Event().wait(60)
os.kill(os.getpid(), signal.SIGKILL)
"""
WHOLE = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "Blue"}, "finish_reason": "stop"}
]}


@pytest.mark.parametrize("kind", ["call", "event", "stream"])
def test_a_call_that_returned_survives_sigkill(endpoint, environment, tmp_path, kind):
    """The trace of a stream that the application left has no response, because LiteLLM has no event for it."""
    def respond(*arguments):
        return streams(*arguments) if kind == "stream" else (200, {}, json.dumps(WHOLE).encode())

    with Server(respond) as server:
        variables = {**environment("http://127.0.0.1:1"), "PROVIDER": server.url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        subprocess.run([sys.executable, "-c", KILLED, kind], env=variables, capture_output=True, timeout=120)
    text = b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir()).decode()
    traces = [values.loads(line) for line in text.splitlines()]
    assert len(traces) == 5 and "SECRET" not in text
    assert {trace["request"].get("user") for trace in traces} == {f"u-{number}" for number in range(5)}
    answers = {trace["messages"][-1]["content"] for trace in traces if "incomplete" not in trace}
    assert answers == (set() if kind == "stream" else {"Blue"})
    assert kind != "event" or all(trace["litellm"]["status"] == "success" for trace in traces)
    environment(endpoint.url)
    wait_until(lambda: attest_client.flush(20) and len(endpoint.paths()) == 5)


def test_a_stream_that_is_left_is_logged_when_the_process_ends(endpoint, environment):
    program = KILLED.removesuffix("os.kill(os.getpid(), signal.SIGKILL)\n")
    with Server(streams) as server:
        variables = {**environment(endpoint.url), "PROVIDER": server.url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        subprocess.run([sys.executable, "-c", program, "stream"], env=variables, capture_output=True, timeout=120, check=True)
    assert [trace["incomplete"] for trace in endpoint.traces()] == ["closed"] * 5


def test_the_proxy_logs_every_call(endpoint, environment, tmp_path):
    config = yaml.safe_load(EXAMPLE.read_text())
    config["model_list"][0]["litellm_params"] = {"model": "openai/gpt-4o", "mock_response": "Hello."}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    key = "sk-0123456789abcdef0123456789abcdef"
    variables = {**environment(endpoint.url), "LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    proxy = subprocess.Popen(
        [pathlib.Path(sys.executable).with_name("litellm"), "--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    started = next(line for line in proxy.stderr if "Uvicorn running on " in line)
    url = started.split("Uvicorn running on ")[1].split()[0]
    body = {"model": "gpt-4o", "messages": MESSAGES}
    headers = {"authorization": f"Bearer {key}"}
    httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=30).raise_for_status()
    wait_until(endpoint.traces)  # the signal ends uvicorn at once, so nothing is sent at exit
    proxy.send_signal(signal.SIGTERM)
    proxy.communicate()
    [trace] = endpoint.traces()
    assert [message["content"] for message in trace["messages"]] == ["Hi", "Hello."]
    assert trace["litellm"]["metadata"]["user_api_key_request_route"] == "/chat/completions"


@pytest.mark.parametrize("is_asynchronous", [False, True], ids=["completion", "acompletion"])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_a_call_has_the_labels_of_its_metadata_its_context_and_its_logger(logged, is_asynchronous, is_streamed):
    litellm.callbacks[0]._extra = {"app": "a", "user": "logger"}
    call = {"model": "gpt-4o", "messages": MESSAGES, "mock_response": "Hello", "stream": is_streamed, "user": "u-7"}
    call["metadata"] = {"session_id": "s-1", "tags": ["a", "b"], "user": "u-7", "user_api_key": "SECRET"}

    async def acompletion():
        with attest_client.extra(run=1):
            answer = await litellm.acompletion(**call)
            if is_streamed:
                async for _ in answer:
                    pass
        await asyncio.to_thread(logged)

    if is_asynchronous:
        asyncio.run(acompletion())
    else:
        with attest_client.extra(run=1):
            answer = litellm.completion(**call)
            for _ in answer if is_streamed else ():
                pass
    [trace] = logged(1)
    assert trace["log"] == {"session_id": "s-1", "tags": ["a", "b"], "app": "a", "user": "logger", "run": 1}
    assert trace["litellm"]["request_tags"] == ["a", "b"]
    assert trace["request"]["user"] == "u-7"
    assert "SECRET" not in json.dumps(trace)
