/** JSON that keeps every digit of a number. `JSON.parse` turns 0.10 into 0.1, and rounds large integers. */

import { LosslessNumber, parse as parseLossless, stringify } from "lossless-json";

export { LosslessNumber };

/** A JSON value. A number that a JavaScript number would print differently is a {@link LosslessNumber}. */
export type Json = null | boolean | number | string | LosslessNumber | Json[] | JsonObject;
export type JsonObject = { [name: string]: Json };

/** Thrown for a string that is not JSON, or is nested more deeply than a trace can be. */
export class NotJson extends Error {
  override readonly name = "NotJson";
}

/** The maximum nesting of a value. The endpoint accepts 128 levels, and a trace adds up to six around a value. */
export const DEPTH = 120;

/**
 * Parses JSON. Unpaired surrogates become U+FFFD, because they are not valid Unicode. NaN and infinities, which some servers send,
 * become strings. If a name occurs twice in one object, the last member is kept, as in `JSON.parse`.
 *
 * With `keepsSurrogates`, unpaired surrogates stay: the other half of a character may arrive with the next chunk of a stream.
 *
 * Throws {@link NotJson} if the text is not JSON, or has more than {@link DEPTH} levels.
 */
export function parse(text: string, keepsSurrogates = false): Json {
  const value = parseAny(text, keepsSurrogates);
  if (hasOpeners(text, DEPTH) && isTooDeep(value)) throw new NotJson(`the value has more than ${DEPTH} levels`);
  return value;
}

function parseAny(text: string, keepsSurrogates: boolean): Json {
  try {
    return isLossless(text, keepsSurrogates) ? (JSON.parse(text) as Json) : parseStrictly(text, keepsSurrogates);
  } catch (error) {
    const quoted = text.replace(STRING_OR_NOT_FINITE, (token) => (token.startsWith('"') ? token : `"${token}"`));
    if (quoted === text) throw error instanceof NotJson ? error : new NotJson((error as Error).name);
    return parseStrictly(quoted, keepsSurrogates);
  }
}

// An unterminated string matches too. Otherwise, each quote in it would start a search to the end of the text.
const STRING_OR_NOT_FINITE = /"[^"\\]*(?:\\[^][^"\\]*)*(?:"|\\?$)|-?Infinity|NaN/g;
const STRING_OR_NUMBER = /"[^"\\]*(?:\\[^][^"\\]*)*(?:"|\\?$)|-?[0-9][0-9.eE+-]*/g;
const SURROGATE = /\\u[dD][89a-fA-F]/;

/** Returns whether a text has more than `limit` opening brackets. */
function hasOpeners(text: string, limit: number): boolean {
  let count = 0;
  for (const opener of ["[", "{"]) {
    for (let place = -1; (place = text.indexOf(opener, place + 1)) >= 0; ) if (++count > limit) return true;
  }
  return false;
}

function isTooDeep(value: Json): boolean {
  let level = [value];
  for (let depth = 0; depth <= DEPTH; depth++) {
    level = level.filter((item) => Array.isArray(item) || isObject(item));
    if (level.length === 0) return false;
    level = level.flatMap((outer) => (Array.isArray(outer) ? outer : Object.values(outer as JsonObject)));
  }
  return true;
}

/** Returns whether `JSON.parse`, which is four times as fast, keeps every digit and finds no unpaired surrogate. */
function isLossless(text: string, keepsSurrogates: boolean): boolean {
  if (!keepsSurrogates && (SURROGATE.test(text) || !text.isWellFormed())) return false;
  STRING_OR_NUMBER.lastIndex = 0;
  for (let match; (match = STRING_OR_NUMBER.exec(text)); ) {
    const [token] = match;
    if (token.charCodeAt(0) !== 0x22 && String(Number(token)) !== token) return false;
  }
  return true;
}

function parseStrictly(text: string, keepsSurrogates: boolean): Json {
  let value: Json;
  try {
    value = parseLossless(text, null, { parseNumber: toNumber, onDuplicateKey: ({ newValue }) => newValue }) as Json;
  } catch (error) {
    throw new NotJson((error as Error).name); // the original message quotes the value
  }
  return keepsSurrogates ? value : toWellFormed(value);
}

/** Sets a member, even one called `__proto__`. */
export function set(object: JsonObject, name: string, value: Json): void {
  if (name === "__proto__") Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  else object[name] = value;
}

/** Prints a value as one line of JSON. */
export function print(value: Json): string {
  const text = isPlain(value) ? JSON.stringify(value) : stringify(value);
  if (text === undefined) throw new NotJson("the value cannot be represented in JSON");
  return text;
}

/** Returns whether the value has no {@link LosslessNumber}, so that the faster `JSON.stringify` prints it correctly. */
function isPlain(value: Json | undefined): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (value instanceof LosslessNumber) return false;
  return Array.isArray(value) ? value.every(isPlain) : Object.values(value).every(isPlain);
}

/** Replaces unpaired surrogates in a value with U+FFFD. */
export function toWellFormed(value: Json): Json {
  if (typeof value === "string") return value.toWellFormed();
  if (Array.isArray(value)) return value.map(toWellFormed);
  if (!isObject(value)) return value;
  const result: JsonObject = {};
  for (const [name, member] of Object.entries(value)) set(result, name.toWellFormed(), toWellFormed(member));
  return result;
}

/** Returns whether two values are the same JSON, digit by digit. */
export function isSame(one: Json | undefined, other: Json | undefined): boolean {
  if (one === other) return true;
  if (one instanceof LosslessNumber || other instanceof LosslessNumber) return one instanceof LosslessNumber && other instanceof LosslessNumber && one.value === other.value;
  if (Array.isArray(one)) return Array.isArray(other) && one.length === other.length && one.every((item, place) => isSame(item, other[place]));
  if (!isObject(one) || !isObject(other)) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => Object.hasOwn(other, name) && isSame(one[name], other[name]));
}

/** Returns an own member of the object, not an inherited one such as `toString`. */
export function get(object: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** Returns whether a value is null, or an empty string, list or object. */
export function isEmpty(value: Json | undefined): boolean {
  if (value === undefined || value === null || value === "") return true;
  return Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0;
}

/** Returns whether a value is empty, zero or false. */
export function isFalsy(value: Json | undefined): boolean {
  return isEmpty(value) || value === 0 || value === false;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof LosslessNumber);
}

/** Returns a string unchanged, and the empty string for any other value. */
export function textOr(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

/** Returns a value that is a list index, or -1 for any other. No provider sends lists of more than 100,000 elements. */
export function indexOr(value: Json | undefined): number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 100_000 ? value : -1;
}

function toNumber(text: string): number | LosslessNumber {
  const value = Number(text);
  return String(value) === text ? value : new LosslessNumber(text);
}
