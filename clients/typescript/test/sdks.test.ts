/** Tests calls that the real SDKs make through `loggedFetch`, against the real endpoint and stand-ins for the providers. */

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { generateText, streamText } from "ai";
import { counters, flush, logTrace, loggedFetch, type Mask, type Trace } from "attest-client";
import { rebuild } from "attest-client/mapping";
import OpenAI, { AzureOpenAI } from "openai";
import { ANTHROPIC, CHAT, type Exchange, RESPONSES } from "./exchanges.js";
import { endpoint, events, type Json, listen, serve } from "./support.js";

const attest = await endpoint();
Object.assign(process.env, attest.environment);

/** Delivers the logged traces, and returns the only one whose `log.test` is `name`. */
async function traceOf(name: string): Promise<Json> {
  assert.ok(await flush({ timeout: 120_000 }));
  const found = attest.traces().filter(({ log }) => log?.test === name);
  assert.equal(found.length, 1, `traces of ${name}`);
  return found[0]!;
}

/** Asserts that the request and the response can be rebuilt from the trace. */
async function assertRebuilt(name: string, request: Json, response: Json | undefined): Promise<Json> {
  const trace = await traceOf(name);
  const rebuilt = rebuild(trace);
  assert.deepEqual(rebuilt.request, request);
  assert.deepEqual(rebuilt.response, response);
  return trace;
}

const json = (body: unknown): [number, Json, string] => [200, { "content-type": "application/json" }, JSON.stringify(body, null, 2)];
const stream = (text: string): [number, Json, string] => [200, { "content-type": "text/event-stream" }, text];

/** Starts a provider that serves one exchange, as a stream if the request has `stream`. */
const provider = ({ response, stream: text }: Exchange) => serve((request) => (request.stream ? stream(text) : json(response)));

test("OpenAI, Chat Completions: request and response are logged exactly", async (t) => {
  const client = new OpenAI({ apiKey: "sk-secret", baseURL: await provider(CHAT), fetch: loggedFetch({ extra: { test: t.name } }) });
  const completion = await client.chat.completions.create(CHAT.request as any);
  assert.equal(completion.choices[0]!.message.tool_calls![0]!.id, "call_1");
  const trace = await assertRebuilt(t.name, CHAT.request, CHAT.response);
  assert.deepEqual(trace.messages.map(({ role }: Json) => role), ["system", "user", "user", "assistant"]);
  assert.doesNotMatch(JSON.stringify(trace), /sk-secret|authorization/i);
});

test("OpenAI, Chat Completions: a stream is assembled as the SDK does", async (t) => {
  const client = new OpenAI({ apiKey: "sk", baseURL: await provider(CHAT), fetch: loggedFetch({ extra: { test: t.name } }) });
  const { messages, model } = CHAT.request as any;
  const request = { model, messages, n: 2, logprobs: true, stream_options: { include_usage: true } };
  const final = await client.chat.completions.stream(request).finalChatCompletion();
  const trace = await assertRebuilt(t.name, { ...request, stream: true }, CHAT.response);
  assert.equal(trace.incomplete, undefined);
  // The SDK adds `parsed` and `parsed_arguments`.
  for (const { message } of final.choices) delete (message as Json).parsed, delete (message as Json).tool_calls?.[0].function.parsed_arguments;
  assert.deepEqual(JSON.parse(JSON.stringify(final)), CHAT.response);
});

test("OpenAI, Responses: plain and streamed", async (t) => {
  for (const streamed of [false, true]) {
    const name = `${t.name} ${streamed}`;
    const client = new OpenAI({ apiKey: "sk", baseURL: await provider(RESPONSES), fetch: loggedFetch({ extra: { test: name } }) });
    const request = { ...RESPONSES.request } as any;
    if (streamed) {
      const final = await client.responses.stream(request).finalResponse();
      assert.equal(final.output_text, "Sunny.");
      request.stream = true;
    } else {
      assert.equal((await client.responses.create(request)).output_text, "Sunny.");
    }
    const trace = await assertRebuilt(name, request, RESPONSES.response);
    assert.deepEqual(trace.messages.map(({ role }: Json) => role), ["system", "user", "assistant"]);
  }
});

test("Anthropic, Messages: plain and streamed", async (t) => {
  for (const streamed of [false, true]) {
    const name = `${t.name} ${streamed}`;
    const client = new Anthropic({ apiKey: "sk", baseURL: await provider(ANTHROPIC), fetch: loggedFetch({ extra: { test: name } }) });
    const request = { ...ANTHROPIC.request } as any;
    let final: Json;
    if (streamed) {
      final = await client.messages.stream(request).finalMessage();
      request.stream = true;
    } else {
      final = await client.messages.create(request);
    }
    const plain = JSON.parse(JSON.stringify(final));
    for (const addition of ["parsed_output", "stop_details"]) if (!(addition in ANTHROPIC.response)) delete plain[addition];
    for (const block of plain.content) delete block.parsed_output;
    assert.deepEqual(plain, ANTHROPIC.response);
    await assertRebuilt(name, request, ANTHROPIC.response);
  }
});

test("Azure, and servers that speak Chat Completions such as Ollama and vLLM", async (t) => {
  const url = await provider(CHAT);
  const azure = new AzureOpenAI({ apiKey: "k", endpoint: url, apiVersion: "2025-01-01-preview", fetch: loggedFetch({ extra: { test: "azure" } }) });
  await azure.chat.completions.create(CHAT.request as any);
  await assertRebuilt("azure", CHAT.request, CHAT.response);
  const ollama = new OpenAI({ apiKey: "ollama", baseURL: `${url}/v1`, fetch: loggedFetch({ extra: { test: t.name } }) });
  await ollama.chat.completions.create(CHAT.request as any);
  await assertRebuilt(t.name, CHAT.request, CHAT.response);
});

test("the AI SDK: OpenAI's Responses and Chat Completions, and Anthropic, plain and streamed", async () => {
  const openai = (exchange: Exchange, name: string) => provider(exchange).then((baseURL) => createOpenAI({ apiKey: "k", baseURL, fetch: loggedFetch({ extra: { test: name } }) }));
  const text = await generateText({ model: (await openai(RESPONSES, "ai"))("gpt-5"), prompt: "Weather?" });
  assert.equal(text.text, "Sunny.");
  assert.deepEqual(rebuild(await traceOf("ai")).response, RESPONSES.response);
  const streamed = streamText({ model: (await openai(CHAT, "ai chat")).chat("gpt-4o"), prompt: "Weather?" });
  await streamed.consumeStream();
  assert.deepEqual(rebuild(await traceOf("ai chat")).response, CHAT.response);
  const claude = createAnthropic({ apiKey: "k", baseURL: await provider(ANTHROPIC), fetch: loggedFetch({ extra: { test: "ai claude" } }) });
  await streamText({ model: claude("claude-opus-4-1"), prompt: "Weather?" }).consumeStream();
  assert.deepEqual(rebuild(await traceOf("ai claude")).response, ANTHROPIC.response);
});

test("numbers keep every digit, and mask sees them", async () => {
  const body = `{"id":"c","object":"chat.completion","created":1,"model":"m","seed":12345678901234567890,
    "choices":[{"index":0,"message":{"role":"assistant","content":"a"},"logprobs":{"content":[{"logprob":-0.10}]},"finish_reason":"stop"}]}`;
  const url = await serve(() => [200, { "content-type": "application/json" }, body]);
  for (const mask of [undefined, (trace: Trace) => ({ ...trace, masked: 1 })]) {
    const fetch = loggedFetch({ extra: { test: `digits ${mask !== undefined}` }, ...(mask ? { mask } : {}) });
    await (await fetch(`${url}/chat/completions`, { method: "POST", body: '{"model":"m","messages":[],"top_p":1.00}' })).text();
  }
  assert.ok(await flush({ timeout: 120_000 }));
  const texts = attest.texts().filter((text) => text.includes('"test":"digits'));
  assert.equal(texts.length, 2);
  for (const text of texts) for (const number of ['"seed":12345678901234567890', '"logprob":-0.10', '"top_p":1.00']) assert.ok(text.includes(number), number);
});

for (const [encoding, compress] of Object.entries({ gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync })) {
  test(`a response compressed by ${encoding} is decoded`, async (t) => {
    const compressed = compress(JSON.stringify(CHAT.response));
    const url = await serve(() => [200, { "content-type": "application/json", "content-encoding": encoding }, compressed]);
    // Node's fetch decompresses; another fetch may leave decompression to the application.
    const raw: typeof fetch = async () => new Response(compressed, { headers: { "content-type": "application/json", "content-encoding": encoding } });
    const fetches = { decoded: loggedFetch({ extra: { test: `${t.name} decoded` } }), raw: loggedFetch({ extra: { test: `${t.name} raw` }, fetch: raw }) };
    for (const [name, logged] of Object.entries(fetches)) {
      const response = await logged(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(CHAT.request) });
      await response.arrayBuffer();
      await assertRebuilt(`${t.name} ${name}`, CHAT.request, CHAT.response);
    }
  });
}

// Small buffers share a block of memory that cannot be transferred; large ones have a block of their own.
for (const [kind, size] of [["small", 100], ["large", 100_000]] as const) {
  test(`a body of ${kind} buffers, as node-fetch returns it, is logged and reaches the application`, async (t) => {
    const text = `: ${"x".repeat(size)}\n\n${CHAT.stream}`;
    const pieces = text.match(new RegExp(`[^]{1,${size}}`, "gu"))!.map((piece) => Buffer.from(piece));
    const headers = new Headers({ "content-type": "text/event-stream" });
    const response = { ok: true, status: 200, statusText: "OK", headers, url: "", body: Readable.from(pieces) };
    const fetch = loggedFetch({ extra: { test: t.name }, fetch: async () => response as any });
    const received = await fetch("http://h/v1/chat/completions", { method: "POST", body: JSON.stringify(CHAT.request) });
    assert.equal(await received.text(), text);
    await assertRebuilt(t.name, CHAT.request, CHAT.response);
  });
}

test("a chunk is never held back", async (t) => {
  let send = (_?: string) => {};
  const url = await listen((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    send = (text) => (text === undefined ? response.end() : response.write(text));
    send(": connected\n\n");
  });
  const response = await loggedFetch({ extra: { test: t.name } })(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(CHAT.request) });
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  const read = async () => decoder.decode((await reader.read()).value);
  assert.equal(await read(), ": connected\n\n");
  for (const event of CHAT.stream.split(/(?<=\n\n)/)) {
    // The next event is sent only after this one arrived, so an event that is held back blocks the test.
    send(event);
    assert.equal(await read(), event);
  }
  send();
  assert.equal((await reader.read()).done, true);
  await assertRebuilt(t.name, CHAT.request, CHAT.response);
});

test("the application's backpressure reaches the provider", async (t) => {
  let pulled = 0;
  const source = () =>
    new Response(
      new ReadableStream({
        pull(controller) {
          if (pulled++ === 100) controller.close();
          else controller.enqueue(new TextEncoder().encode("x".repeat(1000)));
        },
      }, { highWaterMark: 0 }),
      { headers: { "content-type": "application/json" } },
    );
  const fetch = loggedFetch({ extra: { test: t.name }, fetch: async () => source() });
  const reader = (await fetch("http://h/v1/messages", { method: "POST", body: "{}" })).body!.getReader();
  assert.equal(pulled, 0);
  await reader.read();
  await reader.read();
  assert.ok(pulled <= 3, `${pulled} chunks were read ahead`);
  await reader.cancel();
  assert.equal((await traceOf(t.name)).incomplete, "closed");
});

/** Starts a provider whose stream stalls after `count` events until the test cuts it off. */
async function cutStream(exchange: Exchange, count: number): Promise<{ url: string; cut: () => void; closed: Promise<void> }> {
  let cut = () => {};
  let close = () => {};
  const closed = new Promise<void>((resolve) => (close = resolve));
  const url = await listen((request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(exchange.stream.split(/(?<=\n\n)/).slice(0, count).join(""));
    cut = () => request.socket.destroy();
    response.on("close", close);
  });
  return { url, cut: () => cut(), closed };
}

test("a stream that the application leaves is logged as far as it came, and the connection ends", async (t) => {
  const { url, closed } = await cutStream(CHAT, 4);
  const client = new OpenAI({ apiKey: "sk", baseURL: url, fetch: loggedFetch({ extra: { test: t.name } }) });
  let count = 0;
  const stream: AsyncIterable<unknown> = (await client.chat.completions.create({ ...CHAT.request, stream: true } as any)) as any;
  for await (const _ of stream) if (++count === 3) break;
  await closed;
  const trace = await traceOf(t.name);
  assert.equal(trace.incomplete, "closed");
  assert.equal(trace.messages.at(-1).role, "assistant");
});

test("a call that the application aborts is logged as far as it came", async (t) => {
  const { url, closed } = await cutStream(CHAT, 3);
  const controller = new AbortController();
  const fetch = loggedFetch({ extra: { test: t.name } });
  const response = await fetch(`${url}/chat/completions`, { method: "POST", body: JSON.stringify(CHAT.request), signal: controller.signal });
  const reader = response.body!.getReader();
  await reader.read();
  controller.abort();
  await assert.rejects(reader.read(), { name: "AbortError" });
  await closed;
  assert.equal((await traceOf(t.name)).incomplete, "closed");
});

test("a stream that breaks off is logged as far as it came, and the application sees the error", async (t) => {
  const { url, cut } = await cutStream(ANTHROPIC, 9);
  const client = new Anthropic({ apiKey: "sk", baseURL: url, maxRetries: 0, fetch: loggedFetch({ extra: { test: t.name } }) });
  const read = async () => {
    const stream: AsyncIterable<Json> = (await client.messages.create({ ...ANTHROPIC.request, stream: true } as any)) as any;
    for await (const event of stream) {
      if (event.delta?.type === "thinking_delta") cut();
    }
  };
  await assert.rejects(read());
  const trace = await traceOf(t.name);
  assert.equal(trace.incomplete, "broken");
  assert.match(trace.messages.at(-1).reasoning_content, /^Let me/);
});

test("a stream without its last event is incomplete, and so is one with an error", async (t) => {
  for (const [incomplete, text] of Object.entries({
    ended: CHAT.stream.split(/(?<=\n\n)/).slice(0, 3).join(""),
    error: CHAT.stream.split(/(?<=\n\n)/).slice(0, 3).join("") + events([{ error: { message: "overloaded", code: 529 } }]),
  })) {
    const url = await serve(() => stream(text));
    const name = `${t.name} ${incomplete}`;
    await (await loggedFetch({ extra: { test: name } })(`${url}/chat/completions`, { method: "POST", body: JSON.stringify(CHAT.request) })).text();
    const trace = await traceOf(name);
    assert.equal(trace.incomplete, incomplete);
    assert.deepEqual(trace.error, incomplete === "error" ? { status: 200, body: { message: "overloaded", code: 529 } } : undefined);
  }
});

test("a response that the application drops does not keep its connection", async (t) => {
  const { url, closed } = await cutStream(CHAT, 4);
  await loggedFetch({ extra: { test: t.name } })(`${url}/chat/completions`, { method: "POST", body: JSON.stringify(CHAT.request) });
  const { setFlagsFromString } = await import("node:v8");
  setFlagsFromString("--expose-gc");
  const collect = (await import("node:vm")).runInNewContext("gc") as () => void;
  const timer = setInterval(collect, 50);
  await closed;
  clearInterval(timer);
  assert.equal((await traceOf(t.name)).incomplete, "closed");
});

test("other requests pass untouched", async () => {
  const paths = ["/v1/embeddings", "/v1/models", "/v1/messages/count_tokens", "/v1/messages/batches", "/v1/threads/t1/messages", "/v1/responses/r1/cancel", "/v1/chat/completions"];
  const original = new Response("{}");
  const seen: unknown[][] = [];
  const fetch = loggedFetch({ fetch: async (...call) => (seen.push(call), original) });
  const before = counters().logged;
  for (const path of paths) {
    const init = { method: path.endsWith("completions") ? "GET" : "POST", body: null };
    assert.equal(await fetch(`https://api.openai.com${path}`, init), original);
    assert.equal(seen.at(-1)![1], init);
  }
  assert.equal(counters().logged, before);
});

test("the application gets status, headers, address and body as they came", async () => {
  const url = await serve(() => [200, { "content-type": "application/json", "x-request-id": "req-1" }, '{"a": 1.0}']);
  const response = await loggedFetch()(`${url}/v1/responses`, { method: "POST", body: "{}" });
  assert.equal(response.url, `${url}/v1/responses`);
  assert.equal(response.headers.get("x-request-id"), "req-1");
  assert.equal(response.statusText, "OK");
  assert.ok(response instanceof Response);
  assert.equal(await response.text(), '{"a": 1.0}');
});

/** The ways to read a body. Each returns what the application observes. */
const READERS: Record<string, (response: Response) => Promise<unknown>> = {
  json: (response) => response.json(),
  text: (response) => response.text(),
  arrayBuffer: async (response) => Buffer.from(await response.arrayBuffer()).toString(),
  blob: async (response) => [(await response.clone().blob()).type, await (await response.blob()).text()],
  formData: (response) => response.formData().catch(({ name }) => name),
  body: async (response) => {
    const chunks = [];
    for await (const chunk of response.body!) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  },
  "a BYOB reader": async (response) => (await response.body!.getReader({ mode: "byob" }).read(new Uint8Array(5))).value,
  "a new Response": (response) => new Response(response.body).text(),
  "a clone, then the response": async (response) => [await response.clone().text(), await response.json()],
  "text after body": async (response) => [response.body!.locked, response.bodyUsed, await response.text(), response.bodyUsed],
  "twice": async (response) => [await response.text(), response.bodyUsed, await response.json().catch(({ name }) => name), response.body!.locked],
  "twice at once": (response) => Promise.all([response.text(), response.text().catch(({ name }) => name)]),
  "a clone of a used body": async (response) => [await response.text(), (() => { try { return response.clone(); } catch ({ name }: any) { return name; } })()],
  "nothing": async (response) => [response instanceof Response, response.bodyUsed, response.ok, Object.keys(response)],
};

for (const [name, read] of Object.entries(READERS)) {
  test(`a body is read as without logging: ${name}`, async (t) => {
    for (const text of ['\ufeff{"id":"c","choices":[],"text":"Grüße"}', "no JSON"]) {
      const url = `${await serve(() => [200, { "content-type": "application/json", "x-a": "1" }, text])}/v1/chat/completions`;
      const init = { method: "POST", body: "{}" };
      const result = (fetch: typeof globalThis.fetch) => fetch(url, init).then(read).catch(({ name, message }) => [name, message]);
      assert.deepEqual(await result(loggedFetch({ extra: { test: t.name } })), await result(fetch));
    }
  });
}

test("a response without streaming that breaks off is logged as far as it came, and the application sees the error", async (t) => {
  const url = await listen((_, response) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": 100 });
    response.write('{"id":"c"', () => response.destroy());
  });
  const call = (fetch: typeof globalThis.fetch) => fetch(`${url}/v1/chat/completions`, { method: "POST", body: "{}" }).then((response) => response.json());
  const reason: any = await call(fetch).catch((error) => error);
  await assert.rejects(call(loggedFetch({ extra: { test: t.name } })), { name: reason.name, message: reason.message });
  const trace = await traceOf(t.name);
  assert.deepEqual([trace.incomplete, trace.error], ["broken", { status: 200, body: '{"id":"c"' }]);
});

test("a response that cannot be copied reaches the application untouched", async () => {
  const used = new Response("{}");
  used.body!.getReader();
  const { lost } = counters();
  const odd = new Response("{}");
  Object.defineProperty(odd, "status", { value: 700 });
  for (const original of [used, odd]) {
    const response = await loggedFetch({ fetch: async () => original })("http://h/v1/messages", { method: "POST", body: "{}" });
    assert.equal(response, original);
  }
  assert.equal(await new Response(odd.body).text(), "{}");
  assert.equal(counters().lost, lost + 2);
  assert.equal(await flush({ timeout: 120_000 }), false, "a lost call is reported once");
});

test("every kind of request body is logged", async (t) => {
  const url = await provider(CHAT);
  const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: "Grüße" }] });
  const bytes = new TextEncoder().encode(body);
  const address = `${url}/v1/chat/completions`;
  const calls: Record<string, Parameters<typeof fetch>> = {
    text: [address, { method: "POST", body }],
    bytes: [new URL(address), { method: "POST", body: bytes }],
    buffer: [address, { method: "POST", body: bytes.buffer }],
    blob: [address, { method: "POST", body: new Blob([body]) }],
    stream: [address, { method: "POST", body: new Blob([body]).stream(), duplex: "half" } as RequestInit],
    request: [new Request(address, { method: "POST", body })],
  };
  for (const [name, call] of Object.entries(calls)) {
    await (await loggedFetch({ extra: { test: `${t.name} ${name}` } })(...call)).text();
    await assertRebuilt(`${t.name} ${name}`, JSON.parse(body), CHAT.response);
  }
});

test("failed calls are logged only if asked for", async (t) => {
  const error = { error: { message: "Rate limit reached", code: "rate_limit_exceeded" } };
  const url = await serve(() => [429, { "content-type": "application/json" }, JSON.stringify(error)]);
  const call = (failures: boolean, baseURL: string, name: string) =>
    new OpenAI({ apiKey: "sk", baseURL, maxRetries: 0, fetch: loggedFetch({ failures, extra: { test: name } }) }).chat.completions.create(CHAT.request as any);
  const before = counters().logged;
  await assert.rejects(call(false, url, "none"), { status: 429 });
  await assert.rejects(call(false, "http://127.0.0.1:1", "none"), { name: "Error" });
  assert.equal(counters().logged, before);
  await assert.rejects(call(true, url, t.name), { status: 429 });
  const refused = await assertRebuilt(t.name, CHAT.request, undefined);
  assert.deepEqual(refused.error, { status: 429, body: error });
  await assert.rejects(call(true, "http://127.0.0.1:1", `${t.name} connection`), { name: "Error" });
  const unreachable = await traceOf(`${t.name} connection`);
  assert.equal(unreachable.error.type, "TypeError");
  assert.match(unreachable.error.message, /fetch failed/);
});

test("mask changes each trace before it is written; if it throws, nothing is written and a counter says so", async (t) => {
  const url = await provider(CHAT);
  const call = (mask: Mask) =>
    loggedFetch({ mask, extra: { test: t.name } })(`${url}/chat/completions`, { method: "POST", body: JSON.stringify(CHAT.request) }).then((response) => response.text());
  await call((trace) => {
    assert.match(trace.id, /^[0-9a-f-]{36}$/);
    for (const message of trace.messages) message.content = "***";
    return trace;
  });
  const masked = await traceOf(t.name);
  assert.deepEqual(new Set(masked.messages.map(({ content }: Json) => content)), new Set(["***"]));
  const { unmasked, logged } = counters();
  await call(() => {
    throw new Error("SECRET");
  });
  await call(() => undefined);
  logTrace({ model: "m", messages: [] }, {}, {}, { mask: () => "text" });
  assert.equal(counters().unmasked, unmasked + 3);
  assert.equal(counters().logged, logged);
  await traceOf(t.name); // still the only trace
});

test("logTrace takes the objects of each SDK", async (t) => {
  const client = async (exchange: Exchange) => ({ apiKey: "sk", baseURL: await provider(exchange) });
  const objects = {
    "openai-chat": [CHAT, await new OpenAI(await client(CHAT)).chat.completions.create(CHAT.request as any)],
    "openai-responses": [RESPONSES, await new OpenAI(await client(RESPONSES)).responses.create(RESPONSES.request as any)],
    anthropic: [ANTHROPIC, await new Anthropic(await client(ANTHROPIC)).messages.create(ANTHROPIC.request as any)],
  } as unknown as Record<string, [Exchange, object]>;
  for (const [api, [{ request, response }, object]] of Object.entries(objects)) {
    logTrace(request, object, { test: `${t.name} ${api}` });
    const trace = await traceOf(`${t.name} ${api}`);
    const rebuilt = rebuild(trace);
    assert.equal(trace.api, api);
    assert.deepEqual(rebuilt.request, request);
    // The SDKs add members of their own, such as `output_text`.
    for (const [name, value] of Object.entries(response)) assert.deepEqual(rebuilt.response![name], value, name);
  }
});

test("values that JSON cannot hold become a readable text, and the rest of the trace is kept", async (t) => {
  const circular: Json = { a: 1 };
  circular.self = circular;
  class Format {}
  const request = {
    model: "m",
    messages: (function* () {
      yield { role: "user", content: "from a generator" };
    })(),
    response_format: Format,
    big: 12345678901234567890n,
    bytes: new TextEncoder().encode("Grüße"),
    binary: Buffer.from([255, 0]),
    numbers: [NaN, Infinity, -Infinity, -0],
    date: new Date(0),
    map: new Map<unknown, unknown>([["a", 1], [7, new Set([1])]]),
    surrogate: "\ud83d!",
    circular,
    refuses: { toJSON() { throw new Error("no"); } },
    getter: { get broken() { throw new Error("no"); }, kept: 1 },
    symbol: Symbol("s"),
    missing: undefined,
    list: [undefined, () => 1],
    read: (() => {
      const items = [1].values();
      [...items];
      return items;
    })(),
    error: new TypeError("text"),
  };
  logTrace(request, { created: 1 }, { test: t.name });
  const trace = await traceOf(t.name);
  assert.equal(trace.messages[0].content, "from a generator");
  assert.deepEqual(trace.request, {
    model: "m",
    response_format: "[class Format]",
    big: "12345678901234567890",
    bytes: "Grüße",
    binary: "/wA=",
    numbers: ["NaN", "Infinity", "-Infinity", 0],
    date: "1970-01-01T00:00:00.000Z",
    map: { a: 1, 7: [1] },
    surrogate: "\ufffd!",
    circular: { a: 1, self: "[Circular]" },
    refuses: "[object Object]",
    getter: { broken: "[Unreadable]", kept: 1 },
    symbol: "Symbol(s)",
    list: [null, "[Function anonymous]"],
    read: "[object Array Iterator]",
    error: "TypeError: text",
  });
});

test("NaN in a response, and a name that occurs twice, do not cost the trace", async (t) => {
  const url = await serve(() => [200, {}, '{"created": 1, "model": "m", "choices": [], "x": [NaN, -Infinity, "NaN"], "y": 1, "y": 2}']);
  await (await loggedFetch({ extra: { test: t.name } })(`${url}/chat/completions`, { method: "POST", body: "{}" })).text();
  const { response } = await traceOf(t.name);
  assert.deepEqual(response.x, ["NaN", "-Infinity", "NaN"]);
  assert.equal(response.y, 2);
});
