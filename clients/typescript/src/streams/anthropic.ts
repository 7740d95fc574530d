/** Streams of Anthropic's Messages API. */

import { indexOr, isObject, type Json, type JsonObject, parse, set, textOr } from "../json.js";
import type { Assembly } from "./index.js";
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
        if (isObject(event.message)) this.message = { ...event.message };
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
        if (this.message) this.finishMessage(this.message, event);
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
      // The start of a number is a number, too, so the text of an input that was cut off is kept as it came.
      return text ? { ...block, input: this.stopped.has(index) ? inputOf(text) : text } : block;
    });
    return { ...this.message, content: content.filter(isObject) };
  }

  private startBlock(index: number, block: JsonObject): void {
    this.blocks[index] = { ...block };
    const model = block.type === "fallback" && isObject(block.to) ? block.to.model : undefined;
    if (this.message && typeof model === "string") this.message.model = model; // another model answers from here on
  }

  private addDelta(index: number, block: JsonObject, delta: JsonObject): void {
    const { type, ...members } = delta;
    if (type === "input_json_delta") this.inputs.set(index, (this.inputs.get(index) ?? "") + textOr(members.partial_json));
    else if (type === "citations_delta") block.citations = [...(Array.isArray(block.citations) ? block.citations : []), members.citation ?? null];
    else if (type === "signature_delta") block.signature = members.signature ?? null;
    else mergeInto(block, members); // text, thinking, and what is to come
  }

  /** The counts of `usage` are totals, so they replace those of the first event. */
  private finishMessage(message: JsonObject, { type: _, delta, usage, ...rest }: JsonObject): void {
    const before = isObject(message.usage) ? message.usage : {};
    const counts = Object.entries(isObject(usage) ? usage : {}).filter(([name, count]) => count !== null || !Object.hasOwn(before, name));
    message.usage = { ...before, ...Object.fromEntries(counts) };
    for (const [name, value] of Object.entries({ ...rest, ...(isObject(delta) ? delta : {}) })) set(message, name, value);
  }
}

/** Some models write inputs that are not JSON; their text is kept. */
function inputOf(text: string): Json {
  try {
    return parse(text);
  } catch {
    return text;
  }
}
