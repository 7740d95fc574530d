/** Assembles the events of the Responses API. The last event contains the whole response. */

import { get, indexOr, isEmpty, isFalsy, isObject, isSame, type Json, type JsonObject, set, textOr } from "../json.js";
import { Assembly } from "./assembly.js";
import { FINAL, PIECES, STATE } from "./merge.js";

/** The location of a text: in an item itself, or in a part from one of the item's lists. */
interface Place {
  /** The type of the item if no earlier event has added it. */
  item: string;
  member: string;
  parts?: string;
  /** The event member with the index into the list. */
  index?: string;
}

const TEXTS = new Map<string, Place>([
  ["response.output_text", { item: "message", member: "text", parts: "content", index: "content_index" }],
  ["response.refusal", { item: "message", member: "refusal", parts: "content", index: "content_index" }],
  ["response.reasoning_text", { item: "reasoning", member: "text", parts: "content", index: "content_index" }],
  ["response.reasoning_summary_text", { item: "reasoning", member: "text", parts: "summary", index: "summary_index" }],
  ["response.function_call_arguments", { item: "function_call", member: "arguments" }],
  ["response.mcp_call_arguments", { item: "mcp_call", member: "arguments" }],
  ["response.custom_tool_call_input", { item: "custom_tool_call", member: "input" }],
  ["response.code_interpreter_call_code", { item: "code_interpreter_call", member: "code" }],
]);
const PARTS = new Map<string, Required<Pick<Place, "item" | "parts" | "index">>>([
  ["response.content_part", { item: "message", parts: "content", index: "content_index" }],
  ["response.reasoning_summary_part", { item: "reasoning", parts: "summary", index: "summary_index" }],
]);
const ENDS = ["response.completed", "response.incomplete", "response.failed", "response.cancelled"];
/** Members that state where an event belongs. `obfuscation` is random padding. */
const PLACES = new Set(["type", "sequence_number", "item_id", "output_index", "content_index", "summary_index", "annotation_index", "obfuscation"]);
const MEMBERS = ["arguments", "input", "code"];
const PREVIEW = "response.image_generation_call.partial_image";

export class ResponsesAssembly extends Assembly {
  private readonly snapshot: JsonObject = {};
  private readonly items: { place: number; item: JsonObject }[] = [];
  /** The last item with each index and each id, because a delta may refer to either. */
  private readonly current = new Map<number | string, JsonObject>();
  private next = 0;
  private readonly previews = new Map<JsonObject, JsonObject>();
  /** Each list's parts, by the provider's index. */
  private readonly parts = new Map<Json[], Map<number, JsonObject>>();

  add(event: JsonObject): void {
    const type = textOr(event.type);
    const end = type.slice(type.lastIndexOf(".") + 1);
    const prefix = type.slice(0, -end.length - 1);
    let rest = { ...event };
    const part = PARTS.get(prefix);
    const text = TEXTS.get(prefix);
    if (isObject(event.response)) {
      this.addResponse(type, event.response);
      delete rest.response;
    } else if (event.object === "response") { // some servers send the whole response as one event
      return this.addResponse("response.completed", event);
    } else if (type === "error" || (event.error !== undefined && event.error !== null)) {
      const { type: _, sequence_number: __, ...error } = event;
      return this.fail(error);
    } else if (type === "response.output_item.added" || type === "response.output_item.done") {
      this.addItem(event.output_index, event.item);
      delete rest.item;
    } else if (part && (end === "added" || end === "done")) {
      if (isObject(event.part)) this.putPart(this.itemOf(event, part.item), part.parts, event[part.index], event.part);
      else this.keep(event.part);
      delete rest.part;
    } else if (type === "response.output_text.annotation.added" && event.annotation !== undefined && event.annotation !== null) {
      this.addAnnotation(event, event.annotation);
      delete rest.annotation;
    } else if (text && (end === "delta" || end === "done")) {
      const value = get(event, end === "delta" ? "delta" : text.member);
      if (typeof value === "string") {
        this.addText(text, prefix, event, value);
        rest = {};
      }
    } else if (type === PREVIEW) { // the finished item has the whole image
      const preview = Object.entries(event).filter(([name]) => !PLACES.has(name));
      this.previews.set(this.itemOf(event, "image_generation_call"), Object.fromEntries(preview));
      rest = {};
    }
    if (Object.entries(rest).some(([name, value]) => !PLACES.has(name) && !isEmpty(value))) this.keep(rest);
  }

  protected assembled(): JsonObject | undefined {
    const { output } = this.snapshot;
    if (!(this.isComplete && Array.isArray(output) && output.length > 0)) { // some servers leave it empty
      for (const { item } of this.items) if (isFalsy(item.result)) this.merge(item, this.previews.get(item) ?? {}, STATE);
      if (this.items.length > 0) this.snapshot.output = this.items.toSorted((one, other) => one.place - other.place).map(({ item }) => item);
      return Object.keys(this.snapshot).length > 0 ? this.snapshot : undefined;
    }
    this.isContradictory = false;
    const texts = new Set(stringsOf(output));
    for (const { item } of this.items) if (textsOf(item).some((text) => !texts.has(text))) this.unmerged.push({ output: [item] });
    return this.snapshot;
  }

  private addResponse(type: string, response: JsonObject): void {
    if (this.isComplete) {
      this.keep({ response });
      return;
    }
    for (const [name, value] of Object.entries(response)) if (value !== null || !Object.hasOwn(this.snapshot, name)) set(this.snapshot, name, value);
    this.isComplete = ENDS.includes(type);
    if (!this.isComplete && Array.isArray(response.output)) response.output.forEach((item, index) => this.addItem(index, item));
  }

  private addItem(index: Json | undefined, item: Json | undefined): void {
    if (!isObject(item)) {
      this.keep(item);
      return;
    }
    const before = this.find(index, item);
    if (!before) {
      this.register(index, item);
      return;
    }
    const status = isFalsy(item.status) ? before.status : item.status;
    if (status !== undefined && status !== null) before.status = status;
    else delete before.status;
    for (const [name, value] of Object.entries(item)) {
      if (name === "content" || name === "summary") {
        if (isEmpty(before[name])) before[name] = value;
        else if (Array.isArray(value)) value.forEach((part, place) => this.putPart(before, name, place, part));
        else if (!isEmpty(value)) this.keep({ output: [{ [name]: value }] });
      } else if (name !== "status") {
        // A text that the finished item lacks may have arrived in deltas.
        this.merge(before, Object.fromEntries([[name, value]]), MEMBERS.includes(name) ? FINAL : STATE);
      }
    }
  }

  private find(output: Json | undefined, { id }: JsonObject): JsonObject | undefined {
    const same = this.current.get(indexOr(output));
    const isOther = !same || (!isFalsy(same.id) && same.id !== id);
    return typeof id === "string" && id && isOther ? this.current.get(id) : same;
  }

  private register(output: Json | undefined, item: JsonObject): void {
    const place = indexOr(output) < 0 ? this.next : indexOr(output);
    this.next = Math.max(this.next, place + 1);
    this.items.push({ place, item });
    this.current.set(place, item);
    if (typeof item.id === "string" && item.id) this.current.set(item.id, item);
  }

  /** Returns the item of a delta. Creates one if the event that adds it is missing. */
  private itemOf(event: JsonObject, kind: string): JsonObject {
    const { output_index: index, item_id: id } = event;
    let item = this.current.get(indexOr(index));
    if (!item && typeof id === "string") item = this.current.get(id);
    const last = this.items.at(-1)?.item;
    if (!item && (index === undefined || index === null) && last?.type === kind) item = last;
    if (item) return item;
    item = { type: kind, ...(typeof id === "string" && id ? { id } : {}), ...(kind === "message" ? { role: "assistant" } : {}) };
    this.register(index, item);
    return item;
  }

  private putPart(item: JsonObject, name: string, index: Json | undefined, part: Json): void {
    const before = this.partOf(item, name, index);
    if (!before || !isObject(part)) {
      const list = elements(item, name);
      if (list.length > 0 && isSame(list.at(-1), part)) return;
      list.push(part);
      if (isObject(part)) this.number(list, index, part);
      return;
    }
    for (const [member, value] of Object.entries(part)) {
      if (member === "text" || member === "refusal") this.merge(before, { [member]: value }, FINAL);
      else this.merge(before, Object.fromEntries([[member, value]]), STATE);
    }
  }

  /** Returns a part by its index, or the last one for an event without an index. */
  private partOf(item: JsonObject, name: string, index: Json | undefined): JsonObject | undefined {
    const list = elements(item, name);
    const parts = this.partsOf(list);
    if (indexOr(index) >= 0) return parts.get(indexOr(index));
    const last = list.at(-1);
    return (index === undefined || index === null) && isObject(last) ? last : undefined;
  }

  private partsOf(list: Json[]): Map<number, JsonObject> {
    let parts = this.parts.get(list);
    if (!parts) this.parts.set(list, (parts = new Map([...list.entries()].filter((entry): entry is [number, JsonObject] => isObject(entry[1])))));
    return parts;
  }

  /** Records the provider's index of an appended part. */
  private number(list: Json[], index: Json | undefined, part: JsonObject): void {
    this.partsOf(list).set(indexOr(index) < 0 ? list.length - 1 : indexOr(index), part);
  }

  /** Returns the object that contains a text: the item, or one of its parts, which is created if necessary. */
  private holderOf({ item: kind, member, parts, index: name }: Place, prefix: string, event: JsonObject): JsonObject {
    const item = this.itemOf(event, kind);
    if (!parts) return item;
    const index = event[name!];
    const part = this.partOf(item, parts, index);
    if (part && !((index === undefined || index === null) && !Object.hasOwn(part, member))) return part;
    const type = prefix.slice(prefix.indexOf(".") + 1).replace("reasoning_summary_text", "summary_text");
    const made: JsonObject = { type, [member]: "" };
    const list = elements(item, parts);
    list.push(made);
    this.number(list, index, made);
    return made;
  }

  private addText(place: Place, prefix: string, event: JsonObject, text: string): void {
    const holder = this.holderOf(place, prefix, event);
    const isDelta = Object.hasOwn(event, "delta");
    this.merge(holder, { [place.member]: text }, isDelta ? PIECES : FINAL);
    if (isDelta && Array.isArray(event.logprobs) && event.logprobs.length > 0) this.merge(holder, { logprobs: event.logprobs }, PIECES);
  }

  private addAnnotation(event: JsonObject, annotation: Json): void {
    const annotations = elements(this.holderOf(TEXTS.get("response.output_text")!, "response.output_text", event), "annotations");
    const place = indexOr(event.annotation_index);
    if (place < 0 || place >= annotations.length || !isSame(annotations[place], annotation)) annotations.push(annotation);
  }
}

/** Returns the list in a member of the object, and creates it if necessary. */
function elements(object: JsonObject, name: string): Json[] {
  const before = object[name];
  if (Array.isArray(before)) return before;
  return (object[name] = isEmpty(before) ? [] : [{ type: "output_text", text: before! }]);
}

/** Returns the id of an item and the texts that may have arrived in deltas. */
function textsOf(item: JsonObject): string[] {
  const texts = ["id", ...MEMBERS].map((name) => item[name]);
  for (const parts of [item.content, item.summary]) {
    for (const part of Array.isArray(parts) ? parts : []) if (isObject(part)) texts.push(part.text, part.refusal);
  }
  return texts.filter((text): text is string => typeof text === "string" && text !== "");
}

/** Returns every string in a value. */
function stringsOf(value: Json): string[] {
  const strings: string[] = [];
  const pending = [value];
  while (pending.length > 0) {
    const next = pending.pop()!;
    if (typeof next === "string") strings.push(next);
    else for (const inner of Array.isArray(next) ? next : isObject(next) ? Object.values(next) : []) pending.push(inner);
  }
  return strings;
}
