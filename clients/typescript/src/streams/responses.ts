/** Streams of the Responses API. */

import { indexOr, isObject, type Json, type JsonObject, textOr } from "../json.js";
import type { Assembly } from "./assembly.js";

type Text = [list: string | undefined, index: string, member: string];

/** The location of a text, by event: the item's list of parts (if any), the event's index into it, and the member with the text. */
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
 * Returns the response of the last event of a stream. If the stream was cut off, assembles the response from the first event and the
 * items that followed.
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
      if (!this.isComplete) this.snapshot = event.response;
      this.isComplete ||= ["response.completed", "response.incomplete", "response.failed"].includes(type);
    } else if (type === "response.output_item.added" || type === "response.output_item.done") {
      const index = indexOr(event.output_index);
      if (isObject(event.item) && index >= 0) this.output[index] = { ...event.item };
    } else {
      this.addPiece(type, event);
    }
  }

  response(): JsonObject | undefined {
    const output = this.snapshot?.output;
    if (this.isComplete && Array.isArray(output) && output.length > 0) return this.snapshot; // some servers leave it empty
    const items = this.output.filter(isObject);
    return items.length > 0 ? { ...this.snapshot, output: items } : this.snapshot;
  }

  private addPiece(type: string, event: JsonObject): void {
    const item = this.output[indexOr(event.output_index)];
    if (!item) return;
    const end = type.slice(type.lastIndexOf(".") + 1);
    const prefix = type.slice(0, -end.length - 1);
    const part = PARTS[prefix];
    const text = TEXTS[prefix];
    if (part) {
      const place = indexOr(event[part[1]]);
      if (place >= 0 && isObject(event.part)) put(elements(item, part[0]), place, { ...event.part });
    } else if (type === "response.output_text.annotation.added") {
      const holder = partOf(item, "content", event.content_index);
      const place = indexOr(event.annotation_index);
      if (holder && event.annotation !== undefined && event.annotation !== null) put(elements(holder, "annotations"), place < 0 ? Infinity : place, event.annotation);
    } else if (text && (end === "delta" || end === "done")) {
      addText(item, text, prefix, end, event);
    }
  }
}

function addText(item: JsonObject, [list, index, member]: Text, prefix: string, end: "delta" | "done", event: JsonObject): void {
  const text = end === "delta" ? event.delta : event[member];
  if (typeof text !== "string") return;
  let holder: JsonObject | undefined = item;
  if (list) {
    const parts = item[list];
    // Reasoning text has no event that adds its part.
    if (event[index] === (Array.isArray(parts) ? parts.length : 0)) elements(item, list).push({ type: prefix.slice(prefix.indexOf(".") + 1), [member]: "" });
    holder = partOf(item, list, event[index]);
  }
  if (!holder) return;
  holder[member] = end === "delta" ? textOr(holder[member]) + text : text;
  if (end === "delta" && Array.isArray(event.logprobs) && event.logprobs.length > 0) elements(holder, "logprobs").push(...event.logprobs);
}

function partOf(item: JsonObject, list: string, index: Json | undefined): JsonObject | undefined {
  const parts = item[list];
  const part = Array.isArray(parts) ? parts[indexOr(index)] : undefined;
  return isObject(part) ? part : undefined;
}

function put(elements: Json[], place: number, value: Json): void {
  if (place < elements.length) elements[place] = value;
  else elements.push(value);
}

/** Returns a list member of the object, and creates it if necessary. */
function elements(object: JsonObject, name: string): Json[] {
  const list = object[name];
  if (Array.isArray(list)) return list;
  return (object[name] = []);
}
