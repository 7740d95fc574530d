/** Streams of the Responses API. */

import { isObject, type Json, type JsonObject } from "../json.js";
import type { Assembly } from "./index.js";

/** Deltas and final texts, by event: the list of parts in the item (if any), the event's index into it, and the member with the text. */
const TEXTS: Record<string, [list: string | undefined, index: string, member: string, final: string]> = {
  "response.output_text": ["content", "content_index", "text", "text"],
  "response.refusal": ["content", "content_index", "refusal", "refusal"],
  "response.reasoning_text": ["content", "content_index", "text", "text"],
  "response.reasoning_summary_text": ["summary", "summary_index", "text", "text"],
  "response.function_call_arguments": [undefined, "", "arguments", "arguments"],
  "response.mcp_call_arguments": [undefined, "", "arguments", "arguments"],
  "response.custom_tool_call_input": [undefined, "", "input", "input"],
  "response.code_interpreter_call_code": [undefined, "", "code", "code"],
};
const PARTS: Record<string, [list: string, index: string]> = {
  "response.content_part": ["content", "content_index"],
  "response.reasoning_summary_part": ["summary", "summary_index"],
};

/**
 * Takes the response from the last event of a stream. Of a stream that was cut off, the response is made of the first event and
 * the items that followed.
 */
export class ResponsesAssembly implements Assembly {
  private snapshot: JsonObject | undefined;
  private readonly output: JsonObject[] = [];
  isComplete = false;

  add(event: JsonObject): void {
    const type = String(event.type);
    if (isObject(event.response)) {
      this.snapshot = event.response;
      this.isComplete ||= ["response.completed", "response.incomplete", "response.failed"].includes(type);
    } else if (type === "response.output_item.added" || type === "response.output_item.done") {
      if (isObject(event.item)) this.output[Number(event.output_index)] = { ...event.item };
    } else {
      this.addPiece(type, event);
    }
  }

  response(): JsonObject | undefined {
    if (!this.snapshot || this.isComplete) return this.snapshot;
    const items = this.output.filter(isObject).map(withoutHoles);
    return items.length > 0 ? { ...this.snapshot, output: items } : this.snapshot;
  }

  private addPiece(type: string, event: JsonObject): void {
    const item = this.output[Number(event.output_index)];
    const event_ = type.slice(0, type.lastIndexOf("."));
    if (!item) return;
    const part = PARTS[event_];
    if (part && event.part !== undefined) elements(item, part[0])[Number(event[part[1]])] = copyOf(event.part);
    if (type === "response.output_text.annotation.added" && event.annotation !== undefined) {
      const holder = elements(item, "content")[Number(event.content_index)];
      if (isObject(holder)) elements(holder, "annotations").push(event.annotation);
    }
    const text = TEXTS[event_];
    if (!text) return;
    const [list, index, member, final] = text;
    const holder = list ? elements(item, list)[Number(event[index])] : item;
    if (!isObject(holder)) return;
    if (type.endsWith(".delta") && typeof event.delta === "string") holder[member] = String(holder[member] ?? "") + event.delta;
    if (type.endsWith(".done") && event[final] !== undefined) holder[member] = event[final];
  }
}

/** Returns a list of the object that can be changed. */
function elements(object: JsonObject, name: string): Json[] {
  const list = object[name];
  if (Array.isArray(list)) return list;
  return (object[name] = []);
}

function copyOf(value: Json): Json {
  return isObject(value) ? { ...value } : value;
}

function withoutHoles(item: JsonObject): JsonObject {
  const lists = Object.entries(item).map(([name, value]): [string, Json] => [name, Array.isArray(value) ? value.filter(() => true) : value]);
  return Object.fromEntries(lists);
}
