/** The merging of deltas that all streams share. */

import { isObject, type Json, type JsonObject, set } from "../json.js";

/** Members that name something. A later value replaces an earlier one; other texts are pieces of one text. */
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
    const index = isObject(delta) ? delta.index : undefined;
    const same = index === undefined ? undefined : elements.find((element) => isObject(element) && element.index === index);
    if (isObject(same) && isObject(delta)) mergeInto(same, delta);
    else elements.push(copied(delta));
  }
}

/** Merges elements of one delta among each other, too. */
function copied(value: Json): Json {
  if (!Array.isArray(value)) return isObject(value) ? { ...value } : value;
  const elements: Json[] = [];
  mergeElements(elements, value);
  return elements;
}
