"""A stand-in for OpenAI's Chat Completions and Responses APIs and for Anthropic's Messages API."""

import json
import threading

TEXT = "Hello, world."
TOOL = "weather"
ARGUMENTS = {"city": "Oslo"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
EARLY = "early"
"""A request that contains this word gets a stream that does not end until the application leaves it."""
LONGEST = 400  # pauses of 50 ms after which the stream ends anyway


class Provider:
    """Responds to requests, and counts them."""

    def __init__(self):
        self.requests = 0

    def __call__(self, path, _headers, body):
        request = json.loads(body or b"{}")
        answers = next((answers for end, answers in APIS.items() if path.split("?")[0].rstrip("/").endswith(end)), None)
        if answers is None:
            return 404, {}, b"{}"
        self.requests += 1
        whole, events = answers(wants_tool(request))
        if not request.get("stream"):
            return 200, {}, json.dumps(whole).encode()
        return 200, {"content-type": "text/event-stream"}, chunks(events, is_early=EARLY.encode() in body)


def wants_tool(request):
    """Returns whether the request offers tools and contains no tool result yet."""
    text = json.dumps(request.get("messages") or request.get("input"))
    has_result = any(mark in text for mark in ('"role": "tool"', "tool_result", "function_call_output"))
    return bool(request.get("tools")) and not has_result


def chunks(events, is_early):
    for place, event in enumerate(events):
        yield event.encode()
        if is_early and TEXT[:5] in event:
            for _ in range(LONGEST):
                threading.Event().wait(0.05)
                yield b": the application is to close this stream\n\n"
        elif place == 0:
            threading.Event().wait(0.01)


def chat(with_tool):
    call = {"id": "call_1", "type": "function", "function": {"name": TOOL, "arguments": json.dumps(ARGUMENTS)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]} if with_tool else {"role": "assistant", "content": TEXT}
    finish = "tool_calls" if with_tool else "stop"
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o"}
    whole = {**answer, "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": USAGE}
    if with_tool:
        deltas = [{"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]}]
    else:
        deltas = [{"role": "assistant", "content": TEXT[:5]}, {"content": TEXT[5:]}]
    chunk = {**answer, "object": "chat.completion.chunk"}
    parts = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    parts.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": USAGE})
    return whole, [f"data: {json.dumps(part)}\n\n" for part in parts] + ["data: [DONE]\n\n"]


def messages(with_tool):
    block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": ARGUMENTS} if with_tool else {"type": "text", "text": TEXT}
    stop = {"stop_reason": "tool_use" if with_tool else "end_turn", "stop_sequence": None}
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    usage = {"input_tokens": 3, "output_tokens": 3}
    if with_tool:
        start, deltas = {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(ARGUMENTS)}]
    else:
        start, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": text} for text in (TEXT[:5], TEXT[5:])]
    empty = {**answer, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    parts = [
        {"type": "message_start", "message": empty},
        {"type": "content_block_start", "index": 0, "content_block": start},
        *[{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return {**answer, "content": [block], **stop, "usage": usage}, [named(part) for part in parts]


def responses(with_tool):
    if with_tool:
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": TOOL, "arguments": json.dumps(ARGUMENTS)}
    else:
        content = [{"type": "output_text", "text": TEXT, "annotations": []}]
        item = {"type": "message", "id": "msg_1", "role": "assistant", "content": content}
    item["status"] = "completed"
    answer = {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": "gpt-5", "parallel_tool_calls": True}
    answer |= {"tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None, "instructions": None, "metadata": {}}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 3, "output_tokens": 3, "total_tokens": 6, **details}
    whole = {**answer, "status": "completed", "output": [item], "usage": usage}
    empty = {**item, "status": "in_progress", **({"arguments": ""} if with_tool else {"content": []})}
    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": item["id"], "output_index": 0}
    if with_tool:
        middle = [
            {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]},
            {"type": "response.function_call_arguments.done", **place, "name": TOOL, "arguments": item["arguments"]},
        ]
    else:
        place["content_index"] = 0
        part = {"type": "output_text", "text": "", "annotations": []}
        texts = [{"type": "response.output_text.delta", **place, "delta": text, "logprobs": []} for text in (TEXT[:5], TEXT[5:])]
        middle = [
            {"type": "response.content_part.added", **place, "part": part},
            *texts,
            {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
            {"type": "response.content_part.done", **place, "part": content[0]},
        ]
    parts = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        *middle,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return whole, [named({**part, "sequence_number": number}) for number, part in enumerate(parts)]


def named(event):
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


APIS = {"/chat/completions": chat, "/responses": responses, "/messages": messages}


if __name__ == "__main__":
    import pathlib
    import sys

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python" / "tests"))
    from stand_ins import Server

    with Server(Provider()) as server:
        print(server.url, flush=True)
        sys.stdin.read()
