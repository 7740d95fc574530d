/** Members that the application adds to the `log` of the calls in a context. */

import { AsyncLocalStorage } from "node:async_hooks";

const members = new AsyncLocalStorage<Record<string, unknown>>();

/**
 * Calls `run`, and adds `extra`, such as `session_id`, `user` and `tags`, to the `log` of each call that starts in it. Returns the
 * result of `run`, which may be a promise.
 *
 * The members replace those of an outer context and of the client. The request to the provider does not change.
 */
export function withExtra<T>(extra: Record<string, unknown>, run: () => T): T {
  return members.run({ ...members.getStore(), ...extra }, run);
}

export function currentExtra(): Record<string, unknown> {
  return members.getStore() ?? {};
}
