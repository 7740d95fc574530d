/** The APIs whose calls are logged. */

import { isObject, type JsonObject } from "./json.js";

export type Api = "openai-chat" | "openai-responses" | "anthropic";

/** Returns the API that a request goes to, by the end of its path, or nothing if its calls are not logged. */
export function apiOf(method: string, url: string): Api | undefined {
  if (method.toUpperCase() !== "POST" || !URL.canParse(url)) return undefined;
  const { pathname } = new URL(url);
  if (/\/chat\/completions\/?$/.test(pathname)) return "openai-chat";
  if (/\/responses\/?$/.test(pathname)) return "openai-responses";
  if (/\/messages\/?$/.test(pathname) && !/\/threads\/[^/]+\/messages\/?$/.test(pathname)) return "anthropic"; // OpenAI's threads have messages, too
  return undefined;
}

/** Returns the API that a call belongs to, by its members. */
export function apiOfCall(request: JsonObject, response: JsonObject): Api {
  if (response.object === "response") return "openai-responses";
  if (response.type === "message") return "anthropic";
  if (Array.isArray(response.choices) || "messages" in request) return isAnthropic(request, response) ? "anthropic" : "openai-chat";
  return "input" in request || "prompt" in request ? "openai-responses" : "openai-chat";
}

/** A failed call of the Messages API has no response; its request has `max_tokens` and a prompt of its own, or blocks that Chat Completions lacks. */
function isAnthropic(request: JsonObject, response: JsonObject): boolean {
  return !Array.isArray(response.choices) && "system" in request && !isObject(response.usage);
}
