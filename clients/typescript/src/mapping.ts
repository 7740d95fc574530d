/** Maps a provider's call onto a trace and back, without loss, by the rules of docs/mapping.md. */

import type { Api } from "./api.js";
import { isObject, type Json, type JsonObject, LosslessNumber, parse, print, set } from "./json.js";
import { itemsOf, textOf, toMessages } from "./messages.js";
import type { Incomplete } from "./streams/assembly.js";
import { assemble } from "./streams/index.js";
import { seconds } from "./times.js";

export { withoutSecrets } from "./secrets.js";
export { type Api, assemble, type Json, type JsonObject, LosslessNumber, parse, print };

const TIME_MEMBERS = ["created", "created_at", "timestamp"];

/** Request members outside the message list that become messages, in conversation order. */
const PROMPTS: Record<Api, string[]> = { "openai-chat": [], "openai-responses": ["instructions", "input"], anthropic: ["system"] };

/** The request member with the message list. */
const LISTS: Record<Api, string> = { "openai-chat": "messages", "openai-responses": "input", anthropic: "messages" };

/** A call's times, measured by a monotonic clock in seconds since its start. */
export interface Timing {
  duration: number;
  /** The time until the first content of a streamed response. */
  first_token?: number;
}

export interface Call {
  api: Api;
  request: JsonObject;
  /** Absent if the call failed before its response. */
  response?: JsonObject | undefined;
  /** The time of the call in seconds since 1970. Used if the response has none. */
  created?: Json | undefined;
  incomplete?: Incomplete | undefined;
  /** The reason why the response is missing or incomplete. */
  error?: Json | undefined;
  /** Parts of a stream that have no place in the response. */
  unmerged?: Json | undefined;
  timing?: Timing | undefined;
  /** Members that belong to neither request nor response. */
  log?: JsonObject | undefined;
}

/** Returns the trace of a call, without an `id`. */
export function toTrace(call: Call): JsonObject {
  const { api } = call;
  const request = { ...call.request };
  const response = { ...call.response };
  const trace: JsonObject = {
    model: modelOf(response, request) ?? "unknown",
    created: createdOf(response, call.created, request) ?? Math.floor(Date.now() / 1_000),
  };
  const fingerprint = fingerprintOf(response.system_fingerprint);
  if (fingerprint) trace.system_fingerprint = fingerprint;

  const messages = takePrompts(api, request);
  const items = request[LISTS[api]];
  if (Array.isArray(items) && items.length > 0) {
    messages.push(...toMessages(items, "user"));
    delete request[LISTS[api]];
  }
  const requestMessages = messages.length;
  const choices = Array.isArray(response.choices) ? response.choices : undefined;
  if (choices) delete response.choices;
  messages.push(...toMessages(takeAnswer(api, response, choices), "assistant"));

  trace.messages = messages;
  if (choices) trace.choices = Object.fromEntries(choices.entries());
  if (isObject(response.usage)) {
    trace.usage = response.usage;
    delete response.usage;
  }
  Object.assign(trace, { api, request_messages: requestMessages });
  if (call.timing) trace.timing = { ...call.timing };
  const optional = { request, response, incomplete: call.incomplete, error: call.error, unmerged: call.unmerged, log: call.log };
  for (const [name, value] of Object.entries(optional)) {
    const isKept = name === "error" ? value !== undefined && value !== null : !isEmpty(value);
    if (isKept) trace[name] = value!;
  }
  return trace;
}

/** Rebuilds the request and the response from a trace. A response that never arrived is absent. */
export function rebuild(trace: JsonObject): { request: JsonObject; response?: JsonObject } {
  const api = trace.api as Api;
  const messages = trace.messages as JsonObject[];
  const count = trace.request_messages as number;
  const request = { ...(trace.request as JsonObject | undefined) };
  const items: Json[] = [];
  for (const message of messages.slice(0, count)) {
    if (typeof message.member === "string") set(request, message.member, message.original ?? message.content!);
    else items.push(...itemsOf(message));
  }
  if (items.length > 0) request[LISTS[api]] = items;

  const answer = messages.slice(count).flatMap(itemsOf);
  const hasResponse = ["response", "choices", "usage"].some((name) => Object.hasOwn(trace, name));
  if (answer.length === 0 && !hasResponse) return { request };
  const response = { ...(trace.response as JsonObject | undefined) };
  if (isObject(trace.choices)) response.choices = Object.values(trace.choices);
  else if (answer.length > 0 && api === "openai-responses") response.output = answer;
  else if (answer.length > 0) Object.assign(response, answer[0]);
  if (trace.usage !== undefined) response.usage = trace.usage;
  return { request, response };
}

/** Moves the output items out of the response and returns them. With `choices`, returns the first message and moves nothing. */
function takeAnswer(api: Api, response: JsonObject, choices: Json[] | undefined): Json[] {
  if (choices) {
    const message = isObject(choices[0]) ? choices[0].message : undefined;
    return isObject(message) ? [message] : [];
  }
  const { output, role, content } = response;
  if (api === "openai-responses" && Array.isArray(output)) {
    if (output.length > 0) delete response.output;
    return output;
  }
  if (api === "anthropic" && (typeof content === "string" || Array.isArray(content))) {
    delete response.role;
    delete response.content;
    return [{ ...(role === undefined ? {} : { role }), content }];
  }
  return [];
}

/** Moves the prompts outside the message list out of the request, and returns them as messages. */
function takePrompts(api: Api, request: JsonObject): JsonObject[] {
  const messages: JsonObject[] = [];
  for (const member of PROMPTS[api]) {
    const value = request[member];
    const role = member === "input" ? "user" : "system";
    if (typeof value === "string") messages.push({ role, content: value, member });
    else if (Array.isArray(value) && member !== "input") messages.push({ role, content: textOf(value), member, original: value });
    else continue;
    delete request[member];
  }
  return messages;
}

function modelOf(...sources: JsonObject[]): string | undefined {
  return sources.map(({ model }) => model).find((model): model is string => typeof model === "string" && model !== "");
}

function createdOf(response: JsonObject, created: Json | undefined, request: JsonObject): Json | undefined {
  for (const time of [...TIME_MEMBERS.map((name) => response[name]), created, request.created]) {
    const whole = seconds(time);
    if (whole !== undefined) return whole;
  }
  return undefined;
}

function fingerprintOf(value: Json | undefined): string | undefined {
  if (typeof value === "number" || value instanceof LosslessNumber) return String(value);
  return typeof value === "string" ? value : undefined;
}

function isEmpty(value: Json | undefined): boolean {
  return !value || (Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0);
}
