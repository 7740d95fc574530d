/** Streams of Anthropic's Messages API. */

import { indexOr, isObject, type Json, type JsonObject, parse, set, textOr } from "../json.js";
import type { Assembly } from "./index.js";
import { mergeInto } from "./merge.js";

export class AnthropicAssembly implements Assembly {
  private message: JsonObject | undefined;
  private readonly blocks: JsonObject[] = [];
  /** The JSON text of each tool's input, which arrives in pieces. */
  private readonly inputs = new Map<number, string>();
  isComplete = false;

  add(event: JsonObject): void {
    const index = indexOr(event.index);
    switch (event.type) {
      case "message_start":
        if (isObject(event.message)) this.message = { ...event.message };
        break;
      case "content_block_start":
        if (isObject(event.content_block) && index >= 0) this.blocks[index] = { ...event.content_block };
        break;
      case "content_block_delta":
        if (isObject(event.delta) && this.blocks[index]) this.addDelta(index, this.blocks[index], event.delta);
        break;
      case "message_delta":
        if (this.message) this.finishMessage(this.message, event);
        break;
      case "message_stop":
        this.isComplete = true;
    }
  }

  response(): JsonObject | undefined {
    if (!this.message) return undefined;
    const content = this.blocks.map((block, index): Json => {
      const text = this.inputs.get(index);
      return text ? { ...block, input: inputOf(text) } : block;
    });
    return { ...this.message, content: content.filter(isObject) };
  }

  private addDelta(index: number, block: JsonObject, delta: JsonObject): void {
    const { type, ...members } = delta;
    if (type === "input_json_delta") this.inputs.set(index, (this.inputs.get(index) ?? "") + textOr(members.partial_json));
    else if (type === "citations_delta") block.citations = [...(Array.isArray(block.citations) ? block.citations : []), members.citation ?? null];
    else mergeInto(block, members); // text, thinking, signature, and what will follow them
  }

  /** The counts of `usage` are totals, so they replace those of the first event. */
  private finishMessage(message: JsonObject, { type: _, delta, usage, ...rest }: JsonObject): void {
    const counts = isObject(usage) ? Object.fromEntries(Object.entries(usage).filter(([, count]) => count !== null)) : {};
    message.usage = { ...(isObject(message.usage) ? message.usage : {}), ...counts };
    for (const [name, value] of Object.entries({ ...rest, ...(isObject(delta) ? delta : {}) })) set(message, name, value);
  }
}

/** The input of a stream that was cut off is no JSON; its text is kept. */
function inputOf(text: string): Json {
  try {
    return parse(text);
  } catch {
    return text;
  }
}
