/** Background responses of the Responses API: a later request retrieves the answer. */

import { isObject, type Json, type JsonObject } from "./json.js";

const RETRIEVAL = /\/responses\/([^/]+)\/?$/;
const CANCELLATION = /\/responses\/([^/]+)\/cancel\/?$/;
const PENDING: (Json | undefined)[] = ["queued", "in_progress"];
const REQUESTS = 1_000; // requests that are kept until their answers are retrieved; the oldest is forgotten first
const ANSWERS = 100_000; // answers that are known to be logged

/** The requests of this process whose answers are pending. An application may retrieve an answer several times. */
class Background {
  private readonly requests = new Map<string, JsonObject>();
  private readonly logged = new Set<string>();

  /** Returns the id of the response that a request retrieves or cancels, if it may be a background response. */
  responseOf(method: string, path: string): string | undefined {
    const pattern = { GET: RETRIEVAL, POST: CANCELLATION }[method.toUpperCase()];
    const id = pattern?.exec(path)?.[1];
    return id === undefined || this.logged.has(id) ? undefined : id;
  }

  /** Returns whether the answer is still missing. If so, keeps the request, which the retrieval does not repeat. */
  isPending(request: JsonObject, response: Json | undefined): boolean {
    if (!isObject(response) || !PENDING.includes(response.status) || typeof response.id !== "string") return false;
    this.requests.set(response.id, request);
    forget(this.requests, REQUESTS);
    return true;
  }

  /**
   * Returns the request of an answer, or `undefined` if this is not the answer of a background response. The request of another process
   * is not known, and is returned without its members.
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
