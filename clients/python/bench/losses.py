"""Counts the calls that three loggers lose under the same faults: this package, LiteLLM's S3 logger and OpenTelemetry's exporter.

    ATTEST=target/debug/attest python bench/losses.py [TRACES]

Each logs TRACES calls (400 by default) in every scenario. The package logs to `attest serve`, and LiteLLM's `s3_v2` logger to its
S3. OpenTelemetry's `BatchSpanProcessor` with the OTLP/HTTP exporter logs to a stand-in for a collector. After the fault, another
process of the same logger starts, makes no call, and lives for 15 s. That is longer than the 10 s after which LiteLLM's logger
sends, and the 5 s of OpenTelemetry's exporter. "Goes on" keeps the first process alive for 15 s too.
Requires `litellm`, `boto3`, `opentelemetry-sdk` and `opentelemetry-exporter-otlp-proto-http`.
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
import asyncio, attest_client
async def log(number):
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
async def log(number):
    await litellm.acompletion(model="gpt-4o", messages=[{"role": "user", "content": str(number)}], mock_response="a")
"""

OTEL_LOGGER = """
import os
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["COLLECTOR"])))
tracer = provider.get_tracer("losses")
import asyncio
async def log(number):
    with tracer.start_as_current_span("chat m") as span:
        span.set_attribute("number", number)
"""

CALLS = "for number in range(1, COUNT + 1): await log(number)"
SCENARIOS = {
    "no fault, the process goes on": f"{CALLS}\n    await asyncio.sleep(15)",
    "the program ends after the last call": CALLS,
    "SIGKILL one second after the last call": f"{CALLS}\n    await asyncio.sleep(1)\n    os.kill(os.getpid(), 9)",
    "os._exit one second after the last call": f"{CALLS}\n    await asyncio.sleep(1)\n    os._exit(0)",
    "endpoint down for the process's life": f"{CALLS}\n    await asyncio.sleep(15)",
}
FORK = """
import asyncio
async def first(): await log(1)
asyncio.run(first())
if os.fork() == 0:
    async def main():
        for number in range(2, COUNT + 1): await log(number)
        await asyncio.sleep(15)
    asyncio.run(main())
    os._exit(0)
os.wait()
"""


NEXT = {"attest-client": "attest_client.flush(0)", "LiteLLM s3_v2": "", "OpenTelemetry batch": ""}
"""The program of the next process, which adopts the traces that the first one left."""


class Collector:
    """Counts the spans that arrive over OTLP/HTTP. Closes every connection unless `is_up`."""

    def __init__(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        from stand_ins import Server

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
    from stand_ins import Endpoint

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    loggers = {"attest-client": ATTEST_LOGGER, "LiteLLM s3_v2": LITELLM_LOGGER, "OpenTelemetry batch": OTEL_LOGGER}
    print(f"losses of {count} calls")
    print(f"{'':40}" + "".join(f"{name:>22}" for name in loggers))
    scenarios = {name: f"async def main():\n    {program}\nasyncio.run(main())" for name, program in SCENARIOS.items()}
    for scenario, program in {**scenarios, "calls in a child after a fork": FORK}.items():
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
                "S3": endpoint.s3.url,
                "COLLECTOR": f"{collector.url}/v1/traces",
                "AWS_ACCESS_KEY_ID": endpoint.s3.access_key,
                "AWS_SECRET_ACCESS_KEY": endpoint.s3.secret_key,
            }
            if is_down:
                endpoint.kill()
                collector.is_up = False
            run(f"COUNT = {count}\n{logger}\n{program}", variables)
            if is_down:
                endpoint.start()
                collector.is_up = True
            run(f"{logger}\n{NEXT[name]}\nimport time; time.sleep(15)", variables)
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
