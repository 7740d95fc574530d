"""Runs real instrumentation packages against the local endpoint, and checks the stored traces.

    ATTEST=target/debug/attest python3 crates/otlp/recordings/live.py [NAME...]

NAME is a case from `CASES` in `record.py`. Without one, all cases run. Each case runs in an environment of its own, and makes a
plain call, a streamed call and calls with a tool. It exports with the exporter's default settings.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / ".ci"))

import endpoint
from record import ANSWER, ARGUMENTS, CASES, QUESTION, RESULT, SCENARIOS, Provider, run, serve

KEY = "live"
TEXT = "".join(ANSWER)

# These packages emit a log record per message. The model and token counts are in the span, which has no content.
WITH_MESSAGES_IN_RECORDS = ["openai-v2", "js-openai"]

# These packages emit a log record per call. The span has the model and token counts too.
WITH_CALLS_IN_RECORDS = ["genai-openai-events"]


def check(trace, roles, answer):
    """Checks a call's messages, and its source in `otel`."""
    messages = trace["messages"]
    assert [message["role"] for message in messages] == roles, messages
    assert QUESTION in [message["content"] for message in messages], messages
    answer(messages[-1])
    otel = trace["otel"]
    [source, *_] = otel.get("logRecords") or [otel.get("logRecord") or otel["span"]]
    assert trace["id"].startswith(f"{source['traceId']}-{source['spanId']}"), trace["id"]


def check_facts(trace, has_tokens):
    """Checks the model, tokens and attributes of a span or a record."""
    assert trace["model"].startswith("stand-in"), trace["model"]
    assert not has_tokens or trace["usage"]["output_tokens"] > 0, trace["usage"]
    source = trace["otel"].get("logRecord") or trace["otel"]["span"]
    assert len(source["attributes"]) > 5, source


def is_text(message):
    assert message["content"] == TEXT, message


def is_call(message):
    [call] = message["tool_calls"]
    arguments = call["function"]["arguments"]
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert (call["function"]["name"], arguments) == ("weather", ARGUMENTS), call


def check_case(name, provider):
    for scenario in SCENARIOS:
        with endpoint.temporary(KEY) as receiver:
            run(name, scenario, provider, receiver.url, OTEL_EXPORTER_OTLP_HEADERS=f"x-api-key={KEY}")
            found = receiver.traces()
        calls = [trace for trace in found if trace["object"] == "chat.trace"]
        spans = [trace for trace in found if trace["object"] == "otel.span"]
        calls.sort(key=lambda trace: len(trace["messages"]))
        roles = ["system", "user", "assistant"]
        if scenario == "tools":
            first, second = calls
            check(first, roles, is_call)
            check(second, [*roles, "user", "assistant"], is_text)
            assert RESULT in json.dumps(second["messages"][3], ensure_ascii=False), second
        else:
            [call] = calls
            check(call, roles, is_text)
        for trace in spans if name in WITH_MESSAGES_IN_RECORDS else calls:
            check_facts(trace, has_tokens=(name, scenario) != ("openllmetry-old", "stream"))
        in_records = name in WITH_MESSAGES_IN_RECORDS or name in WITH_CALLS_IN_RECORDS
        assert len(spans) == (len(calls) if in_records else 0), spans
        print(name, scenario, len(calls), "calls", len(spans), "spans without content", flush=True)


if __name__ == "__main__":
    standing_in = serve(Provider)
    for case in sys.argv[1:] or CASES:
        check_case(case, standing_in)
