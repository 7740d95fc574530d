"""Kills the local endpoint ten times while the standard SDK exports 5,000 spans.

    ATTEST=target/debug/attest PYTHON crates/otlp/recordings/kills.py

PYTHON has opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http. Every span of a batch that the exporter reports as
exported must be stored, once and whole. The exporter may drop the other batches, and reports them.
"""

import json
import pathlib
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / ".ci"))

import endpoint
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

SPANS, BATCH, KILLS, KEY = 5_000, 50, 10, "kills"


class Endpoint:
    """An endpoint that is started again on the same port after it was killed."""

    def __init__(self, folder):
        self.folder = folder
        self.process, self.url, _ = endpoint.start(folder, KEY)
        self.port = self.url.rsplit(":", 1)[1].split("/")[0]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process, *_ = endpoint.start(self.folder, KEY, port=self.port)


class Watched(SpanExporter):
    """An exporter that remembers which spans it exported, and kills the endpoint during some batches."""

    def __init__(self, exporter, victim):
        self.exporter, self.victim = exporter, victim
        self.exported, self.dropped, self.batches, self.kills = [], [], 0, 0

    def export(self, spans):
        self.batches += 1
        killer = None
        if self.kills < KILLS and self.batches % (SPANS // BATCH // KILLS) == 1:
            self.kills += 1
            killer = threading.Thread(target=self.victim.kill)
            killer.start()
        result = self.exporter.export(spans)
        (self.exported if result is SpanExportResult.SUCCESS else self.dropped).extend(spans)
        if killer:
            killer.join()
        return result

    def shutdown(self):
        self.exporter.shutdown()


def id_of(span):
    return f"{span.context.trace_id:032x}-{span.context.span_id:016x}"


def main(folder):
    victim = Endpoint(folder)
    exporter = Watched(OTLPSpanExporter(f"{victim.url}/v1/traces", headers={"x-api-key": KEY}), victim)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2 * SPANS, max_export_batch_size=BATCH))
    for number in range(SPANS):
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": f"call {number}"}
        provider.get_tracer("kills").start_span("chat m", attributes=attributes).end()
    provider.force_flush(600_000)
    provider.shutdown()
    victim.process.terminate()
    victim.process.wait()

    stored = endpoint.traces(folder)
    by_id = {trace["id"]: trace for trace in stored}
    print(f"{len(exporter.exported)} exported, {len(exporter.dropped)} reported as dropped, {len(stored)} stored, {exporter.kills} kills")
    assert exporter.kills == KILLS
    assert len(exporter.exported) + len(exporter.dropped) == SPANS
    assert len(exporter.exported) > SPANS // 2, "the exporter dropped most spans"
    assert len(by_id) == len(stored), "an id is stored twice"
    sent = {id_of(span): span for span in [*exporter.exported, *exporter.dropped]}
    assert by_id.keys() <= sent.keys(), "an id is not that of a span"
    missing = [id_of(span) for span in exporter.exported if id_of(span) not in by_id]
    assert not missing, f"{len(missing)} exported spans are not stored"
    for key, trace in by_id.items():
        assert trace["messages"] == [{"role": "user", "content": sent[key].attributes["gen_ai.input.messages"]}], trace


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(f"{folder}/traces")  # the name of a bucket, which a temporary name may not be
