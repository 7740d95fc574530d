"""Runs real instrumentation packages against the local endpoint, and checks the stored traces.

    ATTEST=target/debug/attest python3 crates/otlp/recordings/live.py [NAME...]

The names are those of `LIVE`; without one, all of these cases run. Each case runs in a virtual environment of its own, makes a
plain call, a stream and calls of a tool, and exports with the exporter's own settings.
"""

import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / ".ci"))

import endpoint
from record import ANSWER, ARGUMENTS, QUESTION, RESULT, SCENARIOS, Provider, run, serve

KEY = "live"
LIVE = ["openllmetry-openai", "openllmetry-anthropic", "anthropic", "openinference", "pydantic-ai"]
TEXT = "".join(ANSWER)


def traces(folder):
    """Returns the traces of calls in the order of their length."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("~")]
    found = [json.loads(path.read_bytes()) for path in files]
    return sorted((trace for trace in found if trace["object"] == "chat.trace"), key=lambda trace: len(trace["messages"]))


def check(trace, roles, answer):
    """Checks the model, the tokens, the messages and the whole span of a trace."""
    messages = trace["messages"]
    assert trace["model"].startswith("stand-in"), trace["model"]
    assert trace["usage"]["output_tokens"] > 0, trace["usage"]
    assert [message["role"] for message in messages] == roles, messages
    assert QUESTION in [message["content"] for message in messages], messages
    answer(messages[-1])
    span = trace["otel"]["span"]
    assert trace["id"] == f"{span['traceId']}-{span['spanId']}"
    assert len(span["attributes"]) > 5, span


def is_text(message):
    assert message["content"] == TEXT, message


def is_call(message):
    [call] = message["tool_calls"]
    arguments = call["function"]["arguments"]
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert (call["function"]["name"], arguments) == ("weather", ARGUMENTS), call


def check_case(name, provider):
    for scenario in SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            folder += "/traces"  # the name of a bucket, which a temporary name may not be
            process, url, _ = endpoint.start(folder, KEY)
            run(name, scenario, provider, url, OTEL_EXPORTER_OTLP_HEADERS=f"x-api-key={KEY}")
            process.terminate()
            process.wait()
            found = traces(pathlib.Path(folder))
        if scenario == "tools":
            first, second = found
            check(first, ["system", "user", "assistant"], is_call)
            check(second, second_roles := [*["system", "user", "assistant"], second["messages"][3]["role"], "assistant"], is_text)
            assert second_roles[3] in ("tool", "user"), second_roles
            assert RESULT in json.dumps(second["messages"][3], ensure_ascii=False), second
        else:
            [trace] = found
            check(trace, ["system", "user", "assistant"], is_text)
        print(name, scenario, len(found), flush=True)


if __name__ == "__main__":
    standing_in = serve(Provider)
    for case in sys.argv[1:] or LIVE:
        check_case(case, standing_in)
