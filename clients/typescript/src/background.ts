/** Background responses of the Responses API, whose output a later request retrieves. */

import { isObject, type Json, type JsonObject } from "./json.js";

const RETRIEVAL = /\/responses\/([^/]+)\/?$/;
const CANCELLATION = /\/responses\/([^/]+)\/cancel\/?$/;
const PENDING: (Json | undefined)[] = ["queued", "in_progress"];
const REQUESTS = 1_000; // requests kept until their responses are retrieved; the oldest is dropped first
const ANSWERS = 100_000; // ids of logged responses, so that a second retrieval logs nothing

/** The requests of this process whose responses are pending. A response is logged once, even if it is retrieved several times. */
class Background {
  private readonly requests = new Map<string, JsonObject>();
  private readonly logged = new Set<string>();

  /** Returns the id of the response that a request retrieves or cancels, unless that response is already logged. */
  responseOf(method: string, path: string): string | undefined {
    const pattern = { GET: RETRIEVAL, POST: CANCELLATION }[method.toUpperCase()];
    const id = pattern?.exec(path)?.[1];
    return id === undefined || this.logged.has(id) ? undefined : id;
  }

  /** Returns whether the response is still pending. If so, keeps the request, because the retrieval does not repeat it. */
  isPending(request: JsonObject, response: Json | undefined): boolean {
    if (!isObject(response) || !PENDING.includes(response.status) || typeof response.id !== "string") return false;
    this.requests.set(response.id, request);
    forget(this.requests, REQUESTS);
    return true;
  }

  /**
   * Returns the request of a retrieved response, or `undefined` if the response is unfinished, already logged, or not a background
   * response. The members of another process's request are unknown, so only `background` is returned.
   */
  retrieved(id: string, response: Json | undefined): JsonObject | undefined {
    if (!isObject(response) || response.id !== id || typeof response.status !== "string" || PENDING.includes(response.status)) return undefined;
    const request = this.requests.get(id);
    if (this.logged.has(id) || !(request || response.background === true)) return undefined;
    this.requests.delete(id);
    this.logged.add(id);
    forget(this.logged, ANSWERS);
    return request ?? { background: true };
  }
}

function forget(entries: Map<string, JsonObject> | Set<string>, limit: number): void {
  for (const key of entries.keys()) {
    if (entries.size <= limit) return;
    entries.delete(key);
  }
}

export const background = new Background();
