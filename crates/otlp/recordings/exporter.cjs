// Exports spans with the JavaScript SDK for `kills.py`: `exporter.cjs URL API_KEY SPANS BATCH`.
//
// Prints `begins` before each batch. After it, prints `exported` or `dropped`, and ID=NUMBER for each of its spans.

const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const { BatchSpanProcessor, TracerProvider } = require("@opentelemetry/sdk-trace");

const INPUT = "gen_ai.input.messages";
const [url, key, count, batch] = process.argv.slice(2);
let reported = 0;

const idOf = (span) => {
  const { traceId, spanId } = span.spanContext();
  return `${traceId}-${spanId}=${span.attributes[INPUT].split(" ")[1]}`;
};

const exporter = new OTLPTraceExporter({ url, headers: { "x-api-key": key } });
const reporting = {
  export(spans, done) {
    console.log("begins");
    exporter.export(spans, (result) => {
      console.log(result.code === 0 ? "exported" : "dropped", ...spans.map(idOf));
      done(result);
      reported += spans.length;
      // A flush would export all batches at once, which the exporter rejects.
      // So the processor empties its queue by itself before this shutdown.
      if (reported === Number(count)) provider.shutdown();
    });
  },
  forceFlush: () => exporter.forceFlush(),
  shutdown: () => exporter.shutdown(),
};

const processor = new BatchSpanProcessor({ exporter: reporting, maxQueueSize: 2 * count, maxExportBatchSize: Number(batch) });
const provider = new TracerProvider({ spanProcessors: [processor] });
for (let number = 0; number < count; number++) {
  const attributes = { "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", [INPUT]: `call ${number}` };
  provider.getTracer("kills").startSpan("chat m", { attributes }).end();
}
