"""Records what real instrumentation packages send for a plain call, a streamed call and calls with a tool.

    python3 record.py [NAME...]

Each case runs in an environment of its own, with packages from PyPI or npm. It calls a provider in this process, and exports to a
receiver in this process. The body of each request is written to NAME-SCENARIO.traces.binpb or .logs.binpb, as it was sent.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).resolve().parent
ENVIRONMENTS = pathlib.Path(os.environ.get("RECORD_ENVIRONMENTS", HERE / "../../../target/ci/otlp")).resolve()
SDK = ["opentelemetry-sdk==1.45.2", "opentelemetry-exporter-otlp-proto-http==1.45.2"]
NODE_SDK = "@opentelemetry/sdk-node@0.301.0"
OPENAI, ANTHROPIC = "openai==3.57.0", "anthropic==2.14.0"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
ONE_REQUEST = {"OTEL_BLRP_SCHEDULE_DELAY": "60000"}  # a call's records are joined only within one request

# name: environment, packages, program, variables
CASES = {
    "genai-openai": ("genai-openai", [OPENAI, "opentelemetry-instrumentation-genai-openai==1.3b0",
                                      "opentelemetry-util-genai==1.3b0"],
                     "genai_openai", {CONTENT: "SPAN_ONLY"}),
    "genai-openai-events": ("genai-openai", [OPENAI, "opentelemetry-instrumentation-genai-openai==1.3b0",
                                             "opentelemetry-util-genai==1.3b0"],
                            "genai_openai", {CONTENT: "EVENT_ONLY", "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "true"}),
    "openai-v2": ("openai-v2", [OPENAI, "opentelemetry-instrumentation-openai-v2==2.4b0", "opentelemetry-util-genai==0.4b0",
                                "httpx"], "openai_v2", {CONTENT: "true", **ONE_REQUEST}),
    "openllmetry-openai": ("openllmetry", [OPENAI, ANTHROPIC, "opentelemetry-instrumentation-openai==0.62.4",
                                           "opentelemetry-instrumentation-anthropic==0.62.4"], "openllmetry_openai", {}),
    "openllmetry-anthropic": ("openllmetry", [OPENAI, ANTHROPIC, "opentelemetry-instrumentation-openai==0.62.4",
                                              "opentelemetry-instrumentation-anthropic==0.62.4"],
                              "openllmetry_anthropic", {}),
    "anthropic": ("openllmetry", [OPENAI, ANTHROPIC, "opentelemetry-instrumentation-openai==0.62.4",
                                  "opentelemetry-instrumentation-anthropic==0.62.4"],
                  "anthropic_itself", {"ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content"}),
    "openllmetry-old": ("openllmetry-old", ["openai", "opentelemetry-instrumentation-openai==0.40.14"],
                        "openllmetry_openai", {}),
    "openinference": ("openinference", [OPENAI, "openinference-instrumentation-openai==0.1.66"], "openinference", {}),
    "pydantic-ai": ("pydantic-ai", ["pydantic-ai-slim[openai]==2.68.0"], "pydantic_ai", {}),
    "langchain": ("langchain", ["langchain==1.5.2", "langchain-openai==1.7.4",
                                "opentelemetry-instrumentation-langchain==0.62.4"], "langchain", {}),
    "ai-sdk": ("ai-sdk", [NODE_SDK, "ai@7.0.173", "@ai-sdk/otel@1.0.173", "@ai-sdk/openai@4.0.118"], "aiSdk", {}),
    "js-openai": ("js-openai", [NODE_SDK, "@opentelemetry/instrumentation-openai@0.22.0", "openai@6.49.0"], "openai",
                  {CONTENT: "true", **ONE_REQUEST}),
}
SCENARIOS = ["plain", "stream", "tools"]
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PROMPT = "Be brief."
QUESTION, ANSWER, RESULT = "Wie heißt \"das\"?\n🌍", ["Ja 🌍 ", "so."], "18.50 °C"
ARGUMENTS = {"city": "Köln"}


class Provider(BaseHTTPRequestHandler):
    """Responds like OpenAI and Anthropic. The response to the first call with tools is a tool call."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        has_result = "tool_call_id" in json.dumps(request) or "tool_result" in json.dumps(request)
        calls = bool(request.get("tools")) and not has_result
        is_openai = self.path.endswith("/chat/completions")
        body = (openai_answer if is_openai else anthropic_answer)(request.get("stream"), calls)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if request.get("stream") else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def openai_answer(stream, calls):
    head = {"id": "chatcmpl-1", "created": 1795305600, "model": "stand-in-1", "system_fingerprint": "fp_1"}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17,
             "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}
    reason = "tool_calls" if calls else "stop"
    if not stream:
        message = {"role": "assistant", "content": None if calls else "".join(ANSWER)}
        message |= {"tool_calls": [call]} if calls else {}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return json.dumps(head | {"object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    deltas = [{"tool_calls": [call | {"index": 0}]}] if calls else [{"content": text} for text in ANSWER]
    chunks = [{"delta": {"role": "assistant"} | delta, "finish_reason": None} for delta in deltas]
    chunks.append({"delta": {}, "finish_reason": reason})
    events = [{"choices": [{"index": 0} | chunk]} for chunk in chunks] + [{"choices": [], "usage": usage}]
    lines = [json.dumps(head | {"object": "chat.completion.chunk"} | event) for event in events]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def anthropic_answer(stream, calls):
    usage = {"input_tokens": 9, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 5}
    block = {"type": "tool_use", "id": "call_1", "name": "weather", "input": ARGUMENTS} if calls else {
        "type": "text", "text": "".join(ANSWER)}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "stand-in-1", "content": [block],
               "stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None, "usage": usage}
    if not stream:
        return json.dumps(message).encode()
    start = {"type": "message_start", "message": message | {"content": [], "stop_reason": None,
                                                           "usage": usage | {"output_tokens": 1}}}
    delta = {"type": "input_json_delta", "partial_json": json.dumps(ARGUMENTS)} if calls else {
        "type": "text_delta", "text": "".join(ANSWER)}
    empty = block | ({"input": {}} if calls else {"text": ""})
    events = [start, {"type": "content_block_start", "index": 0, "content_block": empty},
              {"type": "content_block_delta", "index": 0, "delta": delta}, {"type": "content_block_stop", "index": 0},
              {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
               "usage": usage}, {"type": "message_stop"}]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


class Receiver(BaseHTTPRequestHandler):
    """Keeps the bodies that an exporter sends."""

    protocol_version = "HTTP/1.1"
    bodies: list = []

    def do_POST(self):
        body = self.body()
        self.bodies.append((self.path.rpartition("/")[2], body))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def body(self):
        """Reads a body of known length, or a chunked one, as Node sends it."""
        if length := self.headers["content-length"]:
            return self.rfile.read(int(length))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *_):
        pass


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def python_command(environment, packages, program):
    """Returns the command for a program in an environment with the SDK and these packages. Creates the environment once."""
    folder = ENVIRONMENTS / environment
    python = folder / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *SDK, *packages], check=True)
    return [python, HERE / program]


def node_command(environment, packages, program):
    """Returns the command for a program in an environment with these packages. Creates the environment once."""
    folder = ENVIRONMENTS / environment
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", *packages]
        subprocess.run(npm, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return ["node", shutil.copy(HERE / program, folder)]  # Node looks for packages next to the program


def command_of(name):
    environment, packages, *_ = CASES[name]
    if packages[0] == NODE_SDK:
        return node_command(environment, packages, "programs.cjs")
    return python_command(environment, packages, "programs.py")


def run(name, scenario, provider, endpoint, **more):
    """Runs a case's program, which exports to `endpoint`."""
    *_, program, variables = CASES[name]
    texts = {"prompt": PROMPT, "question": QUESTION, "result": RESULT, "tool": TOOL}
    env = {"PATH": os.environ["PATH"], "PROVIDER": provider, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
           "OTEL_METRICS_EXPORTER": "none", "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k",
           "OPENAI_BASE_URL": f"{provider}/v1", "ANTHROPIC_BASE_URL": provider, "TEXTS": json.dumps(texts)}
    subprocess.run([*command_of(name), program, scenario], check=True, env=env | variables | more, timeout=120)


def record(name, provider, receiver):
    for scenario in SCENARIOS:
        Receiver.bodies.clear()
        run(name, scenario, provider, receiver)
        for signal in ("traces", "logs"):
            bodies = [body for path, body in Receiver.bodies if path == signal]
            for number, body in enumerate(bodies):
                suffix = f"-{number + 1}" if number else ""
                (HERE / f"{name}-{scenario}{suffix}.{signal}.binpb").write_bytes(body)
        print(name, scenario, [(path, len(body)) for path, body in Receiver.bodies], flush=True)


if __name__ == "__main__":
    provider, receiver = serve(Provider), serve(Receiver)
    for case in sys.argv[1:] or CASES:
        record(case, provider, receiver)
