/** Tests that every kind of response is logged: streams with any `Content-Type`, bodies that are not JSON objects, background responses. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { counters, flush, loggedFetch, logTrace } from "attest-client";
import OpenAI from "openai";
import { CHAT, RESPONSES } from "./exchanges.js";
import { endpoint, type Json, serve } from "./support.js";

const attest = await endpoint();
Object.assign(process.env, attest.environment);

async function tracesOf(name: string): Promise<Json[]> {
  assert.ok(await flush({ timeout: 120_000 }));
  return attest.traces().filter(({ log }) => log?.test === name);
}

const chunk = (content: string, rest: Json = {}) => ({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta: { content }, ...rest }] });
const CHUNKS = [chunk("Blue "), chunk("whale", { finish_reason: "stop" })];
const WHOLE = JSON.stringify({ id: "c", object: "chat.completion", created: 1, model: "m", choices: [{ index: 0, message: { role: "assistant", content: "Blue whale" }, finish_reason: "stop" }] });
const STREAM = CHUNKS.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("");
const utf8 = (text: string) => new TextEncoder().encode(text);

const ANSWERS: Record<string, [label: string | undefined, isAsked: boolean, body: Uint8Array]> = {
  "a stream labelled as text": ["text/plain", true, utf8(STREAM)],
  "a stream labelled as JSON": ["application/json", true, utf8(STREAM)],
  "a stream in another case": ["Text/Event-Stream; charset=utf-8", false, utf8(STREAM)],
  "a stream without a label": [undefined, true, utf8(STREAM)],
  "a stream that was not asked for": [undefined, false, utf8(STREAM)],
  "lines of JSON": ["application/x-ndjson", true, utf8(CHUNKS.map((chunk) => `${JSON.stringify(chunk)}\n`).join(""))],
  "one chunk as JSON": ["application/json", true, utf8(JSON.stringify(chunk("Blue whale", { finish_reason: "stop" })))],
  "JSON labelled as a stream": ["text/event-stream", true, utf8(WHOLE)],
  "JSON in UTF-16": ["application/json", false, Buffer.from(`\ufeff${WHOLE}`, "utf16le")],
  "JSON after a byte order mark": ["application/json", false, utf8(`\ufeff${WHOLE}`)],
};

/** Returns a response whose body arrives in pieces of `size` bytes. */
function response(body: Uint8Array, headers: Record<string, string>, size = 1_000_000): Response {
  let place = 0;
  const source = new ReadableStream({
    pull(controller) {
      if (place >= body.length) return controller.close();
      controller.enqueue(body.slice(place, (place += size)));
    },
  });
  return new Response(source, { headers });
}

for (const [name, [label, isAsked, body]] of Object.entries(ANSWERS)) {
  for (const size of [1, 1_000_000]) {
    test(`${name}, in pieces of ${size}, is read as what it is`, async (t) => {
      const fetch = loggedFetch({ extra: { test: t.name }, fetch: async () => response(body, label ? { "content-type": label } : {}, size) });
      const received = await fetch("http://h/v1/chat/completions", { method: "POST", body: JSON.stringify({ model: "m", stream: isAsked }) });
      assert.deepEqual(new Uint8Array(await received.arrayBuffer()), new Uint8Array(body));
      const [trace, ...others] = await tracesOf(t.name);
      assert.equal(others.length, 0);
      assert.deepEqual([trace!.messages.at(-1).content, trace!.incomplete, trace!.error], ["Blue whale", undefined, undefined]);
    });
  }
}

const UNPARSED: Record<string, [body: Uint8Array, logged: unknown, reason: string]> = {
  "a list": [utf8('[{"text": "Blue whale"}]'), [{ text: "Blue whale" }], "the body is not a JSON object"],
  "a text": [utf8("<p>Blue whale"), "<p>Blue whale", "the body is not JSON"],
  nothing: [utf8(""), "", "the body is not JSON"],
  bytes: [Uint8Array.of(0xff, 0xfd, 1), "//0B", "the body is not text"],
  "too many levels": [utf8("[".repeat(1_000) + "]".repeat(1_000)), "[".repeat(1_000) + "]".repeat(1_000), "the body is not JSON"],
};

for (const [name, [body, logged, reason]] of Object.entries(UNPARSED)) {
  for (const label of ["application/json", "text/event-stream"]) {
    test(`${name}, labelled ${label}, is logged as it arrived and counted`, async (t) => {
      const before = counters().unparsed;
      const url = await serve(() => [200, { "content-type": label }, Buffer.from(body)]);
      const received = await loggedFetch({ extra: { test: t.name } })(`${url}/v1/chat/completions`, { method: "POST", body: '{"model":"m"}' });
      assert.deepEqual(new Uint8Array(await received.arrayBuffer()), body);
      const [trace] = await tracesOf(t.name);
      if (name === "nothing" && label !== "application/json") {
        assert.equal(trace!.incomplete, "ended");
        return;
      }
      assert.deepEqual(trace!.error, { status: 200, body: logged, reason });
      assert.equal(counters().unparsed, before + 1);
    });
  }
}

test("a request that is no object is logged as its body", async (t) => {
  for (const [sent, body] of [["", ""], ["not JSON", "not JSON"], ["[1]", [1]], ['"a"', "a"], [Uint8Array.of(0xff, 0xfd), "//0="]] as const) {
    const name = `${t.name} ${body}`;
    const fetch = loggedFetch({ extra: { test: name }, fetch: async () => new Response(WHOLE) });
    await (await fetch("http://h/v1/chat/completions", { method: "POST", body: sent as any })).text();
    assert.deepEqual((await tracesOf(name))[0]!.request, { body });
  }
});

test("the answer of a background response is logged when it is retrieved", async (t) => {
  const states = ["queued", "in_progress", "completed", "completed"];
  const url = await listenJson(() => {
    const status = states.shift()!;
    return { ...(RESPONSES.response as Json), background: true, status, ...(status === "completed" ? {} : { output: [] }) };
  });
  const client = new OpenAI({ apiKey: "sk", baseURL: url, fetch: loggedFetch({ extra: { test: t.name } }) });
  let response: Json = await client.responses.create({ model: "gpt-5", input: "Hi", background: true });
  while (response.status !== "completed") response = await client.responses.retrieve(response.id);
  await client.responses.retrieve(response.id);
  const [queued, completed, ...others] = (await tracesOf(t.name)).sort((one, other) => one.messages.length - other.messages.length);
  assert.equal(others.length, 0);
  assert.deepEqual([queued!.incomplete, queued!.response.status], ["background", "queued"]);
  assert.deepEqual(completed!.messages.map(({ content }: Json) => content), ["Hi", "Sunny."]);
  assert.equal(completed!.incomplete, undefined);
});

async function listenJson(answer: () => Json): Promise<string> {
  return await serve(() => [200, { "content-type": "application/json" }, JSON.stringify(answer())]);
}

test("a response of more than 64 MiB is cut off and counted", async (t) => {
  const event = utf8(`data: ${JSON.stringify(chunk("x".repeat(1_000)))}\n\n: ${" ".repeat(1_000_000)}\n\n`);
  const body = Buffer.concat(Array.from({ length: 70 }, () => event));
  const encodings = { none: (bytes: Uint8Array) => bytes, gzip: gzipSync, br: brotliCompressSync };
  for (const [encoding, compress] of Object.entries(encodings)) {
    const before = counters().truncated;
    const sent = compress(body);
    // This `fetch` leaves decompression to the application.
    const headers: Record<string, string> = encoding === "none" ? {} : { "content-encoding": encoding };
    const fetch = loggedFetch({ extra: { test: `${t.name} ${encoding}` }, fetch: async () => response(sent, headers) });
    const received = await fetch("http://h/v1/chat/completions", { method: "POST", body: '{"stream":true}' });
    assert.equal((await received.arrayBuffer()).byteLength, sent.length);
    const [trace] = await tracesOf(`${t.name} ${encoding}`);
    assert.equal(trace!.incomplete, "truncated", encoding);
    if (encoding === "none") assert.ok(trace!.messages.at(-1).content.length > 60_000);
    else assert.equal(trace!.error.body, Buffer.from(sent).toString("base64"));
    assert.equal(counters().truncated, before + 1);
  }
});

test("the headers of a logged stream are as immutable as without logging", async () => {
  const url = await serve(() => [200, { "content-type": "text/event-stream" }, STREAM]);
  const received = await loggedFetch()(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(CHAT.request) });
  assert.throws(() => received.headers.set("x-a", "1"), TypeError);
  assert.equal(received.headers.get("content-type"), "text/event-stream");
  await received.text();
});

/** Cases shared with the Python client. */
const CALLS = JSON.parse(readFileSync(join(process.env.STREAMS ?? fileURLToPath(new URL("../../streams/", import.meta.url)), "calls.json"), "utf8"));

const respond: typeof fetch = async (input) => {
  const id = new URL(String(input)).pathname.replace(/\/$/, "").replace(/\/cancel$/, "").split("/").at(-1)!;
  return Response.json({ id, object: "response", status: "completed", background: id !== "resp_1" });
};

for (const [method, path, api] of CALLS.paths) {
  test(`${method} ${path} is captured as in the other client`, async (t) => {
    const body = method === "GET" ? undefined : "{}";
    await (await loggedFetch({ extra: { test: t.name }, fetch: respond })(`http://h${path}`, { method, body } as RequestInit)).text();
    assert.deepEqual((await tracesOf(t.name)).map((trace) => trace.api), api ? [api] : []);
  });
}

for (const [content, request] of CALLS.requests) {
  test(`a request is logged as the other client does: ${content}`, async (t) => {
    await (await loggedFetch({ extra: { test: t.name }, fetch: respond })("http://h/v1/responses", { method: "POST", body: content })).text();
    assert.deepEqual((await tracesOf(t.name))[0]!.request, request);
  });
}

test("counters and levels are those of the other client", async (t) => {
  assert.deepEqual(Object.keys(counters()), CALLS.counters);
  for (const levels of [CALLS.levels, CALLS.levels + 1]) {
    const body = `{"a":${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}}`;
    await (await loggedFetch({ extra: { test: t.name }, fetch: respond })("http://h/v1/responses", { method: "POST", body })).text();
    let value: unknown = 1;
    for (let level = 1; level < levels; level++) value = [value];
    logTrace({ model: "m", a: value, n: levels }, {}, { test: t.name });
  }
  const requests = (await tracesOf(t.name)).map(({ request }) => request);
  assert.equal(requests.filter(({ body }) => body !== undefined).length, 1);
  const depths = requests.filter(({ n }) => n).map(({ a }) => JSON.stringify(a).split("[").length - 1);
  assert.deepEqual(depths.sort(), [119, 120]);
});

test("a fault while a response is read never reaches the application", async (t) => {
  const { lost } = counters();
  const fetch = loggedFetch({ extra: { test: t.name }, fetch: async () => response(utf8(STREAM), { "content-type": "text/event-stream" }, 50) });
  const received = await fetch("http://h/v1/chat/completions", { method: "POST", body: '{"model":"m","stream":true}' });
  const { decode } = TextDecoder.prototype;
  TextDecoder.prototype.decode = () => {
    throw new Error("SECRET");
  };
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of received.body!) chunks.push(chunk);
  } finally {
    TextDecoder.prototype.decode = decode;
  }
  assert.deepEqual(Buffer.concat(chunks), Buffer.from(STREAM));
  assert.equal(counters().lost, lost + 1);
  assert.equal(await flush({ timeout: 120_000 }), false, "a loss is reported once");
});
