/**
 * Compares assembled streams with the SDKs' results.
 *
 * If the tests run outside the repository, `STREAMS` is the path of clients/streams. `RECORDED_STREAMS` may name a folder with
 * more streams.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import Anthropic from "@anthropic-ai/sdk";
import { type Api, assemble, print } from "attest-client/mapping";
import OpenAI from "openai";
import { ANTHROPIC, CHAT, RESPONSES } from "./exchanges.js";
import { events, type Json } from "./support.js";

const FOLDER = process.env.STREAMS ?? fileURLToPath(new URL("../../streams/", import.meta.url));
const pathsIn = (folder: string) => readdirSync(folder).filter((name) => name.endsWith(".sse")).map((name) => join(folder, name));
const recorded = process.env.RECORDED_STREAMS ? pathsIn(process.env.RECORDED_STREAMS) : [];
assert.ok(recorded.length > 0 || !process.env.RECORDED_STREAMS, "RECORDED_STREAMS contains no streams");
const streams = [...pathsIn(FOLDER), ...recorded];
assert.ok(streams.length > recorded.length, `${FOLDER} contains no streams`);

const fetchOf = (body: string) => async () => new Response(body, { headers: { "content-type": "text/event-stream" } });
const openai = (body: string) => new OpenAI({ apiKey: "sk", fetch: fetchOf(body) });

/** Assembles a stream with the SDK of each API. */
const REFERENCES: Record<Api, (body: string) => Promise<unknown>> = {
  "openai-chat": (body) => openai(body).chat.completions.stream({ model: "m", messages: [] }).finalChatCompletion(),
  "openai-responses": async (body) => {
    let last: unknown;
    for await (const event of await openai(body).responses.create({ model: "m", input: "a", stream: true })) last = event;
    return (last as Json).response; // the SDK's accumulator refuses unknown events
  },
  anthropic: (body) => new Anthropic({ apiKey: "sk", fetch: fetchOf(body) }).beta.messages.stream({ model: "m", messages: [], max_tokens: 1 }).finalMessage(),
};
const ADDED = ["parsed", "parsed_arguments", "parsed_output", "output_parsed", "output_text"]; // the SDKs' own members

/** Returns the SDK's value without the members that the SDK adds. */
function withoutAdditions(theirs: any, ours: any): unknown {
  if (Array.isArray(theirs)) return Array.isArray(ours) && ours.length === theirs.length ? theirs.map((item, place) => withoutAdditions(item, ours[place])) : theirs;
  if (typeof theirs !== "object" || theirs === null || typeof ours !== "object" || ours === null) return theirs;
  const kept = Object.keys(theirs).filter((name) => name in ours || (theirs[name] !== null && theirs[name] !== undefined && !ADDED.includes(name)));
  return Object.fromEntries(kept.map((name) => [name, withoutAdditions(theirs[name], ours[name])]));
}

const plain = (value: any) => (value === undefined ? undefined : JSON.parse(print(value)));

for (const path of streams) {
  const file = basename(path);
  const api = file.slice(0, file.indexOf(".")) as Api;
  const body = readFileSync(path, "utf8");

  test(`${file} is what the SDK accumulates`, async () => {
    const { response, incomplete, error } = assemble(api, body);
    const ours = plain(response);
    if (file.includes("tool-use-invalid-json")) {
      await assert.rejects(REFERENCES[api](`${body}\n\n`), /Unable to parse tool parameter JSON/); // the SDK throws an error
      assert.equal(ours.content[1].input, '{"location": "Paris", "unit": celsius}');
      assert.deepEqual({ incomplete, error }, { incomplete: undefined, error: undefined });
      return;
    }
    const theirs = JSON.parse(JSON.stringify(await REFERENCES[api](`${body}\n\n`)));
    if (file.includes("incomplete-partial-json")) {
      assert.match(ours.content[1].input, /^\{"filename": "taxes.txt"/); // the SDK drops values that it cannot parse
      theirs.content[1].input = ours.content[1].input;
    }
    if (/input-transformations-.*delta/.test(file)) { // the SDK replaces the list of the first event
      const first = JSON.parse(/^data: (.*message_start.*)$/m.exec(body)![1]!).message;
      assert.deepEqual(ours.input_transformations, [...first.input_transformations, ...theirs.input_transformations]);
      theirs.input_transformations = ours.input_transformations;
    }
    assert.deepEqual(ours, withoutAdditions(theirs, ours));
    const expected = file.includes("unknown-events") ? "unmerged" : undefined; // the SDK drops them
    assert.deepEqual({ incomplete, error }, { incomplete: expected, error: undefined });
  });

  test(`${file}, cut off anywhere, is incomplete`, () => {
    const whole = plain(assemble(api, body).response);
    for (let end = 0; end < body.length; end += Math.max(1, Math.floor(body.length / 97))) {
      const { response, incomplete } = assemble(api, body.slice(0, end));
      assert.ok(incomplete === "ended" || plain(response).id === whole.id);
    }
    assert.equal(assemble(api, body.slice(0, body.length / 2)).incomplete, "ended");
  });
}

for (const [name, { response, stream }] of Object.entries({ CHAT, RESPONSES, ANTHROPIC })) {
  const api = ({ CHAT: "openai-chat", RESPONSES: "openai-responses", ANTHROPIC: "anthropic" } as const)[name]!;

  for (const [end, text] of Object.entries({ LF: "\n", CRLF: "\r\n", CR: "\r" })) {
    test(`${api}: the response without streaming, with lines that end in ${end}`, () => {
      assert.deepEqual(plain(assemble(api, `: comment\n\n${stream}`.replaceAll("\n", text)).response), response);
    });
  }
}

for (const path of streams.filter((path) => basename(path).startsWith("openai-responses"))) {
  test(`${basename(path)} without its last event has the same output`, () => {
    const blocks = readFileSync(path, "utf8").trimEnd().split("\n\n");
    const final = JSON.parse(blocks.at(-1)!.split("data: ")[1]!).response;
    const { response, incomplete } = assemble("openai-responses", `${blocks.slice(0, -1).join("\n\n")}\n\n`);
    assert.deepEqual(plain(response).output, final.output);
    assert.equal(incomplete, "ended");
  });
}

const chunk = (delta: Json, finish_reason: string | null = null, rest: Json = {}) => ({
  id: "c",
  object: "chat.completion.chunk",
  created: 1,
  model: "m",
  choices: [{ index: 0, delta, finish_reason }],
  ...rest,
});

test("members of other servers are assembled", () => {
  const body = events([
    { id: "", choices: [], created: 0, model: "", prompt_filter_results: [{ prompt_index: 0 }] },
    chunk({ role: "assistant", reasoning_content: "Hm" }, null, { obfuscation: "x" }),
    chunk({ reasoning_content: "m.", audio: { id: "audio_1", transcript: "He" } }),
    chunk({ content: "Hi", audio: { data: "UklG", transcript: "llo" } }, null, { system_fingerprint: null }),
    chunk({ reasoning_details: [{ type: "text", index: 0, text: "a" }] }),
    chunk({ reasoning_details: [{ type: "text", index: 0, text: "b" }] }),
    chunk({ function_call: { name: "f", arguments: "{" } }),
    chunk({ function_call: { arguments: "}" } }),
    chunk({}, "stop", { usage: { cost: 1 }, system_fingerprint: "fp" }),
  ]).replace('"cost":1}', '"cost":0.10}');
  const { response, incomplete } = assemble("openai-chat", body);
  const { message } = plain(response).choices[0];
  assert.equal(message.reasoning_content, "Hmm.");
  assert.equal(message.content, "Hi");
  assert.deepEqual(message.audio, { id: "audio_1", transcript: "Hello", data: "UklG" });
  assert.deepEqual(message.reasoning_details, [{ type: "text", index: 0, text: "ab" }]);
  assert.deepEqual(message.function_call, { name: "f", arguments: "{}" });
  assert.match(print(response!), /"cost":0\.10/);
  assert.deepEqual([response!.id, response!.object, "obfuscation" in response!], ["c", "chat.completion", false]);
  assert.ok(response!.prompt_filter_results);
  assert.equal(incomplete, undefined, "every choice ended, although there is no [DONE]");
});

test("tool calls without an index are told apart by their ids", () => {
  const call = (id: string | undefined, text: string) => chunk({ tool_calls: [{ ...(id ? { id } : {}), type: "function", function: { name: "f", arguments: text } }] });
  const { response } = assemble("openai-chat", events([call("a", "{"), call(undefined, "}"), call("b", "[]"), "[DONE]"]));
  const calls = plain(response).choices[0].message.tool_calls;
  assert.deepEqual(calls.map((call: Json) => [call.id, call.function.arguments]), [["a", "{}"], ["b", "[]"]]);
});

test("an error within a stream is kept", () => {
  const chat = assemble("openai-chat", events([chunk({ content: "H" }), { error: { message: "down" } }]));
  assert.deepEqual([plain(chat.error), chat.incomplete], [{ message: "down" }, "error"]);
  assert.equal(plain(chat.response).choices[0].message.content, "H");
  const started = { type: "message_start", message: { id: "m", content: [] } };
  const claude = assemble("anthropic", events([started, { type: "error", error: { type: "overloaded_error" } }], true));
  assert.deepEqual([plain(claude.error), claude.incomplete], [{ type: "overloaded_error" }, "error"]);
  const responses = assemble("openai-responses", events([{ type: "error", code: "x", sequence_number: 1 }]));
  assert.deepEqual(plain(responses.error), { code: "x" });
  const failed = assemble("openai-responses", readFileSync(join(FOLDER, "openai-responses.error.txt"), "utf8"));
  assert.equal(plain(failed.error).error.code, "insufficient_quota");
  assert.equal(plain(failed.response).error.code, "insufficient_quota");
});

test("a response of the Responses API that ends early has what came", () => {
  const part = { type: "output_text", text: "", annotations: [] };
  const call = { type: "function_call", id: "fc", call_id: "c", name: "f", arguments: "" };
  const { response, incomplete } = assemble("openai-responses", events([
    { type: "response.created", response: { id: "r", object: "response", status: "in_progress", output: [] } },
    { type: "response.output_item.added", output_index: 0, item: { type: "reasoning", id: "rs", summary: [] } },
    { type: "response.reasoning_summary_part.added", output_index: 0, summary_index: 0, part: { text: "" } },
    { type: "response.reasoning_summary_text.delta", output_index: 0, summary_index: 0, delta: "Hm" },
    { type: "response.reasoning_text.delta", output_index: 0, content_index: 0, delta: "Why" },
    { type: "response.output_item.added", output_index: 1, item: { type: "message", id: "m", content: [] } },
    { type: "response.content_part.added", output_index: 1, content_index: 0, part },
    { type: "response.output_text.delta", output_index: 1, content_index: 0, delta: "He", logprobs: [1] },
    { type: "response.output_text.delta", output_index: 1, content_index: 0, delta: "llo", logprobs: [2] },
    { type: "response.output_text.annotation.added", output_index: 1, content_index: 0, annotation_index: 0, annotation: { type: "url_citation" } },
    { type: "response.invented.delta", output_index: 1, delta: "x" },
    { type: "response.output_item.added", output_index: 2, item: call },
    { type: "response.function_call_arguments.delta", output_index: 2, delta: '{"ci' },
  ]));
  const [reasoning, message, last] = plain(response).output;
  assert.deepEqual(reasoning.summary, [{ text: "Hm" }]);
  assert.deepEqual(reasoning.content, [{ type: "reasoning_text", text: "Why" }]);
  assert.deepEqual(message.content, [{ ...part, text: "Hello", logprobs: [1, 2], annotations: [{ type: "url_citation" }] }]);
  assert.equal(last.arguments, '{"ci');
  assert.equal(incomplete, "ended");
});

test("hostile streams neither throw nor hang", () => {
  const hostile: Json[] = [
    { type: "content_block_start", index: 4294967294, content_block: {} },
    { type: "response.output_item.added", output_index: 4294967294, item: {} },
    { type: { toString: 1 }, index: { valueOf: 1 }, output_index: null, choices: [{ index: {}, delta: { tool_calls: [null, { index: [] }, 1] } }, null, 7] },
    { type: "content_block_delta", index: -1, delta: { type: "text_delta", text: { a: 1 } } },
    { ["__proto__"]: 1, constructor: { prototype: 1 }, choices: { length: 1e9 } },
    { choices: [{ index: 0, ["__proto__"]: { a: 1 }, delta: { ["__proto__"]: { polluted: 1 }, content: "a" } }] },
  ];
  const started = [{ type: "message_start", message: {} }, { type: "response.created", response: {} }];
  for (const api of ["openai-chat", "openai-responses", "anthropic"] as const) {
    const { response, incomplete, unmerged } = assemble(api, events([...started, ...hostile, "no JSON", "[]"]));
    assert.ok(incomplete);
    assert.match(print([response!, ...unmerged]), /"__proto__":1/, "a member named __proto__ is kept");
    assert.equal(({} as Json).polluted, undefined);
    assert.deepEqual(assemble(api, ""), { response: undefined, incomplete: "ended", error: undefined, unmerged: [], isContradictory: false });
  }
});
