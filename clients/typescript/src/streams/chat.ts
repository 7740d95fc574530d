/** Assembles Chat Completions chunks. */

import { indexOr, isEmpty, isFalsy, isObject, type Json, type JsonObject, set } from "../json.js";
import { Assembly } from "./assembly.js";
import { CHOICE, PIECES, type Rule, STATE, WHOLE } from "./merge.js";

/** Assembles `chat.completion.chunk` objects into a `chat.completion`. */
export class ChatAssembly extends Assembly {
  private readonly completion: JsonObject = {};
  private readonly choices = new Map<number, JsonObject>();
  private started = false;

  add(chunk: JsonObject): void {
    const { choices, obfuscation: _, ...rest } = chunk; // `obfuscation` is random padding
    if (rest.error !== undefined && rest.error !== null) {
      this.fail(rest.error);
      delete rest.error;
      if (Object.keys(chunk).length === 1) return;
    }
    this.started = true;
    const lost = this.merger.merge(this.completion, rest, STATE);
    if (Array.isArray(choices)) choices.forEach((choice, place) => this.addChoice(choice, place));
    else this.keep(isEmpty(choices) ? undefined : { choices: choices! });
    if (lost !== undefined) this.unmerged.push(lost);
  }

  protected assembled(): JsonObject | undefined {
    if (!this.started) return undefined;
    const choices = [...this.choices].sort(([one], [other]) => one - other).map(([, choice]) => choice);
    // Some servers do not send `[DONE]`, and some applications stop reading before it.
    this.isComplete = choices.length > 0 && choices.every(({ finish_reason: reason }) => !isFalsy(reason));
    const { usage, ...rest } = this.completion;
    return {
      ...rest,
      object: "chat.completion",
      choices: choices.map(finish),
      ...(usage === undefined ? {} : { usage }),
    };
  }

  private addChoice(choice: Json, place: number): void {
    if (!isObject(choice)) {
      this.keep(isEmpty(choice) ? undefined : { choices: [choice] });
      return;
    }
    const { index: given, delta, message, ...rest } = choice;
    const index = indexOr(given) >= 0 ? indexOr(given) : place;
    if (indexOr(given) < 0 && given !== undefined && given !== null) this.keep({ choices: [{ index: given }] });
    let whole = this.choices.get(index);
    if (!whole) this.choices.set(index, (whole = { index, message: {}, finish_reason: null }));
    const lost: JsonObject = {};
    for (const [name, part, rule] of [["delta", delta, PIECES], ["message", message, WHOLE]] as const) {
      if (isObject(part)) {
        const rest = this.addMessage(whole.message as JsonObject, part, rule);
        if (rest !== undefined) lost[name] = rest;
      } else if (!isFalsy(part)) {
        this.merger.hasConflict = true;
        lost[name] = part!;
      }
    }
    for (const [name, value] of Object.entries(this.merger.merge(whole, rest, CHOICE) ?? {})) set(lost, name, value);
    if (Object.keys(lost).length > 0) this.unmerged.push({ choices: [{ index, ...lost }] });
  }

  private addMessage(message: JsonObject, { tool_calls: calls, ...part }: JsonObject, rule: Rule): JsonObject | undefined {
    const rest = this.merger.merge(message, part, rule);
    if (calls === undefined || calls === null) return rest;
    let more: Json | undefined;
    if (Array.isArray(calls) && calls.every(isObject)) {
      more = this.merger.set(message, "tool_calls", calls, rule);
    } else if (!isEmpty(calls)) {
      this.merger.hasConflict = true;
      more = calls;
    }
    return more === undefined ? rest : { ...rest, tool_calls: more };
  }
}

/** Gives a choice the members that it would have without streaming. */
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
