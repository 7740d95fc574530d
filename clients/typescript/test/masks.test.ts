/** Tests that credentials are masked, and that the ready-made masks change every string. The Python client shares the cases. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { flush, logTrace, loggedFetch, masks, type Trace } from "attest-client";
import { type JsonObject, parse, print, withoutSecrets } from "attest-client/mapping";
import { RESPONSES } from "./exchanges.js";
import { endpoint, serve } from "./support.js";

const MAPPING = process.env.MAPPING ? new URL(`file://${process.env.MAPPING}/`) : new URL("../../../examples/mapping/", import.meta.url);
const cases = (name: string) => parse(readFileSync(new URL(`../masking/${name}`, MAPPING), "utf8")) as { name: string; trace: JsonObject; masked: JsonObject }[];
const attest = await endpoint();
Object.assign(process.env, attest.environment);

for (const { name, trace, masked } of cases("secrets.json")) {
  test(`credentials are masked: ${name}`, () => {
    const before = print(trace);
    assert.equal(print(withoutSecrets(trace)), print(masked));
    assert.equal(print(trace), before);
  });
}

const TEXTS = masks.allOf(masks.texts(masks.EMAIL, masks.CARD), masks.texts(masks.PHONE, masks.KEY));
for (const { name, trace, masked } of cases("texts.json")) {
  test(`the masks change every text: ${name}`, () => assert.equal(print(TEXTS(trace as unknown as Trace) as JsonObject), print(masked)));
}

const TOOL = { type: "mcp", server_label: "crm", authorization: "SECRET-1", headers: { Authorization: "Bearer SECRET-2" } };

for (const keepSecrets of [false, true]) {
  test(`no credential is written unless it is asked for: ${keepSecrets}`, async (t) => {
    const request = { model: "gpt-5", input: "Hi jo@b.example", tools: [TOOL] };
    let sent = "";
    const url = await serve((body) => {
      sent = JSON.stringify(body);
      return [200, { "content-type": "application/json" }, JSON.stringify(RESPONSES.response)];
    });
    const seen: string[] = [];
    const mask = masks.allOf((trace) => (seen.push(JSON.stringify(trace)), trace), masks.texts(masks.EMAIL));
    const extra = { test: t.name, api_key: "SECRET-3" };
    await (await loggedFetch({ mask, keepSecrets, extra })(`${url}/v1/responses`, { method: "POST", body: JSON.stringify(request) })).text();
    logTrace(request, {}, extra, { mask, keepSecrets });
    assert.ok(await flush({ timeout: 120_000 }));
    assert.match(sent, /SECRET-1/);
    const stored = attest.texts().filter((text) => text.includes(`"test":"${t.name}"`));
    assert.equal(stored.length, 2);
    for (const text of [...seen, ...stored]) assert.equal(text.includes("SECRET"), keepSecrets);
    for (const text of stored) assert.match(text, /Hi \[email\]/);
  });
}
