"""Exports spans with the Python SDK for `kills.py`: `exporter.py URL API_KEY SPANS BATCH`.

Prints `begins` before each batch. After it, prints `exported` or `dropped`, and ID=NUMBER for each of its spans.
"""

import sys

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

INPUT = "gen_ai.input.messages"


class Reported(SpanExporter):
    """An exporter that reports what the real one returned for each batch."""

    def __init__(self, exporter):
        self.exporter = exporter

    def export(self, spans):
        print("begins", flush=True)
        result = self.exporter.export(spans)
        ids = [f"{span.context.trace_id:032x}-{span.context.span_id:016x}={span.attributes[INPUT].split()[1]}" for span in spans]
        print("exported" if result is SpanExportResult.SUCCESS else "dropped", *ids, flush=True)
        return result

    def shutdown(self):
        self.exporter.shutdown()


if __name__ == "__main__":
    url, key, count, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    exporter = Reported(OTLPSpanExporter(url, headers={"x-api-key": key}))
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2 * count, max_export_batch_size=batch))
    for number in range(count):
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", INPUT: f"call {number}"}
        provider.get_tracer("kills").start_span("chat m", attributes=attributes).end()
    provider.force_flush(600_000)
    provider.shutdown()
