/** Merges the chunks of a stream by the rules of docs/mapping.md. No value is lost: one that cannot be merged is returned. */

import { get, indexOr, isEmpty, isFalsy, isObject, isSame, type Json, type JsonObject, LosslessNumber, set } from "../json.js";

/** Defines how the strings and lists of a chunk continue the earlier ones. */
export interface Rule {
  /** `append`: a piece. `extend`: the whole text so far, or a piece. `finish`: the whole text. `replace`: a value of its own. */
  texts: "append" | "extend" | "finish" | "replace";
  /** `append`: more elements. `extend`: the whole list so far, or more elements. */
  lists: "append" | "extend";
}

/** The members of a `delta`, which are pieces. */
export const PIECES: Rule = { texts: "append", lists: "append" };
/** A `message`, which some servers repeat as it grows. */
export const WHOLE: Rule = { texts: "extend", lists: "extend" };
export const FINAL: Rule = { texts: "finish", lists: "extend" };
export const CHOICE: Rule = { texts: "replace", lists: "append" };
/** The members of a chunk. Some servers repeat their lists in each chunk. */
export const STATE: Rule = { texts: "replace", lists: "extend" };

const CONTENTS = new Set(["content", "thinking"]);
/** Members whose strings are never pieces of a text. */
const NAMES = new Set(["id", "index", "type", "role", "format", "status"]);

/** Merges chunks into objects, in time linear in their size. */
export class Merger {
  /** Whether two values of one member had contradictory types. */
  hasConflict = false;
  /** The elements of each list by index and by id. */
  private readonly places = new Map<Json[], Map<number | string, JsonObject>>();

  /** Merges the members of `part` into `whole`. Returns those that were replaced or have no place. */
  merge(whole: JsonObject, part: JsonObject, rule: Rule): JsonObject | undefined {
    let lost: JsonObject | undefined;
    for (const [name, value] of Object.entries(part)) {
      const rest = this.set(whole, name, value, rule);
      if (rest !== undefined) set((lost ??= {}), name, rest);
    }
    return lost;
  }

  /** Merges one member. Returns what was replaced or has no place. */
  set(whole: JsonObject, name: string, value: Json, rule: Rule): Json | undefined {
    const before = get(whole, name);
    if (isEmpty(value) && before !== undefined && before !== null) return undefined;
    if (before === undefined || isEmpty(before)) {
      const list: Json[] = [];
      set(whole, name, Array.isArray(value) ? list : value);
      return Array.isArray(value) ? this.extend(list, value, name, rule) : undefined;
    }
    if (Array.isArray(before)) return this.addToList(before, value, name, rule);
    if (isObject(before) && isObject(value)) {
      if (name !== "usage") return this.merge(before, value, rule);
      for (const [count, total] of Object.entries(value)) if (total !== null || !Object.hasOwn(before, count)) set(before, count, total);
      return undefined;
    }
    if (typeof before === "string" && Array.isArray(value)) {
      const list: Json[] = [textPart(before)];
      set(whole, name, list);
      return this.extend(list, value, name, rule);
    }
    const isPiece = rule.texts !== "replace" && !NAMES.has(name);
    if (isPiece && typeof before === "string" && typeof value === "string") return addText(whole, name, before, value, rule);
    if (isObject(before) || isObject(value) || Array.isArray(value) || (isPiece && (typeof before === "string") !== (typeof value === "string"))) {
      this.hasConflict = true;
      return value;
    }
    if (name === "created" && isZero(value)) return undefined;
    set(whole, name, value);
    return isSame(before, value) || (name === "created" && isZero(before)) ? undefined : before;
  }

  private addToList(before: Json[], value: Json, name: string, rule: Rule): Json | undefined {
    let added = Array.isArray(value) ? value : [typeof value === "string" ? textPart(value) : value];
    const isRepeated = rule.lists === "extend" && Array.isArray(value) && added.length >= before.length && before.every((item, place) => isSame(item, added[place]));
    if (isRepeated) added = added.slice(before.length);
    return this.extend(before, added, name, rule);
  }

  /** Adds elements to a list, or merges them into those that they continue. */
  private extend(whole: Json[], added: Json[], name: string, rule: Rule): Json[] | undefined {
    const lost: Json[] = [];
    // A piece continues the last part. Parts that arrive together are separate.
    const last = rule === PIECES && CONTENTS.has(name) && isPieceOf(whole.at(-1), added[0]) ? (whole.at(-1) as JsonObject) : undefined;
    for (const [place, element] of added.entries()) {
      let same = isObject(element) ? this.continued(whole, element, name) : undefined;
      if (place === 0) same = last ?? same;
      const rest = same && this.merge(same, element as JsonObject, rule);
      if (!same) whole.push(element);
      else if (rest !== undefined) lost.push(rest);
    }
    return lost.length > 0 ? lost : undefined;
  }

  /** Returns the element that `part` continues, or `undefined` if it starts a new one. */
  private continued(whole: Json[], part: JsonObject, name: string): JsonObject | undefined {
    let places = this.places.get(whole);
    if (!places) this.places.set(whole, (places = new Map()));
    const id = typeof part.id === "string" && part.id ? part.id : undefined;
    const index = indexOr(part.index);
    let same: JsonObject | undefined;
    if (index >= 0) {
      same = places.get(index);
      if (same && id && !isFalsy(same.id) && same.id !== id) same = places.get(id); // some servers send parallel calls with one index
      places.set(index, same ?? part);
    } else if (name === "tool_calls") { // some servers send calls without an index
      const last = whole.at(-1);
      same = id ? places.get(id) : isObject(last) ? last : undefined;
    } else {
      return undefined;
    }
    if (id) places.set(id, same ?? part);
    return same;
  }
}

function addText(whole: JsonObject, name: string, before: string, value: string, { texts }: Rule): Json | undefined {
  let isRepeated = false;
  // Texts are compared only if the new one is at least as long, so that the work stays linear.
  if (texts !== "append") isRepeated = before.length <= value.length && value.startsWith(before);
  else if (name === "name") isRepeated = before.length === value.length && value === before;
  const isWhole = isRepeated || texts === "finish";
  set(whole, name, isWhole ? value : before + value);
  return isRepeated || !isWhole ? undefined : before;
}

/** Returns whether two content parts without an index are pieces of the same part. */
function isPieceOf(last: Json | undefined, part: Json | undefined): boolean {
  if (!isObject(last) || !isObject(part)) return false;
  const { type } = part;
  if ((type !== "text" && type !== "thinking") || last.type !== type) return false;
  return [last, part].every((members) => Object.keys(members).length === 2 && Object.hasOwn(members, type));
}

function textPart(text: string): JsonObject {
  return { type: "text", text };
}

function isZero(value: Json): boolean {
  return value === 0 || (value instanceof LosslessNumber && Number(value.value) === 0);
}
