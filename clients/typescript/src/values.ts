/** Converts any JavaScript value to JSON. A value that JSON cannot represent becomes a readable string, so that the rest is kept. */

import { DEPTH, type Json, type JsonObject, LosslessNumber, set } from "./json.js";

export function toJson(value: unknown): Json {
  return convert(value, "", []) ?? null;
}

/** Converts a value. Returns `undefined` for `undefined`, which `JSON.stringify` omits from an object. */
function convert(value: unknown, name: string, parents: unknown[]): Json | undefined {
  switch (typeof value) {
    case "undefined":
      return undefined;
    case "boolean":
      return value;
    case "string":
      return value.toWellFormed();
    case "number":
      return Number.isFinite(value) ? (Object.is(value, -0) ? 0 : value) : String(value);
    case "object":
      break;
    default: // bigint, symbol, function
      return readable(value);
  }
  if (value === null) return null;
  if (value instanceof LosslessNumber) return value;
  if (parents.includes(value)) return "[Circular]";
  if (parents.length >= DEPTH) return "[Too deep]";
  try {
    return convertObject(value, name, [...parents, value]);
  } catch {
    return readable(value);
  }
}

function convertObject(value: object, name: string, parents: unknown[]): Json | undefined {
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return bytes(value);
  if ("toJSON" in value && typeof value.toJSON === "function") {
    const json: unknown = value.toJSON(name);
    if (json !== value) return convert(json, name, parents);
  }
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return convert(value.valueOf(), name, parents);
  if (value instanceof Map) return object(value.entries(), parents);
  if (value instanceof Error) return readable(value);
  if (Array.isArray(value) || (Symbol.iterator in value && typeof value[Symbol.iterator] === "function")) {
    const items = Array.from(value as Iterable<unknown>, (item, place) => convert(item, String(place), parents) ?? null);
    return items.length === 0 && "next" in value ? readable(value) : items; // an iterator that was already consumed
  }
  const members = Object.keys(value).map((key): [string, unknown] => [key, read(value, key)]);
  return members.length === 0 && Object.prototype.toString.call(value) !== "[object Object]" ? readable(value) : object(members, parents);
}

/** Reads a member. If a getter throws, only this member is lost. */
function read(value: object, key: string): unknown {
  try {
    return (value as Record<string, unknown>)[key];
  } catch {
    return "[Unreadable]";
  }
}

function object(members: Iterable<[unknown, unknown]>, parents: unknown[]): JsonObject {
  const result: JsonObject = {};
  for (const [key, member] of members) {
    const name = (typeof key === "string" ? key : readable(key)).toWellFormed();
    const json = convert(member, name, parents);
    if (json !== undefined) set(result, name, json);
  }
  return result;
}

function bytes(value: ArrayBufferView | ArrayBuffer): string {
  const view = ArrayBuffer.isView(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(view);
  } catch {
    return view.toString("base64");
  }
}

function readable(value: unknown): string {
  try {
    if (typeof value === "function") return `[${/^class\b/.test(Function.prototype.toString.call(value)) ? "class" : "Function"} ${value.name || "anonymous"}]`;
    return String(value).toWellFormed();
  } catch {
    return Object.prototype.toString.call(value);
  }
}
