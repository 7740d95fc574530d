/** Streams of Anthropic's Messages API. */

import { indexOr, isObject, type Json, type JsonObject, parse, set, textOr } from "../json.js";
import type { Assembly } from "./assembly.js";
import { mergeInto } from "./merge.js";

export class AnthropicAssembly implements Assembly {
  private message: JsonObject | undefined;
  private readonly blocks: JsonObject[] = [];
  /** The JSON text of each tool's input, which arrives in pieces. */
  private readonly inputs = new Map<number, string>();
  private readonly stopped = new Set<number>();
  isComplete = false;
  error: Json | undefined;

  add(event: JsonObject): void {
    const index = indexOr(event.index);
    switch (event.type) {
      case "message_start":
        if (isObject(event.message)) this.startMessage(event.message);
        break;
      case "content_block_start":
        if (isObject(event.content_block) && index >= 0) this.startBlock(index, event.content_block);
        break;
      case "content_block_delta":
        if (isObject(event.delta) && this.blocks[index]) this.addDelta(index, this.blocks[index], event.delta);
        break;
      case "content_block_stop":
        this.stopped.add(index);
        break;
      case "message_delta":
        this.finishMessage((this.message ??= {}), event);
        break;
      case "message_stop":
        this.isComplete = true;
        break;
      case "error":
        this.error = event.error ?? event;
    }
  }

  response(): JsonObject | undefined {
    if (!this.message) return undefined;
    const content = this.blocks.map((block, index): Json => {
      const text = this.inputs.get(index);
      // The start of a number is also a number, so a truncated input is kept as a string instead of parsed.
      return text ? { ...block, input: this.stopped.has(index) ? inputOf(text) : text } : block;
    });
    return { ...this.message, content: content.filter(isObject) };
  }

  private startMessage(message: JsonObject): void {
    this.message = { ...message };
    const blocks = Array.isArray(message.content) ? message.content : [];
    for (const [index, block] of blocks.entries()) if (isObject(block)) this.blocks[index] ??= { ...block };
  }

  private startBlock(index: number, block: JsonObject): void {
    this.message ??= {};
    this.blocks[index] = { ...block };
    const model = block.type === "fallback" && isObject(block.to) ? block.to.model : undefined;
    if (typeof model === "string") this.message.model = model; // from here on, another model responds
  }

  private addDelta(index: number, block: JsonObject, delta: JsonObject): void {
    const { type, ...members } = delta;
    if (type === "input_json_delta") {
      this.inputs.set(index, (this.inputs.get(index) ?? "") + textOr(members.partial_json));
    } else if (type === "citations_delta") {
      const { citation } = members;
      if (citation !== undefined && citation !== null) block.citations = [...(Array.isArray(block.citations) ? block.citations : []), citation];
    } else if (type === "signature_delta") {
      if (typeof members.signature === "string") block.signature = members.signature;
    } else {
      mergeInto(block, members); // text, thinking, and future types
    }
  }

  private finishMessage(message: JsonObject, event: JsonObject): void {
    for (const [name, value] of Object.entries(event)) {
      if (name === "delta") {
        for (const [member, changed] of Object.entries(isObject(value) ? value : {})) set(message, member, changed);
      } else if (name === "usage") {
        if (isObject(value) && Object.keys(value).length > 0) message.usage = withCounts(isObject(message.usage) ? message.usage : {}, value);
      } else if (name !== "type") {
        set(message, name, value);
      }
    }
  }
}

/** The counts of `usage` are totals, so they replace those of the first event. */
function withCounts(before: JsonObject, counts: JsonObject): JsonObject {
  const changed = Object.entries(counts).filter(([name, count]) => count !== null || !Object.hasOwn(before, name));
  return { ...before, ...Object.fromEntries(changed) };
}

/** Parses the input of a tool. Some models write inputs that are not JSON; their text is kept. */
function inputOf(text: string): Json {
  try {
    return parse(text);
  } catch {
    return text;
  }
}
