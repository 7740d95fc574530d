/** Assembles the events of Anthropic's Messages API. */

import { indexOr, isEmpty, isFalsy, isObject, type Json, type JsonObject, parse } from "../json.js";
import { Assembly } from "./assembly.js";
import { PIECES, STATE } from "./merge.js";

/** The block type of a delta type, for deltas whose `content_block_start` is missing. */
const KINDS = new Map([["input_json_delta", "tool_use"], ["citations_delta", "text"], ["signature_delta", "thinking"]]);

interface Block {
  place: number;
  members: JsonObject;
  /** The JSON text of the tool's input, which arrives in pieces. */
  input: string;
  isStopped: boolean;
}

export class AnthropicAssembly extends Assembly {
  private readonly message: JsonObject = {};
  private isStarted = false;
  private readonly blocks: Block[] = [];
  /** The last block with each index. */
  private readonly current = new Map<number, Block>();
  private next = 0;

  add(event: JsonObject): void {
    const rest = { ...event };
    switch (event.type) {
      case "message_start":
        this.start(event.message);
        delete rest.message;
        break;
      case "message": // some servers send the whole message as one event
        this.start(event);
        this.isComplete = true;
        return;
      case "content_block_start":
        this.startBlock(event.index, event.content_block);
        delete rest.content_block;
        break;
      case "content_block_delta":
        this.addDelta(event.index, event.delta);
        delete rest.delta;
        break;
      case "content_block_stop": {
        const block = this.current.get(indexOr(event.index));
        if (block) block.isStopped = true;
        break;
      }
      case "message_delta":
        this.isStarted = true;
        if (isObject(event.delta)) this.merge(this.message, event.delta, STATE);
        else this.keep(event.delta);
        delete rest.delta;
        delete rest.type;
        this.merge(this.message, rest, STATE);
        return;
      case "message_stop":
        this.isComplete = true;
        break;
      default:
        if (event.type !== "error" && (event.error === undefined || event.error === null)) break;
        this.fail(event.error ?? event);
        delete rest.error;
        delete rest.type;
        if (event.error !== undefined && event.error !== null) this.merge(this.message, rest, STATE);
        return;
    }
    if (Object.keys(rest).some((name) => name !== "type" && name !== "index")) this.keep(rest);
  }

  protected assembled(): JsonObject | undefined {
    for (const { members, input, isStopped } of this.blocks) {
      if (!input) continue;
      if (!isEmpty(members.input)) this.unmerged.push({ content: [{ input: members.input! }] });
      // A number that was cut off is still a number, so an unfinished input is kept as a string instead of parsed.
      members.input = isStopped ? inputOf(input) : input;
    }
    const content = this.blocks.toSorted((one, other) => one.place - other.place).map(({ members }) => members);
    if (this.isStarted) {
      if (!isFalsy(this.message.content)) this.keep({ content: this.message.content! });
      return { ...this.message, content };
    }
    return Object.keys(this.message).length > 0 ? this.message : undefined;
  }

  private start(message: Json | undefined): void {
    if (!isObject(message)) {
      this.keep(message);
      return;
    }
    this.isStarted = true;
    const { content, ...rest } = message;
    const blocks = typeof content === "string" && content ? [{ type: "text", text: content }] : content;
    this.merge(this.message, rest, STATE);
    if (Array.isArray(blocks)) blocks.forEach((block, place) => this.startBlock(place, block));
    else this.keep(blocks);
  }

  private startBlock(index: Json | undefined, block: Json | undefined): void {
    if (!isObject(block)) {
      this.keep(block);
      return;
    }
    this.isStarted = true;
    const place = indexOr(index) < 0 ? this.next : indexOr(index);
    this.next = Math.max(this.next, place + 1);
    const made = { place, members: block, input: "", isStopped: false };
    this.blocks.push(made);
    this.current.set(place, made);
    const model = block.type === "fallback" && isObject(block.to) ? block.to.model : undefined;
    if (typeof model === "string") this.message.model = model; // from here on, another model responds
  }

  private addDelta(index: Json | undefined, delta: Json | undefined): void {
    if (!isObject(delta)) {
      this.keep(delta);
      return;
    }
    const block = this.blockOf(index, delta);
    const { type, ...rest } = delta;
    if (type === "input_json_delta" && typeof rest.partial_json === "string") {
      block.input += rest.partial_json;
      delete rest.partial_json;
    } else if (type === "citations_delta" && rest.citation !== undefined && rest.citation !== null) {
      this.merge(block.members, { citations: [rest.citation] }, PIECES);
      delete rest.citation;
    }
    this.merge(block.members, rest, type === "signature_delta" ? STATE : PIECES); // text, thinking, and future types
  }

  /** Returns the block that a delta continues. Creates one if the event that starts it is missing. */
  private blockOf(index: Json | undefined, { type }: JsonObject): Block {
    const last = this.blocks.at(-1);
    if ((index === undefined || index === null) && last) return last;
    const current = this.current.get(indexOr(index));
    if (current) return current;
    const kind = typeof type === "string" ? (KINDS.get(type) ?? type.replace(/_delta$/, "")) : "text";
    this.startBlock(index, { type: kind });
    return this.blocks.at(-1)!;
  }
}

/** Parses a tool's input. Some models write invalid JSON, which is returned as a string. */
function inputOf(text: string): Json {
  try {
    return parse(text);
  } catch {
    return text;
  }
}
