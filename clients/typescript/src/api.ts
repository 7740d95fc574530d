/** The APIs whose calls are logged. */

import type { JsonObject } from "./json.js";

export type Api = "openai-chat" | "openai-responses" | "anthropic";

/** Determines the API of a request from the end of its path. Returns `undefined` if calls to that path are not logged. */
export function apiOf(method: string, pathname: string): Api | undefined {
  if (method.toUpperCase() !== "POST") return undefined;
  if (/\/chat\/completions\/?$/.test(pathname)) return "openai-chat";
  if (/\/responses\/?$/.test(pathname)) return "openai-responses";
  if (/\/messages\/?$/.test(pathname) && !/\/threads\/[^/]+\/messages\/?$/.test(pathname)) return "anthropic"; // OpenAI's threads have messages too
  return undefined;
}

export function pathOf(url: string): string {
  try {
    return new URL(url).pathname;
  } catch {
    return "";
  }
}

/** Determines the API of a call from the members of its request and response. */
export function apiOfCall(request: JsonObject, response: JsonObject): Api {
  if (response.object === "response" || ("input" in request && !("messages" in request))) return "openai-responses";
  if (response.type === "message" || ("system" in request && !("choices" in response))) return "anthropic";
  return "openai-chat";
}
