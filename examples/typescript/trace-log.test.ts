/** The recipe against the local endpoint, with the real `openai` client and a stand-in for its server. */

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { text } from "node:stream/consumers";
import OpenAI from "openai";

type Json = Record<string, any>;

const TRACES = process.env.TRACES ?? "";
const TOOL_CALL = { id: "call_1", type: "function", function: { name: "f", arguments: "{}" } };

/** The program `traces serve` with a folder of its own, on a port that the first start chooses. */
class Endpoint {
  readonly home = mkdtempSync(join(tmpdir(), "recipe-"));
  readonly undelivered = join(this.home, "undelivered.jsonl");
  url = "";
  private port = "0";
  private process?: ChildProcess;

  async start(): Promise<this> {
    const folder = join(this.home, "traces");
    const env = { ...process.env, API_KEY: "recipe" };
    const stdio = ["ignore", "pipe", "ignore"] as const;
    this.process = spawn(TRACES, ["serve", "--port", this.port, "--s3-port", "0", "--folder", folder], { env, stdio: [...stdio] });
    for await (const line of createInterface(this.process.stdout!)) {
      const url = /^Listening on (\S+?)\. /.exec(line)?.[1];
      if (url) [this.url, this.port] = [url, new URL(url).port];
      if (line.startsWith("Ctrl-C")) return this;
    }
    throw new Error("the endpoint did not start");
  }

  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.process?.once("exit", resolve));
    this.process?.kill("SIGKILL");
    await ended;
  }

  /** Every trace that is stored, in the order of their creation. */
  traces(): Json[] {
    const files = readdirSync(this.home, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const stored = files.filter((file) => /traces\/[^~]/.test(`${file.parentPath}/`) && !file.name.startsWith("~"));
    const traces = stored.map((file) => JSON.parse(readFileSync(join(file.parentPath, file.name), "utf8")));
    return traces.sort((one, other) => one.created - other.created);
  }

  /** What the recipe reads from its environment; it is imported anew. */
  async recipe(url = this.url): Promise<typeof import("./trace-log.js")> {
    Object.assign(process.env, { API_URL: url, API_KEY: "recipe", UNDELIVERED: this.undelivered });
    return await import(`./trace-log.js?${recipes++}`);
  }
}
let recipes = 0;
process.setMaxListeners(0); // each recipe listens for the exit

async function endpoint(): Promise<Endpoint> {
  const endpoint = await new Endpoint().start();
  after(async () => {
    await endpoint.kill();
    rmSync(endpoint.home, { recursive: true });
  });
  return endpoint;
}

/** An HTTP server that answers with what `respond` makes of a request. */
async function serve(respond: (request: IncomingMessage, body: Json) => [number, Json, string]): Promise<string> {
  const server = createServer(async (request, response) => {
    const [status, headers, body] = respond(request, JSON.parse(await text(request)));
    response.writeHead(status, headers).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** OpenAI's server: a fixed answer, whole or as events. */
function provider(_: IncomingMessage, request: Json): [number, Json, string] {
  const head = { id: "chatcmpl-1", created: 7, model: "gpt-4o-2024-08-06", system_fingerprint: "fp_1" };
  const usage = { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11, new_detail: { a: 1 } };
  if (!request.stream) {
    const message = { role: "assistant", content: null, tool_calls: [TOOL_CALL] };
    const choices = [{ index: 0, message, logprobs: null, finish_reason: "tool_calls" }];
    const body = { ...head, object: "chat.completion", choices, usage };
    return [200, { "content-type": "application/json" }, JSON.stringify(body)];
  }
  const deltas = [{ role: "assistant", content: "Grü" }, { content: "ße" }, {}];
  const chunks: Json[] = deltas.map((delta, place) => ({ choices: [{ index: 0, delta, finish_reason: place === 2 ? "stop" : null }] }));
  const events = [...chunks, { choices: [], usage }].map((chunk) => ({ ...head, object: "chat.completion.chunk", ...chunk }));
  const stream = [...events.map((event) => JSON.stringify(event)), "[DONE]"].map((event) => `data: ${event}\n\n`).join("");
  return [200, { "content-type": "text/event-stream" }, stream];
}

test("every case of the mapping", async () => {
  const { toTrace } = await (await endpoint()).recipe();
  for (const { what, from, line, trace: expected } of JSON.parse(readFileSync("../mapping.json", "utf8"))) {
    if (from !== "openai") continue;
    const { messages, ...rest } = line;
    const trace = line.response ? toTrace(line.request, line.response) : toTrace({ messages }, rest);
    delete trace.id;
    assert.deepEqual(trace, expected, what);
  }
});

test("a call is stored whole", async () => {
  const stored = await endpoint();
  const { logTrace, flush } = await stored.recipe();
  const client = new OpenAI({ baseURL: await serve(provider), apiKey: "sk" });
  const messages: OpenAI.ChatCompletionMessageParam[] = [
    { role: "developer", content: "Kurz." },
    { role: "user", content: [{ type: "text", text: "Hi" }] },
    { role: "tool", tool_call_id: "call_0", content: "42" },
  ];
  const request = { model: "gpt-4o", messages, temperature: 0.5 };
  logTrace(request, await client.chat.completions.create(request), { user: "u-1" });
  await flush();
  const [trace, ...others] = stored.traces();
  assert.equal(others.length, 0);
  assert.deepEqual(trace.messages.map((message: Json) => message.role), ["system", "user", "user", "assistant"]);
  assert.deepEqual(trace.messages[1].original.content, messages[1].content);
  assert.deepEqual(trace.messages[3].tool_calls, [TOOL_CALL]);
  assert.deepEqual(trace.messages[3].original, { role: "assistant", content: null });
  assert.equal(trace.choices["0"].finish_reason, "tool_calls");
  assert.deepEqual(trace.usage.new_detail, { a: 1 });
  assert.deepEqual(trace.request, { model: "gpt-4o", temperature: 0.5 });
  assert.equal(trace.response.id, "chatcmpl-1");
  assert.equal(trace.system_fingerprint, "fp_1");
  assert.deepEqual(trace.log, { user: "u-1" });
});

test("a stream is put together", async () => {
  const stored = await endpoint();
  const { logTrace, flush } = await stored.recipe();
  const client = new OpenAI({ baseURL: await serve(provider), apiKey: "sk" });
  const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: "Hi" }];
  const request = { model: "gpt-4o", messages, stream: true as const, stream_options: { include_usage: true } };
  const stream = client.chat.completions.stream(request);
  logTrace(request, await stream.finalChatCompletion());
  await flush();
  const [trace] = stored.traces();
  assert.equal(trace.messages[1].content, "Grüße");
  assert.equal(trace.usage.total_tokens, 11);
});

test("a thousand traces while the endpoint is killed and started again", async () => {
  const stored = await endpoint();
  const { logTrace, flush } = await stored.recipe();
  for (let first = 1; first < 1000; first += 200) {
    const before = stored.traces().length;
    for (let created = first; created < first + 200; created++) logTrace({ model: "m", messages: [] }, { created });
    while (stored.traces().length < before + 20) await new Promise(setImmediate);
    await stored.kill();
    await stored.start();
  }
  await flush();
  assert.deepEqual(stored.traces().map((trace) => trace.created), [...Array(1000).keys()].map((n) => n + 1));
  assert.ok(!existsSync(stored.undelivered));
});

test("what a status asks for is done", async () => {
  const stored = await endpoint();
  const answers: [number, Json][] = [[429, { "retry-after": "1" }], [503, {}], [502, {}], [504, {}], [201, {}]];
  const came: { at: number; id: string; headers: Json }[] = [];
  const url = await serve((request, { id }) => {
    came.push({ at: performance.now(), id, headers: request.headers });
    return [...answers[came.length - 1]!, ""];
  });
  const { logTrace, flush } = await stored.recipe(url);
  logTrace({ model: "m" });
  await flush();
  assert.equal(came.length, 5);
  for (const { headers } of came) {
    assert.equal(headers["idempotency-key"], came[0]!.id);
    assert.equal(headers["x-api-key"], "recipe");
  }
  assert.ok(came[1]!.at - came[0]!.at >= 1000, "Retry-After is waited for");
  assert.ok(!existsSync(stored.undelivered));
});

for (const status of [400, 403, 409, 413, 500]) {
  test(`${status} is not retried, and import takes the file`, async () => {
    const stored = await endpoint();
    const came: Json[] = [];
    const { logTrace, flush } = await stored.recipe(await serve((_, trace) => [came.push(trace) && status, {}, ""]));
    logTrace({ model: "m" }, { created: 3 });
    await flush();
    assert.equal(came.length, 1);
    imported(stored);
    assert.deepEqual(stored.traces(), [{ ...came[0], object: "chat.trace", system_fingerprint: "m" }]);
  });
}

test("a process that ends while nobody answers leaves the file", async () => {
  const stored = await endpoint();
  await stored.recipe();
  await stored.kill();
  const program = `const { logTrace } = await import("./trace-log.ts");
    for (let created = 1; created <= 1200; created++) logTrace({ model: "m", messages: [] }, { created });`;
  execFileSync("node", ["--import", "tsx", "--input-type=module", "--eval", program], { stdio: "ignore" });
  await stored.start();
  imported(stored);
  assert.deepEqual(stored.traces().map((trace) => trace.created), [...Array(1200).keys()].map((n) => n + 1));
});

function imported(endpoint: Endpoint): void {
  const env = { ...process.env, API_KEY: "recipe" };
  execFileSync(TRACES, ["import", endpoint.undelivered, "--url", endpoint.url, "--quiet"], { env });
}
