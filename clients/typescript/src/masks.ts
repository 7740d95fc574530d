/**
 * Ready-made masks for personal data and keys, for the `mask` option:
 * `mask: masks.texts(masks.EMAIL, masks.CARD, masks.PHONE, masks.KEY)`.
 */

import type { Mask, Trace } from "./client.js";

/** A regular expression and the replacement for its matches. */
export interface Pattern {
  /** Must have the `g` flag. */
  expression: RegExp;
  replacement: string;
  /** Decides whether to replace a match, because other text may look alike. */
  isMeant?: (text: string) => boolean;
}

export const EMAIL: Pattern = { expression: /[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+/g, replacement: "[email]" };

/** A card number: 13 to 19 digits with a correct check digit (ISO/IEC 7812). */
export const CARD: Pattern = { expression: /(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])/g, replacement: "[card]", isMeant: isCard };

/** An international phone number (E.164). */
export const PHONE: Pattern = {
  expression: /(?<![0-9A-Za-z])(?:\+|00)[1-9](?:[ ()./-]{0,2}[0-9]){7,13}(?![0-9])/g,
  replacement: "[phone]",
  isMeant: (text) => text.replace(/[^0-9]/g, "").length <= 15,
};

/** Keys of OpenAI, Anthropic, AWS, GitHub, Slack, Google, Hugging Face, Groq and xAI, and JSON Web Tokens. */
export const KEY: Pattern = {
  expression: new RegExp(
    "(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}" +
      "|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{30,}|xai-[A-Za-z0-9]{30,}" +
      "|eyJ[A-Za-z0-9_-]{10,}\\.[A-Za-z0-9_-]{10,}\\.[A-Za-z0-9_-]{10,})",
    "g",
  ),
  replacement: "[key]",
};

/** Members that programs fill in. They contain no personal data, but an id may look like a card number. */
const KEPT = new Set(["id", "model", "created", "api", "request_messages", "incomplete"]);

/**
 * Returns a mask that replaces what the patterns match in every string of a trace, at any depth: messages and their `original`,
 * tools, arguments and `log`. Does not change member names.
 */
export function texts(...patterns: Pattern[]): Mask {
  return (trace) => mapped(trace, (name, value) => (KEPT.has(name) ? value : replaced(value, patterns)));
}

/** Returns a mask that applies the masks one after another. */
export function allOf(...masks: Mask[]): Mask {
  return (trace) => masks.reduce((changed: unknown, mask) => mask(changed as Trace), trace);
}

function replaced(value: unknown, patterns: Pattern[]): unknown {
  if (typeof value === "string") {
    return patterns.reduce((text, { expression, replacement, isMeant }) => text.replace(expression, (found) => (isMeant?.(found) ?? true ? replacement : found)), value);
  }
  if (Array.isArray(value)) return value.map((inner) => replaced(inner, patterns));
  // Numbers that JavaScript would print differently are `LosslessNumber` objects. They stay unchanged.
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return mapped(value, (_, inner) => replaced(inner, patterns));
}

/** Returns a copy of the object with changed values. Keeps every name, even `__proto__`. */
function mapped(object: object, change: (name: string, value: unknown) => unknown): object {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(name, value)]));
}

function isCard(text: string): boolean {
  const digits = [...text.replace(/[^0-9]/g, "")].map(Number).reverse();
  const sum = digits.reduce((sum, digit, place) => sum + (place % 2 === 0 ? digit : digit > 4 ? 2 * digit - 9 : 2 * digit), 0);
  return sum % 10 === 0;
}
