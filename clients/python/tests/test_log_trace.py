"""Tests `log_trace` with the SDKs' objects, against the local endpoint."""

import math

import openai
import pydantic
import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

import attest_client

MESSAGES = [{"role": "user", "content": "Hi"}]
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 3,
    "model": "gpt-4o",
    "system_fingerprint": "fp_1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "new_detail": {"a": 1}},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 3,
    "model": "gpt-5",
    "output": [{"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}],
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Hello"}],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


@pytest.mark.parametrize(
    ("api", "request_", "response"),
    [
        ("openai-chat", {"messages": MESSAGES}, ChatCompletion.model_validate(COMPLETION)),
        ("openai-chat", {"messages": MESSAGES}, COMPLETION),
        ("openai-responses", {"input": "Hi"}, Response.model_construct(**RESPONSE)),
        ("openai-responses", {"input": MESSAGES}, RESPONSE),
        ("anthropic", {"messages": MESSAGES}, Message.model_validate(MESSAGE)),
        ("anthropic", {"messages": MESSAGES}, MESSAGE),
    ],
)
def test_the_api_is_recognised(logged, api, request_, response):
    attest_client.log_trace({"model": "m", **request_}, response, user="u-1")
    [trace] = logged()
    assert (trace["api"], trace["log"]) == (api, {"user": "u-1"})
    assert [(message["role"], message["content"]) for message in trace["messages"]] == [("user", "Hi"), ("assistant", "Hello")]
    if api == "openai-chat":
        assert (trace["system_fingerprint"], trace["usage"]["new_detail"]) == ("fp_1", {"a": 1})


def test_a_failed_call_is_a_trace_too(logged):
    attest_client.log_trace({"model": "m", "messages": MESSAGES}, error="RateLimitError")
    [trace] = logged()
    assert (len(trace["messages"]), trace["log"]) == (1, {"error": "RateLimitError"})


def test_the_api_can_be_named(logged):
    attest_client.log_trace({"model": "m", "system": "Be brief", "messages": MESSAGES}, api="anthropic")
    attest_client.log_trace({"model": "m", "input": "Hi"}, api="openai-responses")
    assert {trace["api"]: len(trace["messages"]) for trace in logged()} == {"anthropic": 2, "openai-responses": 1}


class Answer(pydantic.BaseModel):
    number: int


def test_values_that_json_cannot_hold_take_no_trace(logged):
    request = {
        "model": "m",
        "messages": (message for message in MESSAGES),
        "temperature": math.nan,
        "tools": openai.NOT_GIVEN,
        "response_format": Answer,
        "user": b"\xff",
        1: "one",
        "text": "a\ud83d",
    }
    attest_client.log_trace(request, {"created": 1.9, "model": "", "system_fingerprint": 7, "logprob": -math.inf})
    [trace] = logged()
    assert trace["messages"] == MESSAGES
    assert (trace["created"], trace["model"], trace["system_fingerprint"]) == (1, "m", "7")
    assert trace["request"] == {
        "model": "m",
        "temperature": "NaN",
        "tools": "NOT_GIVEN",
        "response_format": "test_log_trace.Answer",
        "user": "/w==",
        "1": "one",
        "text": "a\ufffd",
    }
    assert trace["response"]["logprob"] == "-Infinity"


@pytest.mark.parametrize("request_", [None, "text", 1, [1], object()])
@pytest.mark.parametrize("response", [None, "text", 1, [1], object()])
def test_any_argument_becomes_a_trace(logged, request_, response):
    attest_client.log_trace(request_, response)
    [trace] = logged()
    assert trace["model"] == "unknown"
