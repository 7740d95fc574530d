/**
 * Counts the calls that two loggers lose under the same faults: this package, and OpenTelemetry's batch processor with its OTLP exporter.
 *
 *     npm install --no-save @opentelemetry/sdk-trace-node @opentelemetry/exporter-trace-otlp-http
 *     ATTEST=../../target/debug/attest node bench/losses.mjs [CALLS]
 *
 * Each logs CALLS calls (400 by default) in every scenario. This package logs to `attest serve`, and OpenTelemetry to a stand-in for a
 * collector. After the fault, another process of the same logger logs one call and lives for 15 s. That is longer than the 5 s after
 * which OpenTelemetry sends. "Goes on" keeps the first process alive for 15 s too.
 */

import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { startEndpoint, storedTraces } from "./endpoint.mjs";

const CALLS = Number(process.argv[2] ?? 400);
const HERE = fileURLToPath(new URL(".", import.meta.url)); // programs resolve the packages from here

const LOGGERS = {
  "attest-client": `
    import { logTrace } from "attest-client";
    const log = (number) => logTrace({ model: "m", messages: [{ role: "user", content: String(number) }] }, { created: number });`,
  "OpenTelemetry batch": `
    import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
    import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
    const exporter = new OTLPTraceExporter({ url: process.env.COLLECTOR });
    const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(exporter)] });
    const tracer = provider.getTracer("losses");
    const log = (number) => tracer.startSpan("chat m", { attributes: { number } }).end();`,
};
const PAUSE = "await new Promise((resolve) => setTimeout(resolve";
const SCENARIOS = {
  "no fault, the process goes on": `${PAUSE}, 15_000));`,
  "the program ends after the last call": "",
  "process.exit one second after the last call": `${PAUSE}, 1_000)); process.exit();`,
  "an exception one second after the last call": `${PAUSE}, 1_000)); throw new Error();`,
  "SIGKILL one second after the last call": `${PAUSE}, 1_000)); process.kill(process.pid, "SIGKILL");`,
  "endpoint down for the process's life": `${PAUSE}, 15_000));`,
};

/** Runs a program to completion. */
function run(program, env) {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], { cwd: HERE, env: { ...process.env, ...env }, stdio: "ignore" });
  return new Promise((resolve) => child.on("exit", resolve));
}

async function startCollector() {
  const collector = { numbers: new Set(), isUp: true };
  const server = createServer(async (request, response) => {
    if (!collector.isUp) return request.socket.destroy();
    const { resourceSpans } = await json(request);
    const spans = resourceSpans.flatMap(({ scopeSpans }) => scopeSpans).flatMap(({ spans }) => spans);
    for (const { attributes } of spans) for (const { key, value } of attributes) if (key === "number") collector.numbers.add(Number(value.intValue));
    response.setHeader("content-type", "application/json").end("{}");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return Object.assign(collector, { server, url: `http://127.0.0.1:${server.address().port}/v1/traces` });
}

async function losses(scenario, logger) {
  const folder = mkdtempSync(join(tmpdir(), "losses-"));
  const traces = join(folder, "traces");
  const [started, collector] = [await startEndpoint(traces), await startCollector()];
  let { child } = started;
  const env = { ATTEST_URL: started.url, ATTEST_API_KEY: "key", ATTEST_SPOOL: join(folder, "spool"), COLLECTOR: collector.url };
  const isDown = scenario.includes("down");
  if (isDown) {
    await new Promise((resolve) => child.on("exit", resolve) && child.kill("SIGKILL"));
    collector.isUp = false;
  }
  await run(`${LOGGERS[logger]} for (let number = 1; number <= ${CALLS}; number++) log(number); ${SCENARIOS[scenario]}`, env);
  if (isDown) {
    ({ child } = await startEndpoint(traces, new URL(started.url).port));
    collector.isUp = true;
  }
  await run(`${LOGGERS[logger]} log(0); ${PAUSE}, 15_000));`, env);
  const stored = storedTraces(traces).map((trace) => trace.created);
  child.kill("SIGKILL");
  collector.server.close();
  collector.server.closeAllConnections();
  const arrived = new Set(logger === "attest-client" ? stored : collector.numbers);
  arrived.delete(0);
  return CALLS - arrived.size;
}

console.log(`losses of ${CALLS} calls`);
console.log("".padEnd(46) + Object.keys(LOGGERS).map((name) => name.padStart(22)).join(""));
for (const scenario of Object.keys(SCENARIOS)) {
  const lost = await Promise.all(Object.keys(LOGGERS).map((logger) => losses(scenario, logger)));
  console.log(scenario.padEnd(46) + lost.map((count) => String(count).padStart(22)).join(""));
}
