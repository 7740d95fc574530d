/**
 * Measures the overhead of logging for a call: a chat completion with 10 KB of text.
 *
 *     npm install --no-save langsmith @langfuse/openai @langfuse/otel @opentelemetry/sdk-node
 *     ATTEST=../../target/debug/attest node bench/overhead.mjs [CALLS]
 *
 * Stand-ins in another process replace the provider and the service of LangSmith and Langfuse, and respond immediately. This package
 * sends to `attest serve`. The variants alternate in random order, so noise affects all of them. CPU is the time of the whole process
 * during the call, which other processes hardly influence. A variant whose package is not installed is skipped.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { startEndpoint } from "./endpoint.mjs";

const CALLS = Number(process.argv[2] ?? 1_000);
const WARM_UP = 100;
const children = [];

/** Starts a process and returns the first match in its output. */
async function start(command, options, pattern) {
  const child = spawn(command, options, { stdio: ["ignore", "pipe", "ignore"] });
  children.push(child);
  for await (const line of createInterface(child.stdout)) {
    const found = pattern.exec(line);
    if (found) {
      child.stdout.resume();
      return found[1];
    }
  }
  throw new Error(`${command} did not start`);
}

const STAND_IN = `
  const body = JSON.stringify({ id: "c", object: "chat.completion", created: 1, model: "gpt-4o", choices: [{ index: 0,
    message: { role: "assistant", content: "x".repeat(5000) }, finish_reason: "stop" }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } });
  const server = require("node:http").createServer((request, response) => request.resume().on("end", () => {
    response.setHeader("content-type", "application/json").end(request.url.includes("completions") ? body : "{}");
  }));
  server.listen(0, "127.0.0.1", () => console.log("http://127.0.0.1:" + server.address().port));`;
const provider = await start(process.execPath, ["-e", STAND_IN], /(http:.*)/);
const service = await start(process.execPath, ["-e", STAND_IN], /(http:.*)/);
const folder = mkdtempSync(join(tmpdir(), "overhead-"));
const endpoint = await startEndpoint(join(folder, "traces"));
children.push(endpoint.child);

Object.assign(process.env, {
  ATTEST_URL: endpoint.url,
  ATTEST_API_KEY: "key",
  ATTEST_SPOOL: join(folder, "spool"),
  LANGSMITH_TRACING: "true",
  LANGSMITH_ENDPOINT: service,
  LANGSMITH_API_KEY: "x",
  LANGFUSE_BASE_URL: service,
  LANGFUSE_PUBLIC_KEY: "x",
  LANGFUSE_SECRET_KEY: "x",
});

const { default: OpenAI } = await import("openai");
const { counters, flush, loggedFetch } = await import("attest-client");
const options = { baseURL: provider, apiKey: "sk" };
const clients = { "without logging": new OpenAI(options), "attest-client": new OpenAI({ ...options, fetch: loggedFetch() }) };
const optional = {
  langsmith: async () => (await import("langsmith/wrappers")).wrapOpenAI(new OpenAI(options)),
  langfuse: async () => {
    const { NodeSDK } = await import("@opentelemetry/sdk-node");
    const { LangfuseSpanProcessor } = await import("@langfuse/otel");
    new NodeSDK({ spanProcessors: [new LangfuseSpanProcessor()] }).start();
    return (await import("@langfuse/openai")).observeOpenAI(new OpenAI(options));
  },
};
for (const [name, create] of Object.entries(optional)) {
  try {
    clients[name] = await create();
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
  }
}

const messages = [{ role: "user", content: "y".repeat(5_000) }];
const times = Object.fromEntries(Object.keys(clients).map((name) => [name, []]));
for (let turn = 0; turn < CALLS + WARM_UP; turn++) {
  const order = Object.entries(clients).map((entry) => [Math.random(), ...entry]).sort(([one], [other]) => one - other);
  for (const [, name, client] of order) {
    const begin = performance.now();
    const cpu = process.cpuUsage();
    await client.chat.completions.create({ model: "gpt-4o", messages });
    const wall = performance.now() - begin;
    const { user, system } = process.cpuUsage(cpu);
    if (turn >= WARM_UP) times[name].push([wall, (user + system) / 1_000]);
  }
}
assert.ok(await flush({ timeout: 120_000 }));
assert.equal(counters().stored, CALLS + WARM_UP);

const at = (values, share) => values.toSorted((one, other) => one - other)[Math.floor(values.length * share)];
const figures = (name) => [at(times[name].map(([wall]) => wall), 0.5), at(times[name].map(([wall]) => wall), 0.99), at(times[name].map(([, cpu]) => cpu), 0.5)];
const base = figures("without logging");
console.log(`${CALLS} calls of 10 KB each, ${availableParallelism()} CPUs; milliseconds, and ratio to the call without logging`);
console.log(["", "median", "p99", "CPU", "added", "CPU added"].map((title, place) => (place ? title.padStart(16) : title.padEnd(18))).join(""));
for (const name of Object.keys(clients)) {
  const here = figures(name);
  const columns = here.map((value, place) => `${value.toFixed(3)} ${(value / base[place]).toFixed(2)}`);
  const added = [here[0] - base[0], here[2] - base[2]].map((value) => value.toFixed(3));
  console.log(name.padEnd(18) + [...columns, ...added].map((column) => column.padStart(16)).join(""));
}
for (const child of children) child.kill();
process.exit();
