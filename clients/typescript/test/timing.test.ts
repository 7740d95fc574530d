/** Tests the duration of a call and the time until its first content, with a clock that the tests advance. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { flush, loggedFetch } from "attest-client";
import { endpoint, type Json } from "./support.js";

const STREAMS = process.env.STREAMS ? new URL(`file://${process.env.STREAMS}/`) : new URL("../../streams/", import.meta.url);
const FIRST: Record<string, number> = JSON.parse(readFileSync(new URL("first-content.json", STREAMS), "utf8"));
const URLS: Json = { "openai-chat": "/chat/completions", "openai-responses": "/responses", anthropic: "/messages" };

const attest = await endpoint();
Object.assign(process.env, attest.environment);

/** Replaces the monotonic clock while `run` runs. `run` gets the new clock, in seconds. */
async function withClock<T>(t: TestContext, run: (clock: { now: number }) => Promise<T>): Promise<T> {
  const clock = { now: 100 };
  const mock = t.mock.method(performance, "now", () => clock.now * 1_000);
  try {
    return await run(clock);
  } finally {
    mock.mock.restore();
  }
}

/** Splits a recorded stream into its events. */
function events(name: string): string[] {
  const text = readFileSync(new URL(name, STREAMS), "utf8").replaceAll("\r\n", "\n").replace(/^\n+|\n+$/g, "");
  return text.split("\n\n").map((event) => `${event}\n\n`);
}

/** Returns a `fetch` whose responses send one chunk per second of the clock. */
function provider(chunks: string[], clock: { now: number }, init: ResponseInit = {}): typeof globalThis.fetch {
  return async () => {
    let place = 0;
    const body = new ReadableStream({
      pull(controller) {
        clock.now += 1;
        if (place === chunks.length) controller.close();
        else controller.enqueue(new TextEncoder().encode(chunks[place++]));
      },
    }, { highWaterMark: 0 });
    return new Response(body, init);
  };
}

const EVENTS = { headers: { "content-type": "text/event-stream" } };

function call(fetch: typeof globalThis.fetch, api = "openai-chat", stream = true): Promise<Response> {
  return fetch(`http://provider/v1${URLS[api]}`, { method: "POST", body: JSON.stringify({ model: "m", messages: [], stream }) });
}

async function traceOf(test: string): Promise<Json> {
  assert.ok(await flush({ timeout: 120_000 }));
  const found = attest.traces().filter(({ log }) => log?.test === test);
  assert.equal(found.length, 1, test);
  return found[0]!;
}

test("every stream begins with the same event in both clients", async (t) => {
  assert.deepEqual(Object.keys(FIRST), readdirSync(STREAMS).filter((name) => name.endsWith(".sse")).sort());
  for (const name of Object.keys(FIRST)) {
    for (const init of [EVENTS, {}]) {
      const chunks = events(name);
      const received = await withClock(t, async (clock) => {
        const fetch = loggedFetch({ fetch: provider(chunks, clock, init), extra: { test: `${name} ${init === EVENTS}` } });
        return (await call(fetch, name.split(".")[0])).text();
      });
      assert.equal(received, chunks.join(""));
      const { timing } = await traceOf(`${name} ${init === EVENTS}`);
      assert.deepEqual(timing, { duration: chunks.length + 1, first_token: FIRST[name] }, name);
    }
  }
});

test("an answer without a first part has only a duration", async (t) => {
  const cases: [string, string[], ResponseInit][] = [
    ["whole", ['{"model": "m", "choices": []}'], {}],
    ["in pieces", ['{"model": "m",', '"choices": []}'], {}],
    ["a stream without content", ["data: {}\n\n"], EVENTS],
    ["a failure", ['{"error": "x"}'], { status: 500 }],
  ];
  for (const [name, chunks, init] of cases) {
    await withClock(t, async (clock) => {
      const fetch = loggedFetch({ fetch: provider(chunks, clock, init), failures: true, extra: { test: name } });
      await (await call(fetch, "openai-chat", false)).text();
    });
    assert.deepEqual((await traceOf(name)).timing, { duration: chunks.length + 1 }, name);
  }
});

test("a call without a response has a duration", async (t) => {
  await withClock(t, async (clock) => {
    const fail = async () => {
      clock.now += 2.5;
      throw new TypeError("refused");
    };
    await assert.rejects(call(loggedFetch({ fetch: fail, failures: true, extra: { test: t.name } })), /refused/);
  });
  assert.deepEqual((await traceOf(t.name)).timing, { duration: 2.5 });
});

test("a stream that is left has the duration until then", async (t) => {
  await withClock(t, async (clock) => {
    const response = await call(loggedFetch({ fetch: provider(events("openai-chat.text.sse"), clock, EVENTS), extra: { test: t.name } }));
    const reader = response.body!.getReader();
    for (let count = 0; count < 3; count++) await reader.read();
    clock.now += 7;
    await reader.cancel();
  });
  const { incomplete, timing } = await traceOf(t.name);
  assert.equal(incomplete, "closed");
  assert.equal(timing.first_token, FIRST["openai-chat.text.sse"]);
  assert.ok(timing.duration >= 10 && timing.duration <= 11, "the stream may have read one chunk ahead");
});

test("a request whose body arrives later is timed from its start", async (t) => {
  const chunks = events("openai-chat.text.sse");
  await withClock(t, async (clock) => {
    const fetch = loggedFetch({ fetch: provider(chunks, clock, EVENTS), extra: { test: t.name } });
    const body = new Blob([JSON.stringify({ model: "m", messages: [], stream: true })]);
    await (await fetch("http://provider/v1/chat/completions", { method: "POST", body })).text();
  });
  assert.deepEqual((await traceOf(t.name)).timing, { duration: chunks.length + 1, first_token: FIRST["openai-chat.text.sse"] });
});
