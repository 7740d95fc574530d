/** Tests sessions, users, tags and other `extra` members, per client and per call. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { flush, loggedFetch, logTrace, withExtra } from "attest-client";
import { endpoint, type Json } from "./support.js";

const attest = await endpoint();
Object.assign(process.env, attest.environment);

const REQUEST = { model: "m", messages: [{ role: "user", content: "Hi" }] };

/** Responds with the request, so that a test sees what the provider received. */
const echo: typeof globalThis.fetch = async (input, init) => {
  const { method, url, headers, body } = new Request(input, { ...init, duplex: "half" } as RequestInit);
  const received = { method, url, headers: [...headers], body: body && (await new Response(body).text()) };
  return Response.json({ model: "m", created: 1, choices: [], received });
};

async function call(fetch: typeof globalThis.fetch): Promise<Json> {
  const response = await fetch("http://provider/v1/chat/completions", { method: "POST", body: JSON.stringify(REQUEST) });
  return ((await response.json()) as Json).received;
}

/** Delivers the logged traces. Returns the `log` of each of the test's traces, without the test's name. */
async function logs(name: string): Promise<Json[]> {
  assert.ok(await flush({ timeout: 120_000 }));
  const found = attest.traces().filter(({ log }) => log?.test === name);
  return found.map(({ log: { test: _, ...log } }) => log);
}

const text = (logs: Json[]) => logs.map((log) => JSON.stringify(Object.entries(log).sort())).sort();

test("a call has the members of its client and of its context", async (t) => {
  const own = loggedFetch({ fetch: echo, extra: { test: t.name, session_id: "client", user: "client", n: 1 } });
  const plain = await call(own);
  await withExtra({ session_id: "s-1", tags: ["a", "b"] }, async () => {
    assert.deepEqual(await call(own), plain, "the request does not change");
    await withExtra({ session_id: "s-2" }, () => call(own));
    logTrace(REQUEST, {}, { test: t.name, user: "u-1" });
  });
  await call(loggedFetch({ fetch: echo, extra: { test: t.name } }));
  const ofClient = { session_id: "client", user: "client", n: 1 };
  const expected = [
    ofClient,
    { ...ofClient, session_id: "s-1", tags: ["a", "b"] },
    { ...ofClient, session_id: "s-2", tags: ["a", "b"] },
    { session_id: "s-1", tags: ["a", "b"], user: "u-1" },
    {},
  ];
  assert.deepEqual(text(await logs(t.name)), text(expected));
});

test("concurrent calls have contexts of their own", async (t) => {
  const own = loggedFetch({ fetch: echo, extra: { test: t.name } });
  const sessions = Array.from({ length: 8 }, (_, place) => ({ session_id: `s-${place}` }));
  await Promise.all(sessions.map((session) => withExtra(session, async () => {
    await null;
    await call(own);
  })));
  assert.deepEqual(text(await logs(t.name)), text(sessions));
});

test("a stream belongs to the context in which it was started", async (t) => {
  const own = loggedFetch({ fetch: echo, extra: { test: t.name } });
  const request = { method: "POST", body: JSON.stringify(REQUEST) };
  const response = await withExtra({ session_id: "start" }, () => own("http://provider/v1/chat/completions", request));
  await withExtra({ session_id: "end" }, () => response.text());
  assert.deepEqual(await logs(t.name), [{ session_id: "start" }]);
});

test("an exception ends the context, and the result is passed on", async (t) => {
  assert.throws(() => withExtra({ session_id: "s" }, () => { throw new RangeError(); }), RangeError);
  assert.equal(withExtra({ session_id: "s" }, () => 7), 7);
  await call(loggedFetch({ fetch: echo, extra: { test: t.name } }));
  assert.deepEqual(await logs(t.name), [{}]);
});
