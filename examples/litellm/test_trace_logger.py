"""The logger in LiteLLM's SDK and in its proxy, against the local endpoint; `mock_response` stands in for a provider."""

import asyncio
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no request to GitHub at import

import httpx
import litellm
import pytest
import tenacity
import yaml

HERE = Path(__file__).parent
MESSAGES = [{"role": "user", "content": "Hi"}]
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def recipe(environment, monkeypatch):
    for folder in (HERE, HERE.parent / "python"):
        monkeypatch.syspath_prepend(str(folder))
    for name in ("trace_log", "trace_logger"):
        sys.modules.pop(name, None)
    recipe = importlib.import_module("trace_logger")
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.callbacks = [recipe.logger]
    return recipe


def logged(recipe, endpoint, count=1):
    """The traces that are stored when as many as `count` calls were logged, and the queue is flushed."""
    for attempt in tenacity.Retrying(stop=tenacity.stop_after_delay(10), wait=tenacity.wait_fixed(0.01)):
        with attempt:  # LiteLLM calls its loggers in the background
            assert recipe.trace_log.LOG.put.count >= count
    recipe.trace_log.LOG.close()
    return endpoint.traces()


@pytest.fixture(autouse=True)
def counted(recipe, monkeypatch):
    put = recipe.trace_log.LOG.put

    def counting(trace):
        put(trace)
        counting.count += 1

    counting.count = 0
    monkeypatch.setattr(recipe.trace_log.LOG, "put", counting)


def test_every_case_of_the_mapping(recipe):
    cases = [case for case in json.loads((HERE.parent / "mapping.json").read_text()) if case["from"] == "litellm"]
    for case in cases:
        trace = recipe.to_trace(case["line"])
        del trace["id"]
        assert trace == case["trace"], case["what"]
    assert cases


def test_a_call_with_tools_is_stored_whole(recipe, endpoint):
    call = {"model": "gpt-4o", "messages": MESSAGES, "tools": TOOLS, "temperature": 0.5}
    litellm.completion(**call, mock_response="", mock_tool_calls=[TOOL_CALL])
    [trace] = logged(recipe, endpoint)
    assert trace["messages"][0] == MESSAGES[0]
    assert trace["messages"][1]["tool_calls"] == trace["choices"]["0"]["message"]["tool_calls"] == [TOOL_CALL]
    assert (trace["request"]["tools"], trace["request"]["temperature"]) == (TOOLS, 0.5)
    assert trace["usage"]["total_tokens"] == 30
    assert (trace["litellm"]["status"], trace["litellm"]["call_type"]) == ("success", "completion")
    assert trace["response"]["id"].startswith("chatcmpl-")


def test_a_stream_is_put_together(recipe, endpoint):
    stream = litellm.completion(model="gpt-4o", messages=MESSAGES, mock_response="Grüße an alle", stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    [trace] = logged(recipe, endpoint)
    assert trace["messages"][1]["content"] == text == "Grüße an alle"
    assert trace["litellm"]["stream"] is True


def test_asynchronous_calls_are_logged_once_each(recipe, endpoint):
    async def calls():
        await litellm.acompletion(model="gpt-4o", messages=MESSAGES, mock_response="a")
        async for _ in await litellm.acompletion(model="gpt-4o", messages=MESSAGES, mock_response="b", stream=True):
            pass
        with pytest.raises(litellm.InternalServerError):
            await litellm.acompletion(model="gpt-4o", messages=MESSAGES, mock_response=Exception("down"))
        return await asyncio.to_thread(logged, recipe, endpoint, 3)

    traces = asyncio.run(calls())
    assert sorted(trace["messages"][-1]["content"] for trace in traces) == ["Hi", "a", "b"]


def test_a_failed_call_has_its_error(recipe, endpoint):
    with pytest.raises(litellm.InternalServerError):
        litellm.completion(model="gpt-4o", messages=MESSAGES, mock_response=Exception("down"))
    [trace] = logged(recipe, endpoint)
    assert (trace["messages"], trace["litellm"]["status"]) == (MESSAGES, "failure")
    assert "down" in trace["litellm"]["error_str"]


def test_the_proxy_logs_what_goes_through_it(endpoint, environment, tmp_path):
    for file in ("trace_logger.py", "../python/trace_log.py"):
        shutil.copy(HERE / file, tmp_path)
    config = yaml.safe_load((HERE / "config.yaml").read_text())
    config["model_list"][0]["litellm_params"] = {"model": "openai/gpt-4o", "mock_response": "Hello."}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    key = "sk-0123456789abcdef0123456789abcdef"
    proxy = subprocess.Popen(
        [Path(sys.executable).with_name("litellm"), "--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"],
        **{"cwd": tmp_path, "env": {**os.environ, "LITELLM_MASTER_KEY": key}, "stderr": subprocess.PIPE, "text": True},
        stdout=subprocess.DEVNULL,
    )
    started = next(line for line in proxy.stderr if "Uvicorn running on " in line)
    url = started.split("Uvicorn running on ")[1].split()[0]
    body = {"model": "gpt-4o", "messages": MESSAGES}
    headers = {"authorization": f"Bearer {key}"}
    httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=30).raise_for_status()
    proxy.send_signal(signal.SIGTERM)
    proxy.communicate()
    [trace] = endpoint.traces()
    assert [message["content"] for message in trace["messages"]] == ["Hi", "Hello."]
    assert trace["litellm"]["metadata"]["user_api_key_request_route"] == "/chat/completions"
