/**
 * Logs every language model call to an attest endpoint, and loses none.
 *
 * `ATTEST_URL`, `ATTEST_API_KEY` and `ATTEST_SPOOL` are read when the first call is logged.
 */

import { type Api, apiOfCall } from "./api.js";
import type { Outcome } from "./body.js";
import { recordingFetch } from "./capture.js";
import { currentExtra, withExtra } from "./context.js";
import { Client, type Counters, type Mask, type Message, NO_COUNTS, type Trace } from "./client.js";
import { isObject, type JsonObject, LosslessNumber } from "./json.js";
import { type Call, toTrace } from "./mapping.js";
import { withoutSecrets } from "./secrets.js";
import { NotConfigured, readSettings } from "./settings.js";
import { toJson } from "./values.js";
import { kindOf, warn } from "./warn.js";

export * as masks from "./masks.js";
export { withExtra };
export { type Api, type Counters, LosslessNumber, type Mask, type Message, type Trace };

export interface LogOptions {
  /** Changes each trace before it is written anywhere. If it throws, the trace is not written. */
  mask?: Mask;
  /** Leaves members that are known to hold credentials unmasked. */
  keepSecrets?: boolean;
}

export interface FetchOptions extends LogOptions {
  /** Also logs failed calls, with the provider's error. */
  failures?: boolean;
  /** Becomes the `log` member of each trace. */
  extra?: Record<string, unknown>;
  /** Sends the requests instead of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
}

export interface TraceOptions extends LogOptions {
  /** The API of the call. Without it, the members of the request and the response determine the API. */
  api?: Api;
}

let client: Client | undefined;

/**
 * Returns a `fetch` for a provider's client. It logs calls of Chat Completions, Responses and Anthropic Messages, streamed or not, and
 * passes other requests through unchanged.
 */
export function loggedFetch({ fetch, failures = false, extra = {}, ...options }: FetchOptions = {}): typeof globalThis.fetch {
  const send: typeof globalThis.fetch = (input, init) => (fetch ?? globalThis.fetch)(input, init);
  return recordingFetch(send, failures, {
    put: (recorded) => {
      logCall((counters) => {
        const made = recorded();
        for (const outcome of made?.outcomes ?? []) {
          counters[outcome]++;
          warn(outcome, OUTCOMES[outcome]);
        }
        return made && { ...made.call, log: { ...objectOf(extra, "extra"), ...objectOf(made.extra, "extra") } };
      }, options);
    },
    lost: (problem) => {
      const open = opened();
      if (!open) return;
      open.counters.lost++;
      warn("lost", problem);
    },
  });
}

/**
 * Logs one call: its request and its response.
 *
 * `response` is the object that the provider's client returned, or the final response of a stream. Omit it if the call failed. `extra`
 * becomes the trace's `log` member. The trace is in the spool once this returns. Never throws.
 */
export function logTrace(request: object, response?: object | null, extra: Record<string, unknown> = {}, { api, ...options }: TraceOptions = {}): void {
  logCall(() => {
    const sent = objectOf(request, "messages");
    const received = response ? objectOf(response, "response") : undefined;
    const created = Math.floor(Date.now() / 1_000);
    return { api: api ?? apiOfCall(sent, received ?? {}), request: sent, response: received, created, log: { ...objectOf(currentExtra(), "extra"), ...objectOf(extra, "extra") } };
  }, options);
}

/**
 * Sends the pending traces. Returns whether the endpoint confirmed or refused all of them within `timeout` milliseconds. Call it before
 * `process.exit`, and on hosts that freeze between requests, such as AWS Lambda.
 */
export async function flush({ timeout = 10_000 }: { timeout?: number } = {}): Promise<boolean> {
  if (process.env.ATTEST_URL) client ??= openClient(); // traces of dead processes may wait
  return client ? client.flush(timeout) : !process.env.ATTEST_URL;
}

/** Returns how many traces of this process were logged, stored, rejected, or lost. */
export function counters(): Counters {
  return { ...(client?.counters ?? NO_COUNTS) };
}

const OUTCOMES: Record<Outcome, string> = {
  lost: "a part of a response could not be read and is not logged",
  truncated: "a response is longer than 64 MiB; the rest is not logged",
  unparsed: "a response is not a JSON object; it is logged as it arrived",
  unmerged: "a part of a stream has no place in its response; it is logged as `unmerged`",
};

function opened(): Client | undefined {
  return (client ??= openClient());
}

function logCall(call: (counters: Counters) => Call | undefined, { mask, keepSecrets = false }: LogOptions): void {
  try {
    const open = opened();
    open?.log(() => {
      const made = call(open.counters);
      return made && (keepSecrets ? toTrace(made) : withoutSecrets(toTrace(made)));
    }, mask);
  } catch (error) {
    warn("lost", `a trace was not logged: ${kindOf(error)}`);
  }
}

let hasWarned = false;

function openClient(): Client | undefined {
  try {
    return new Client(readSettings());
  } catch (error) {
    if (!hasWarned) warn("not-configured", `nothing is logged because ${error instanceof NotConfigured ? error.message : kindOf(error)}`);
    hasWarned = true;
    return undefined;
  }
}

/** Converts a value to a JSON object. A value that has no members becomes the member `name`. */
function objectOf(value: object, name: string): JsonObject {
  const json = toJson(value);
  return isObject(json) ? json : { [name]: json };
}
