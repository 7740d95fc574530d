/** Merges deltas, for all streams. */

import { indexOr, isObject, type Json, type JsonObject, set } from "../json.js";

/** Members whose later value replaces the earlier one. All other strings are pieces of one text. */
const NAMES = new Set(["id", "index", "type", "role", "name", "format", "status"]);

/**
 * Merges a delta into a snapshot. Texts are concatenated, objects are merged, elements of arrays are merged by their `index`, and
 * appended if they have none. Every other value replaces the earlier one, but null replaces nothing.
 */
export function mergeInto(snapshot: JsonObject, delta: JsonObject): void {
  for (const [name, value] of Object.entries(delta)) {
    const before = Object.hasOwn(snapshot, name) ? snapshot[name] : undefined;
    set(snapshot, name, merged(name, before, value));
  }
}

function merged(name: string, before: Json | undefined, value: Json): Json {
  if (before === undefined || before === null) return copied(value);
  if (value === null) return before;
  if (typeof before === "string" && typeof value === "string") return NAMES.has(name) ? value || before : before + value;
  if (Array.isArray(before) && Array.isArray(value)) {
    mergeElements(before, value);
    return before;
  }
  if (isObject(before) && isObject(value)) {
    mergeInto(before, value);
    return before;
  }
  return value;
}

function mergeElements(elements: Json[], deltas: Json[]): void {
  for (const delta of deltas) {
    const index = isObject(delta) ? indexOr(delta.index) : -1;
    const same = index < 0 ? undefined : elements.find((element) => isObject(element) && element.index === index);
    if (isObject(same) && isObject(delta)) mergeInto(same, delta);
    else elements.push(copied(delta));
  }
}

/** Copies a value. Elements of one list that have the same index are merged. */
function copied(value: Json): Json {
  if (!Array.isArray(value)) return isObject(value) ? { ...value } : value;
  const elements: Json[] = [];
  mergeElements(elements, value);
  return elements;
}
