/** The APIs whose calls are logged. */

import type { JsonObject } from "./json.js";

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

/** Returns the API that a call belongs to, by the members of its request and its response. */
export function apiOfCall(request: JsonObject, response: JsonObject): Api {
  if (response.object === "response" || ("input" in request && !("messages" in request))) return "openai-responses";
  if (response.type === "message" || ("system" in request && !("choices" in response))) return "anthropic";
  return "openai-chat";
}
