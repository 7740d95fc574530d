/** Streams of Chat Completions. */

import { indexOr, isObject, type Json, type JsonObject, set } from "../json.js";
import type { Assembly } from "./assembly.js";
import { mergeInto } from "./merge.js";

/** Assembles `chat.completion.chunk` objects into a `chat.completion`. */
export class ChatAssembly implements Assembly {
  private readonly completion: JsonObject = {};
  private readonly choices = new Map<number, JsonObject>();
  private started = false;
  error: Json | undefined;

  add(chunk: JsonObject): void {
    if (chunk.error !== undefined && chunk.error !== null && !Object.hasOwn(chunk, "choices")) {
      this.error = chunk.error;
      return;
    }
    this.started = true;
    for (const [name, value] of Object.entries(chunk)) {
      if (name === "choices") {
        if (Array.isArray(value)) value.forEach((choice, place) => isObject(choice) && this.addChoice(choice, place));
      } else if (name !== "obfuscation" && ((value !== null && value !== "") || !Object.hasOwn(this.completion, name))) {
        set(this.completion, name, value); // `obfuscation` only pads the events of a stream
      }
    }
  }

  response(): JsonObject | undefined {
    if (!this.started) return undefined;
    const choices = [...this.choices].sort(([one], [other]) => one - other).map(([, choice]) => choice);
    const { usage, ...rest } = this.completion;
    return {
      ...rest,
      object: "chat.completion",
      choices: choices.map(finish),
      ...(usage === undefined ? {} : { usage }),
    };
  }

  /** Some servers do not send `[DONE]`. */
  get isComplete(): boolean {
    return this.choices.size > 0 && [...this.choices.values()].every(({ finish_reason: reason }) => Boolean(reason));
  }

  private addChoice({ index: given, delta, message: _, logprobs, ...rest }: JsonObject, place: number): void {
    const index = indexOr(given) >= 0 ? indexOr(given) : place;
    let choice = this.choices.get(index);
    if (!choice) this.choices.set(index, (choice = { index, message: {}, finish_reason: null }));
    for (const [name, value] of Object.entries(rest)) {
      if (value !== null || !Object.hasOwn(choice, name)) set(choice, name, value);
    }
    if (logprobs !== undefined) mergeInto(choice, { logprobs });
    if (isObject(delta)) addDelta(choice.message as JsonObject, delta);
  }
}

function addDelta(message: JsonObject, { tool_calls: calls, ...rest }: JsonObject): void {
  mergeInto(message, rest);
  if (!Array.isArray(calls)) return;
  for (const call of calls.filter(isObject)) {
    const snapshots = (message.tool_calls ??= []) as JsonObject[];
    const snapshot = snapshotOf(call, snapshots);
    if (snapshot) mergeInto(snapshot, call);
    else snapshots.push(withFunction(call));
  }
}

/** Some servers send calls without an index. A new id then starts a new call. */
function snapshotOf(call: JsonObject, snapshots: JsonObject[]): JsonObject | undefined {
  const index = indexOr(call.index);
  if (index >= 0) return snapshots.find((snapshot) => snapshot.index === index);
  return call.id ? snapshots.find((snapshot) => snapshot.id === call.id) : snapshots.at(-1);
}

function withFunction(call: JsonObject): JsonObject {
  return isObject(call.function) ? { ...call, function: { ...call.function } } : { ...call };
}

/** Adds the members to a choice that the API sends without streaming. */
function finish({ index, message, logprobs, finish_reason, ...rest }: JsonObject): JsonObject {
  const { role, content, refusal, tool_calls: calls, ...others } = message as JsonObject;
  const toolCalls = (calls as JsonObject[] | undefined)?.toSorted((one, other) => Math.max(indexOr(one.index), 0) - Math.max(indexOr(other.index), 0));
  return {
    index: index!,
    message: {
      role: role || "assistant",
      content: content ?? null,
      ...(refusal === undefined ? {} : { refusal }),
      ...(toolCalls ? { tool_calls: toolCalls.map(({ index: _, ...call }) => call) } : {}),
      ...others,
    },
    ...(logprobs === undefined ? {} : { logprobs }),
    finish_reason: finish_reason!,
    ...rest,
  };
}
