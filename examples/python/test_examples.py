"""Runs each example with the real packages, against stand-ins for the providers and the local endpoint."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import Server

HERE = pathlib.Path(__file__).parent
TEXT = "Hello."
USAGE = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "gpt-4o-mini-2024-07-18",
    "system_fingerprint": "fp_1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": USAGE,
}
CHUNK = {**COMPLETION, "object": "chat.completion.chunk"}
CHUNKS = [
    {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": TEXT}, "finish_reason": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "status": "completed",
    "model": "gpt-5-mini",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tools": [],
    "tool_choice": "auto",
    "usage": {
        "input_tokens": 2,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 3,
    },
}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": None}
EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": {"input_tokens": 2, "output_tokens": 0}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]


def events(*items):
    return b"".join(f"event: {item.get('type')}\ndata: {json.dumps(item)}\n\n".encode() for item in items)


def provider(path, body):
    if "/messages" in path:
        return 200, {"content-type": "text/event-stream"}, events(*EVENTS)
    if "/responses" in path:
        return 200, {}, json.dumps(RESPONSE).encode()
    if body.get("stream"):
        return 200, {"content-type": "text/event-stream"}, events(*CHUNKS) + b"data: [DONE]\n\n"
    return 200, {}, json.dumps(COMPLETION).encode()


EXAMPLES = {
    "openai_chat.py": (["openai-chat", "openai-chat"], ["user", "assistant"]),
    "openai_responses.py": (["openai-responses"], ["system", "user", "assistant"]),
    "anthropic_messages.py": (["anthropic"], ["system", "user", "assistant"]),
    "azure_openai.py": (["openai-chat"], ["user", "assistant"]),
    "ollama.py": (["openai-chat"], ["user", "assistant"]),
    "langchain_chat.py": (["openai-chat"], ["user", "assistant"]),
    "openai_agents.py": (["openai-responses"], ["system", "user", "assistant"]),
    "by_hand.py": (["openai-chat"], ["user", "assistant"]),
    "../litellm/sdk.py": (["litellm"], ["user", "assistant"]),
}


def test_every_example_is_run():
    files = {path.name for path in HERE.glob("*.py")} - {pathlib.Path(__file__).name}
    assert files | {"../litellm/sdk.py"} == set(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_stores_its_calls(endpoint, tmp_path, example):
    if (example == "../litellm/sdk.py") != (os.environ.get("EXAMPLES") == "litellm"):
        pytest.skip("its packages are in the other environment")
    with Server(provider, by_path=True) as server:
        environment = {
            **os.environ,
            "ATTEST_URL": endpoint.url,
            "ATTEST_API_KEY": "recipe",
            "ATTEST_SPOOL": str(tmp_path / "spool"),
            "OPENAI_API_KEY": "sk",
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
            "ANTHROPIC_API_KEY": "sk",
            "ANTHROPIC_BASE_URL": server.url,
            "AZURE_OPENAI_API_KEY": "sk",
            "AZURE_OPENAI_ENDPOINT": server.url,
            "OLLAMA_URL": f"{server.url}/v1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        done = subprocess.run(
            [sys.executable, HERE / example], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
        )
    assert done.returncode == 0, done.stderr
    apis, roles = EXAMPLES[example]
    traces = endpoint.traces()
    assert [trace["api"] for trace in traces] == apis
    for trace in traces:
        assert [message["role"] for message in trace["messages"]] == roles
        assert trace["messages"][-1]["content"] == TEXT and "incomplete" not in trace
    assert not list((tmp_path / "spool").glob("*.jsonl"))
    if example != "by_hand.py":
        assert TEXT in done.stdout
