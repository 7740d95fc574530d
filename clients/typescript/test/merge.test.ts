/** Tests that merging stream chunks loses no value and takes linear time. If the tests run outside the repository, `STREAMS` is the path of clients/streams. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loggedFetch } from "attest-client";
import { type Api, assemble, parse, print } from "attest-client/mapping";
import { endpoint, events, type Json } from "./support.js";

const FOLDER = join(process.env.STREAMS ?? fileURLToPath(new URL("../../streams/", import.meta.url)), "servers");
const APIS: Api[] = ["openai-chat", "openai-responses", "anthropic"];

function assembled(api: Api, text: string): Json {
  const { response, incomplete, error, unmerged } = assemble(api, text);
  const result = { response: response ?? {}, incomplete, error, unmerged: unmerged.length > 0 ? unmerged : undefined };
  return Object.fromEntries(Object.entries(result).filter(([, value]) => value !== undefined));
}

for (const name of readdirSync(FOLDER).filter((name) => name.endsWith(".sse"))) {
  test(`${name} has its result`, () => {
    const api = basename(name).split(".")[0] as Api;
    const expected = JSON.parse(readFileSync(join(FOLDER, name.replace(/sse$/, "json")), "utf8"));
    assert.deepEqual(JSON.parse(print(assembled(api, readFileSync(join(FOLDER, name), "utf8")) as any)), expected);
  });
}

/** Generates random events. Every string and number is unique, so that a lost one is noticed. */
class Chunks {
  private count = 100_000;

  constructor(private state: number) {}

  /** Returns an integer below `end` from a linear congruential generator. */
  below(end: number): number {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.state / 2 ** 32) * end);
  }

  private pick<T>(items: T[]): T {
    return items[this.below(items.length)]!;
  }

  private text(): string {
    return `<${++this.count}>`;
  }

  private value(depth = 0): unknown {
    const kinds = depth < 2 ? ["text", "text", "text", "number", "true", "null", "object", "list"] : ["text", "number"];
    switch (this.pick(kinds)) {
      case "object": return this.members(depth + 1);
      case "list": return Array.from({ length: this.below(3) }, () => this.value(depth + 1));
      case "number": return ++this.count;
      case "true": return true;
      case "null": return null;
      default: return this.text();
    }
  }

  private members(depth = 0): Json {
    const names = ["content", "reasoning", "name", "a", "b", "id", "role", "tool_calls", "text", "thinking", "arguments", "function"];
    const members: Json = {};
    for (let left = this.below(5); left > 0; left--) members[this.pick(names)] ??= this.value(depth);
    if (this.below(10) < 3) members.index = this.below(3);
    return members;
  }

  event(api: Api): Json {
    const event = this.members();
    if (api === "openai-chat") {
      event.choices = [0, 1].map((index) => ({ [this.pick(["delta", "delta", "delta", "message"])]: this.members(), ...this.members(), index }));
    } else if (api === "anthropic") {
      event.type = this.pick(["content_block_start", "content_block_delta", "content_block_delta", "message_delta", "other"]);
      event.index = this.below(3);
      const type = this.pick(["text_delta", "thinking_delta", "citations_delta", "signature_delta"]);
      event[event.type === "content_block_start" ? "content_block" : "delta"] = { ...this.members(), type };
    } else {
      const place = { output_index: this.below(3), content_index: this.below(2) };
      const kind = this.pick(["output_text.delta", "output_item.added", "content_part.added", "refusal.done", "other"]);
      if (kind === "output_text.delta") return { type: `response.${kind}`, ...place, delta: this.text() };
      if (kind === "refusal.done") return { type: `response.${kind}`, ...place, refusal: this.text() };
      Object.assign(event, place, { type: `response.${kind}`, delta: this.text(), item: this.members(), part: this.members() });
    }
    return event;
  }
}

for (const api of APIS) {
  test(`${api}: concatenating and merging never loses a value`, () => {
    for (let seed = 0; seed < 400; seed++) {
      const chunks = new Chunks(seed);
      const sent = Array.from({ length: 1 + chunks.below(11) }, () => chunks.event(api));
      const result = print(assembled(api, events(sent)) as any);
      const leaves = JSON.stringify(sent).match(/<\d+>|\b1\d{5}\b/g) ?? [];
      for (const leaf of leaves) assert.ok(result.includes(leaf), `${leaf} of ${JSON.stringify(sent)} is not in ${result}`);
    }
  });
}

const chat = (members: Json) => ({ choices: [{ index: 0, ...members }] });
const LONG: Record<string, (place: number) => Json> = {
  "a text": () => chat({ delta: { content: "word" } }),
  "a name": () => chat({ delta: { tool_calls: [{ index: 0, function: { name: "word" } }] } }),
  "a message in pieces": (place) => chat({ message: { content: `${place} ` } }),
  "calls": (place) => chat({ delta: { tool_calls: [{ index: place, id: `c${place}` }] } }),
  "calls of one index": (place) => chat({ delta: { tool_calls: [{ index: 0, id: `c${place}` }] } }),
  "choices": (place) => ({ choices: [{ index: place, delta: { content: "a" } }] }),
  "parts": () => chat({ delta: { content: [{ type: "text", text: "a" }, { type: "image" }] } }),
};

for (const [kind, make] of Object.entries(LONG)) {
  test(`${kind}: the work is linear`, { timeout: 60_000 }, () => {
    const text = events(Array.from({ length: 60_000 }, (_, place) => make(place)));
    assert.ok(assemble("openai-chat", text).response); // quadratic work takes minutes
  });
}

test("a text that breaks off within a string with many quotes is read in linear time", { timeout: 60_000 }, () => {
  for (const piece of ['{\\"a\\":1},', '\\\\', '\\"', "NaN"]) {
    assert.throws(() => parse(`{"a":"${piece.repeat(500_000)}`), { name: "NotJson" });
    assert.throws(() => parse(`{"a":"${piece.repeat(500_000)}\\`), { name: "NotJson" });
  }
});

test("a stream of 128,000 chunks does not block the event loop", { timeout: 120_000 }, async () => {
  const attest = await endpoint();
  Object.assign(process.env, attest.environment);
  const chunk = 'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n';
  const content = new TextEncoder().encode(`${chunk.repeat(128_000)}data: [DONE]\n\n`);
  let place = 0;
  const source = new ReadableStream({
    pull(controller) {
      if (place >= content.length) return controller.close();
      controller.enqueue(content.slice(place, (place += 65_536)));
    },
  });
  const fetch = loggedFetch({ fetch: async () => new Response(source, { headers: { "content-type": "text/event-stream" } }) });
  const response = await fetch("http://h/v1/chat/completions", { method: "POST", body: '{"stream":true}' });
  let longest = 0;
  let before = process.cpuUsage();
  const measure = () => {
    const { user, system } = process.cpuUsage(before);
    longest = Math.max(longest, (user + system) / 1_000);
    before = process.cpuUsage();
  };
  for await (const _ of response.body!) {
    await new Promise(setImmediate);
    measure();
  }
  measure();
  assert.equal(attest.waiting[0]!.messages.at(-1).content, "word".repeat(128_000));
  assert.ok(longest < 250, `the longest block of the event loop takes ${longest} ms of CPU`);
});
