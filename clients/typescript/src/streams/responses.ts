/** Streams of the Responses API. */

import { indexOr, isObject, type Json, type JsonObject, textOr } from "../json.js";
import type { Assembly } from "./index.js";

type Text = [list: string | undefined, index: string, member: string];

/** The place of a text, by event: the list of parts in the item (if any), the event's index into it, and the member with the text. */
const TEXTS: Record<string, Text> = {
  "response.output_text": ["content", "content_index", "text"],
  "response.refusal": ["content", "content_index", "refusal"],
  "response.reasoning_text": ["content", "content_index", "text"],
  "response.reasoning_summary_text": ["summary", "summary_index", "text"],
  "response.function_call_arguments": [undefined, "", "arguments"],
  "response.mcp_call_arguments": [undefined, "", "arguments"],
  "response.custom_tool_call_input": [undefined, "", "input"],
  "response.code_interpreter_call_code": [undefined, "", "code"],
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
  error: Json | undefined;

  add(event: JsonObject): void {
    const type = textOr(event.type);
    if (type === "error") {
      const { type: _, sequence_number: __, ...error } = event;
      this.error = error;
    } else if (isObject(event.response)) {
      this.snapshot = event.response;
      this.isComplete ||= ["response.completed", "response.incomplete", "response.failed"].includes(type);
    } else if (type === "response.output_item.added" || type === "response.output_item.done") {
      const index = indexOr(event.output_index);
      if (isObject(event.item) && index >= 0) this.output[index] = { ...event.item };
    } else {
      this.addPiece(type, event);
    }
  }

  response(): JsonObject | undefined {
    if (!this.snapshot) return undefined;
    const { output } = this.snapshot;
    if (this.isComplete && Array.isArray(output) && output.length > 0) return this.snapshot; // some servers leave it empty
    const items = this.output.filter(isObject).map(withoutHoles);
    return items.length > 0 ? { ...this.snapshot, output: items } : this.snapshot;
  }

  private addPiece(type: string, event: JsonObject): void {
    const item = this.output[indexOr(event.output_index)];
    const prefix = type.slice(0, type.lastIndexOf("."));
    if (!item) return;
    const part = PARTS[prefix];
    const place = part ? indexOr(event[part[1]]) : -1;
    if (part && place >= 0 && event.part !== undefined) elements(item, part[0])[place] = copyOf(event.part);
    if (type === "response.output_text.annotation.added" && event.annotation !== undefined) {
      const holder = elements(item, "content")[indexOr(event.content_index)];
      if (isObject(holder)) elements(holder, "annotations").push(event.annotation);
    }
    const text = TEXTS[prefix];
    if (text) addText(item, text, type, event);
  }
}

function addText(item: JsonObject, [list, index, member]: Text, type: string, event: JsonObject): void {
  let holder: Json | undefined = item;
  if (list) {
    const parts = elements(item, list);
    const place = indexOr(event[index]);
    // The text of reasoning comes without an event for its part.
    if (place === parts.length) parts.push({ type: type.split(".")[1]!, text: "" });
    holder = parts[place];
  }
  if (!isObject(holder)) return;
  if (type.endsWith(".delta") && typeof event.delta === "string") holder[member] = textOr(holder[member]) + event.delta;
  if (type.endsWith(".done") && event[member] !== undefined) holder[member] = event[member];
  if (type.endsWith(".delta") && Array.isArray(event.logprobs) && event.logprobs.length > 0) elements(holder, "logprobs").push(...event.logprobs);
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
