/** Tests the cases that all implementations of docs/mapping.md share. `MAPPING` is their folder if the tests run elsewhere. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { type Api, type JsonObject, LosslessNumber, parse, print, rebuild, toTrace } from "attest-client/mapping";

const FOLDER = process.env.MAPPING ? new URL(`file://${process.env.MAPPING}/`) : new URL("../../../examples/mapping/", import.meta.url);
const TIMES = ["created", "created_at", "timestamp"];

interface Case {
  name: string;
  from: string;
  line: JsonObject;
  trace?: JsonObject;
}

const files = readdirSync(FOLDER).filter((file) => file.endsWith(".json"));
const all = files.flatMap((file) => parse(readFileSync(new URL(file, FOLDER), "utf8")) as unknown as Case[]);
// The client never sees LiteLLM's payload, and only `import` refuses lines.
const cases = all.filter(({ from, trace }) => trace && from !== "litellm");

/** Maps a line of a provider's log as `import --from` does. */
function map(from: string, { ...line }: JsonObject): JsonObject {
  const take = (name: string, condition: (value: unknown) => boolean): any => {
    const value = line[name];
    if (!condition(value)) return undefined;
    delete line[name];
    return value;
  };
  const isPresent = (value: unknown) => value !== undefined && value !== null;
  if (from === "openai-batch") {
    const { body, ...envelope } = line.response as { body: JsonObject } & JsonObject;
    const request = take("request", isPresent) ?? {};
    const api = body.object === "response" ? "openai-responses" : "openai-chat";
    return toTrace({ api, request, response: body, log: { ...line, response: envelope } });
  }
  const api = from as Api;
  if (!("request" in line)) {
    const member = api === "openai-responses" ? "input" : "messages";
    const items = take(member, isPresent);
    return toTrace({ api, request: items === undefined ? {} : { [member]: items }, response: line });
  }
  const request = take("request", isPresent);
  const response = take("response", (value) => typeof value === "object" && value !== null);
  const error = take("error", isPresent);
  const incomplete = take("incomplete", (value) => typeof value === "string");
  const created = TIMES.map((name) => line[name]).find(isPresent);
  return toTrace({ api, request, response, error, incomplete, created, log: line });
}

function withoutOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutOrder);
  if (typeof value !== "object" || value === null || value instanceof LosslessNumber) return value;
  const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(members.map(([name, member]) => [name, withoutOrder(member)]));
}

const text = (value: unknown) => print(withoutOrder(value) as JsonObject);

for (const { name, from, line, trace } of cases) {
  test(`${from}: ${name}`, () => assert.equal(print(map(from, line)), print(trace!)));

  test(`${from}: ${name}, rebuilt`, () => {
    const { request, response } = rebuild(trace!);
    const call = from === "openai-batch" ? { request: line.request, response: (line.response as JsonObject).body } : line;
    if ("request" in line || from === "openai-batch") {
      assert.equal(text(request), text(call.request ?? {}));
      if (typeof call.response === "object") assert.equal(text(response), text(call.response));
    } else {
      assert.equal(text({ ...request, ...response }), text(line));
    }
  });
}

test("every format has cases", () => {
  assert.deepEqual(new Set(cases.map(({ from }) => from)), new Set(["openai-chat", "openai-responses", "openai-batch", "anthropic"]));
});

test("texts are parsed as JSON.parse does, with every digit, and NaN and infinities as text", () => {
  const same = ["1", " [1, 2.5, -3] ", '"\\u00e9\\n"', '{"a": {"b": [true, false, null]}}', '{"a": 1, "a": 2}', '{"__proto__": 1}'];
  for (const text of same) assert.deepEqual(JSON.parse(print(parse(text))), JSON.parse(text), text);
  const changed = {
    "[0.10, -0, 1E+5, 12345678901234567890]": "[0.10,-0,1E+5,12345678901234567890]",
    '[NaN, "NaN", -Infinity, Infinity, "a\\"NaN"]': '["NaN","NaN","-Infinity","Infinity","a\\"NaN"]',
    '["\\ud83d", "\\ud83d\\ude00"]': '["\ufffd","😀"]',
    '["\ud83d"]': '["\ufffd"]',
  };
  for (const [text, expected] of Object.entries(changed)) assert.equal(print(parse(text)), expected);
  for (const text of ["", "{", '{"a":1,}', "// c\n{}", '{"a":01}', '"\u0001"', "tru", "[1] [2]", "[0.10,]"]) {
    assert.throws(() => parse(text), { name: "NotJson" }, text);
  }
});
