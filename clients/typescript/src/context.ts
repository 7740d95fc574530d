/** Members that the application adds to `log` of the traces of some calls. */

import { AsyncLocalStorage } from "node:async_hooks";

const members = new AsyncLocalStorage<Record<string, unknown>>();

/**
 * Calls `run`, and adds `extra` to `log` of each trace whose call begins in it, such as `session_id`, `user` and `tags`. Returns the
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
