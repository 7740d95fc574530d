"""Counts what three loggers lose under the same faults: this package, LiteLLM's S3 logger and OpenTelemetry's batch exporter.

    ATTEST=target/debug/attest python bench/losses.py [TRACES]

Each logs TRACES calls (400 by default) to `attest serve` in every scenario: the package to the endpoint, LiteLLM's `s3_v2` logger to
the endpoint's S3, and OpenTelemetry's `BatchSpanProcessor` with the OTLP/HTTP exporter to `/v1/traces`, or to a stand-in for a
collector if the endpoint has none. After the fault, a fresh process of the same logger starts and ends, as an application would.
Needs `litellm`, `boto3`, `opentelemetry-sdk` and `opentelemetry-exporter-otlp-proto-http`.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

ATTEST_LOGGER = """
import attest_client
def log(number):
    attest_client.log_trace({"model": "m", "messages": [{"role": "user", "content": str(number)}]}, {"created": number})
"""

LITELLM_LOGGER = """
import os, asyncio
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
litellm.suppress_debug_info = True
litellm.s3_callback_params = {
    "s3_bucket_name": "traces", "s3_region_name": "us-east-1", "s3_endpoint_url": os.environ["S3"],
    "s3_aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"], "s3_aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    "s3_path": "litellm",
}
litellm.callbacks = ["s3_v2"]
def log(number):
    litellm.completion(model="gpt-4o", messages=[{"role": "user", "content": str(number)}], mock_response="a")
"""

OTEL_LOGGER = """
import os
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["COLLECTOR"])))
tracer = provider.get_tracer("losses")
def log(number):
    with tracer.start_as_current_span("chat m") as span:
        span.set_attribute("number", number)
"""

SCENARIOS = {
    "no fault": "for number in range(1, COUNT + 1): log(number)",
    "SIGKILL after the last call": "for number in range(1, COUNT + 1): log(number)\nos.kill(os.getpid(), 9)",
    "os._exit after the last call": "for number in range(1, COUNT + 1): log(number)\nos._exit(0)",
    "calls in a forked child": (
        "log(1)\npid = os.fork()\nif pid == 0:\n    for number in range(2, COUNT + 1): log(number)\n    os._exit(0)\nos.waitpid(pid, 0)"
    ),
    "endpoint down until the process ended": "for number in range(1, COUNT + 1): log(number)",
}


class Collector:
    """Counts the spans that arrive over OTLP/HTTP. Down until `start`, if it must be."""

    def __init__(self):
        from conftest import Server
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.numbers = set()
        self.is_up = True

        def respond(_, headers, body):
            if not self.is_up:
                return lambda handler: handler.connection.close()
            import gzip

            body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.numbers |= {item.value.int_value for item in span.attributes if item.key == "number"}
            return 200, {"content-type": "application/x-protobuf"}, b""

        self._server = Server(respond)
        self.url = self._server.__enter__().url


def run(program, variables):
    command = [sys.executable, "-c", "import os\n" + program]
    return subprocess.run(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)


def main():
    import attest_client  # noqa: F401  the package must be installed
    from conftest import Endpoint

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    loggers = {"attest-client": ATTEST_LOGGER, "LiteLLM s3_v2": LITELLM_LOGGER, "OpenTelemetry batch": OTEL_LOGGER}
    print(f"losses of {count} calls")
    print(f"{'':40}" + "".join(f"{name:>22}" for name in loggers))
    for scenario, program in SCENARIOS.items():
        is_down = "down" in scenario
        lost = []
        for name, logger in loggers.items():
            folder = pathlib.Path(tempfile.mkdtemp())
            endpoint, collector = Endpoint(folder / "traces"), Collector()
            variables = {
                **os.environ,
                "ATTEST_URL": endpoint.url,
                "ATTEST_API_KEY": "recipe",
                "ATTEST_SPOOL": str(folder / "spool"),
                "S3": endpoint.s3,
                "COLLECTOR": f"{collector.url}/v1/traces",
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
            }
            if is_down:
                endpoint.kill()
                collector.is_up = False
            run(f"COUNT = {count}\n{logger}\n{program}", variables)
            if is_down:
                endpoint.start()
                collector.is_up = True
            ending = "import attest_client; attest_client.flush(60)" if "attest" in name else "import time; time.sleep(3)"
            run(f"{logger}\nif 1:\n    {ending}", variables)
            if "OpenTelemetry" in name:
                arrived = len(collector.numbers)
            elif "LiteLLM" in name:
                arrived = sum(1 for path in endpoint.paths() if "litellm" in path.parts)
            else:
                arrived = len({trace["created"] for trace in endpoint.traces()})
            lost.append(count - arrived)
            endpoint.kill()
        print(f"{scenario:40}" + "".join(f"{number:>22}" for number in lost), flush=True)


if __name__ == "__main__":
    start = time.monotonic()
    main()
    print(f"in {time.monotonic() - start:.0f} s")
