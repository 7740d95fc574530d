/** Maps a provider's call onto a trace by the rules of docs/mapping.md, without losing any of it. */

import type { Api } from "./api.js";
import { isObject, type Json, type JsonObject, LosslessNumber } from "./json.js";
import { Conversation } from "./messages.js";
import { seconds } from "./time.js";

const TIME_MEMBERS = ["created", "created_at", "timestamp"];

/** The request's members outside the list of messages that become messages, in the order of the conversation. */
const PROMPTS: Record<Api, string[]> = { "openai-chat": [], "openai-responses": ["instructions", "input"], anthropic: ["system"] };

/** A call of a model. */
export interface Call {
  api: Api;
  request: JsonObject;
  /** Nothing for a call that failed before its answer. */
  response?: JsonObject | undefined;
  /** Used if neither response nor request has a time, in seconds since 1970. */
  created: number;
  /** Why the response is not whole. */
  incomplete?: string | undefined;
  error?: Json | undefined;
  /** What belongs to neither request nor response. */
  log?: JsonObject | undefined;
}

/** Returns the trace of a call, without an `id`. */
export function toTrace(call: Call): JsonObject {
  const { api } = call;
  const request = { ...call.request };
  const response = { ...call.response };
  const trace: JsonObject = {
    model: modelOf(response, request) ?? "unknown",
    created: createdOf(response, call.created, request),
  };
  const fingerprint = fingerprintOf(response.system_fingerprint);
  if (fingerprint) trace.system_fingerprint = fingerprint;

  const messages = takePrompts(api, request);
  const list = api === "openai-responses" ? "input" : "messages";
  const items = request[list];
  if (Array.isArray(items) && items.length > 0) {
    messages.push(...Conversation.messages(items));
    delete request[list];
  }
  const requestMessages = messages.length;
  const choices = Array.isArray(response.choices) ? response.choices : undefined;
  if (choices) delete response.choices;
  messages.push(...Conversation.messages(takeAnswer(api, response, choices), "assistant"));

  trace.messages = messages;
  if (choices) trace.choices = Object.fromEntries(choices.entries());
  if (isObject(response.usage)) {
    trace.usage = response.usage;
    delete response.usage;
  }
  Object.assign(trace, { api, request_messages: requestMessages });
  const optional = { request, response, incomplete: call.incomplete, error: call.error, log: call.log };
  for (const [name, value] of Object.entries(optional)) if (!isEmpty(value)) trace[name] = value!;
  return trace;
}

/** Moves the items of the answer out of the response, unless `choices` keeps them. */
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

/** Moves the request's prompts outside the list of messages into messages. */
function takePrompts(api: Api, request: JsonObject): JsonObject[] {
  const messages: JsonObject[] = [];
  for (const member of PROMPTS[api]) {
    const value = request[member];
    const role = member === "input" ? "user" : "system";
    if (typeof value === "string") messages.push({ role, content: value, member });
    else if (Array.isArray(value) && member !== "input") messages.push({ role, content: Conversation.text(value), member, original: value });
    else continue;
    delete request[member];
  }
  return messages;
}

function modelOf(...sources: JsonObject[]): string | undefined {
  return sources.map(({ model }) => model).find((model): model is string => typeof model === "string" && model !== "");
}

function createdOf(response: JsonObject, created: number, request: JsonObject): Json {
  const times = TIME_MEMBERS.map((name) => seconds(response[name]));
  return [...times, created, seconds(request.created)].find((time) => time !== undefined)!;
}

function fingerprintOf(value: Json | undefined): string | undefined {
  if (typeof value === "number" || value instanceof LosslessNumber) return String(value);
  return typeof value === "string" ? value : undefined;
}

function isEmpty(value: Json | undefined): boolean {
  return !value || (Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0);
}
