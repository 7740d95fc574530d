"""Compares assembled streams with the SDKs' results. `RECORDED_STREAMS`, if set, is a folder with more streams."""

import json
import os
import pathlib
import re

import anthropic
import httpx2
import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState

from attest_client import mapping, streams, values

FOLDER = pathlib.Path(__file__).parents[2] / "streams"
STREAMS = sorted(FOLDER.glob("*.sse"))
if recorded_streams := os.environ.get("RECORDED_STREAMS"):
    recorded = sorted(pathlib.Path(recorded_streams).glob("*.sse"))
    assert recorded, f"{recorded_streams} contains no streams"
    STREAMS += recorded
ADDED_BY_SDK = ("index", "parsed", "parsed_arguments")  # the SDK's own members, in addition to those that are null


def client(sdk, body):
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    )
    return sdk(api_key="sk", http_client=httpx2.Client(transport=transport))


def openai_chat(body):
    state = ChatCompletionStreamState()
    for chunk in client(openai.OpenAI, body).chat.completions.create(model="m", messages=[], stream=True):
        state.handle_chunk(chunk)
    return state.current_completion_snapshot.to_dict()


def openai_responses(body):
    *_, last = client(openai.OpenAI, body).responses.create(model="m", input="a", stream=True)
    return last.response.to_dict(mode="json")


def anthropic_message(body):
    with client(anthropic.Anthropic, body).beta.messages.stream(model="m", messages=[], max_tokens=1) as stream:
        return stream.get_final_message().to_dict(mode="json")


REFERENCES = {"openai-chat": openai_chat, "openai-responses": openai_responses, "anthropic": anthropic_message}


def without_additions(theirs, ours):
    """Returns the SDK's value without the members that the SDK adds."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        kept = {name for name, value in theirs.items() if name in ours or (value is not None and name not in ADDED_BY_SDK)}
        return {name: without_additions(theirs[name], ours.get(name)) for name in kept}
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [without_additions(*pair) for pair in zip(theirs, ours, strict=True)]
    return theirs


def assembled(api, body):
    stream = streams.assemble(api, body)
    return stream, json.loads(values.dumps(stream.response))


@pytest.mark.parametrize("file", STREAMS, ids=lambda file: file.stem)
def test_a_stream_is_assembled_as_the_sdk_accumulates_it(file):
    api = file.name.partition(".")[0]
    stream, response = assembled(api, file.read_bytes())
    if file.stem == "anthropic.tool-use-invalid-json-response":  # the SDK raises an error
        with pytest.raises(ValueError, match="Unable to parse tool parameter JSON"):
            REFERENCES[api](file.read_bytes())
        assert response["content"][1]["input"] == '{"location": "Paris", "unit": celsius}'
        assert stream.is_complete and stream.error is None
        return
    theirs = REFERENCES[api](file.read_bytes())
    if file.stem == "anthropic.incomplete-partial-json-response":  # the SDK drops values that it cannot parse
        call = response["content"][1]
        assert call.pop("input").startswith('{"filename": "taxes.txt"')
        theirs["content"][1].pop("input")
    if "input-transformations" in file.stem and "delta" in file.stem:  # the SDK replaces the list of the first event
        first = json.loads(re.search(rb"^data: (.*message_start.*)$", file.read_bytes(), re.MULTILINE)[1])["message"]
        assert response["input_transformations"] == first["input_transformations"] + theirs.pop("input_transformations")
        del response["input_transformations"]
    assert response == without_additions(theirs, response)
    expected = "unmerged" if file.stem == "anthropic.unknown-events-response" else None  # the SDK drops them
    assert stream.is_complete and stream.error is None and stream.incomplete() == expected


@pytest.mark.parametrize("file", STREAMS, ids=lambda file: file.stem)
def test_a_stream_that_is_cut_off_anywhere_is_incomplete_and_never_raises(file):
    api = file.name.partition(".")[0]
    body = file.read_bytes()
    _, response = assembled(api, body)
    for end in range(0, len(body), max(1, len(body) // 97)):
        part = streams.assemble(api, body[:end])
        mapping.to_trace(api, {}, part.response, created=1, model="m")
        assert not part.is_complete or part.response.get("id") == response["id"]
    assert not streams.assemble(api, body[: len(body) // 2]).is_complete


def test_a_stream_that_is_cut_off_within_a_character_is_incomplete():
    body = (FOLDER / "openai-chat.text.sse").read_bytes()
    bridge = "🌉".encode()
    for length in range(1, len(bridge)):
        stream = streams.assemble("openai-chat", body[: body.index(bridge) + length])
        assert stream.response["choices"][0]["message"]["content"].endswith(" beide Ufer") and not stream.is_complete


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_server_sent_events_is_read(end):
    body = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    stream = streams.assemble("openai-chat", b": comment\n" + body.replace(b"\n", end))
    assert stream.response["choices"][0]["message"]["content"] == "x" and stream.is_complete


def events(*items):
    return b"".join(b"data: %s\n\n" % values.dumps(item) for item in items)


def chunk(delta, finish_reason=None, index=0, **members):
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **members}


def test_members_of_other_servers_are_assembled():
    """Covers reasoning (DeepSeek, vLLM), audio, filters (Azure), numbers that must keep every digit, and padding to be dropped."""
    body = events(
        {"id": "", "choices": [], "created": 0, "model": "", "prompt_filter_results": [{"prompt_index": 0}]},
        chunk({"role": "assistant", "reasoning_content": "Hm"}, obfuscation="x"),
        chunk({"reasoning_content": "m.", "audio": {"id": "audio_1", "transcript": "He"}}),
        chunk({"content": "Hi", "audio": {"data": "UklG", "transcript": "llo"}}, system_fingerprint=None),
        {**chunk({}, "stop"), "usage": {"cost": values.Number("0.10")}, "system_fingerprint": "fp"},
    )
    stream = streams.assemble("openai-chat", body)
    message = stream.response["choices"][0]["message"]
    assert message["reasoning_content"] == "Hmm." and message["content"] == "Hi"
    assert message["audio"] == {"id": "audio_1", "transcript": "Hello", "data": "UklG"}
    assert values.dumps(stream.response["usage"]) == b'{"cost":0.10}'
    assert stream.response["prompt_filter_results"] and "obfuscation" not in stream.response
    assert (stream.response["id"], stream.response["object"]) == ("c", "chat.completion")
    assert stream.is_complete, "every choice ended, although there is no [DONE]"


def test_an_error_within_a_stream_is_kept():
    chat = streams.assemble("openai-chat", events(chunk({"content": "H"}), {"error": {"message": "down"}}))
    assert chat.error == {"message": "down"} and chat.response["choices"][0]["message"]["content"] == "H"
    message = {"type": "message_start", "message": {"id": "m", "content": []}}
    claude = streams.assemble("anthropic", events(message, {"type": "error", "error": {"type": "overloaded_error"}}))
    assert claude.error == {"type": "overloaded_error"} and not claude.is_complete
    responses = streams.assemble("openai-responses", events({"type": "error", "code": "x", "sequence_number": 1}))
    assert responses.error == {"code": "x"}
    failed = streams.assemble("openai-responses", (FOLDER / "openai-responses.error.txt").read_bytes())
    assert failed.error["error"]["code"] == failed.response["error"]["code"] == "insufficient_quota"


def test_citations_and_server_tools_are_assembled():
    citation = {"type": "char_location", "cited_text": "a"}
    body = events(
        {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": [], "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use", "id": "s", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"n":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1.50}"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "", "citations": None}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "citations_delta", "citation": citation}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}, "extra": 1},
        {"type": "message_stop"},
    )
    response = streams.assemble("anthropic", body).response
    assert response["content"][0] == {"type": "thinking", "thinking": "Hm", "signature": "EqQB"}
    assert values.dumps(response["content"][1]["input"]) == b'{"n":1.50}'
    assert response["content"][2] == {"type": "text", "text": "a", "citations": [citation]}
    assert (response["usage"], response["stop_reason"]) == ({"input_tokens": 1, "output_tokens": 2}, "end_turn")


def test_a_response_that_ends_early_has_what_came():
    part = {"type": "output_text", "text": "", "annotations": []}
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}
    body = events(
        {"type": "response.created", "response": {"id": "r", "object": "response", "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs", "summary": []}},
        {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0, "part": {"text": ""}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Hm"},
        {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "Why"},
        {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "id": "m", "content": []}},
        {"type": "response.content_part.added", "output_index": 1, "content_index": 0, "part": part},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "He", "logprobs": [1]},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "llo", "logprobs": [2]},
        {"type": "response.invented.delta", "output_index": 1, "delta": "x"},
        {"type": "response.output_item.added", "output_index": 2, "item": call},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"ci'},
    )
    stream = streams.assemble("openai-responses", body)
    reasoning, message, arguments = stream.response["output"]
    assert reasoning["summary"] == [{"text": "Hm"}]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Why"}]
    assert message["content"] == [{**part, "text": "Hello", "logprobs": [1, 2]}]
    assert arguments["arguments"] == '{"ci' and not stream.is_complete


@pytest.mark.parametrize("file", [file for file in STREAMS if "responses." in file.name], ids=lambda file: file.stem)
def test_a_response_without_its_last_event_has_the_same_output(file):
    *before, last = file.read_text().rstrip().split("\n\n")
    final = json.loads(last.partition("data: ")[2])["response"]
    _, response = assembled("openai-responses", "\n\n".join(before).encode() + b"\n\n")
    assert response["output"] == final["output"]
