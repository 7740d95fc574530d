/**
 * Logs chat traces in the background: `logTrace(request, response)` never blocks or breaks the application.
 *
 * A file to copy; it needs `p-queue` and `p-retry`, and API_URL and API_KEY in the environment. What could not be delivered
 * goes to the file that UNDELIVERED names (`undelivered.jsonl`), to be brought in later by `import`.
 */

import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { appendFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import PQueue from "p-queue";
import pRetry from "p-retry";

const QUEUE = 1_000; // traces that wait; what comes above goes to the file
const CONCURRENCY = 16; // requests at once
const GIVE_UP = 300_000; // milliseconds of retries for a trace
const FLUSH = 30_000; // milliseconds that flush() waits
const TRANSIENT = [429, 502, 503, 504];

const { API_URL, API_KEY, UNDELIVERED = "undelivered.jsonl" } = process.env;
if (!API_URL || !API_KEY) throw new Error("API_URL and API_KEY are not set");
const [url, apiKey] = [API_URL, API_KEY];

type Json = Record<string, any>;

const queue = new PQueue({ concurrency: CONCURRENCY });
const waiting = new Map<string, string>();
const closing = new AbortController();
setMaxListeners(0, closing.signal);

/**
 * Logs one call: what was sent to chat completions, and what came back.
 *
 * `response` is the `openai` client's object (of a stream, that of `finalChatCompletion()`); none if the call failed.
 * `extra` is kept in the trace's member `log`.
 */
export function logTrace(request: object, response: object = {}, extra: object = {}): void {
  try {
    const trace = toTrace(request, response, { log: extra });
    const line = JSON.stringify(trace);
    if (queue.size >= QUEUE || closing.signal.aborted) return keep(trace.id, line, "the queue is full");
    waiting.set(trace.id, line);
    void queue.add(() => deliver(trace.id, line));
  } catch (error) {
    console.warn("a trace was not logged:", error);
  }
}

/** Sends what waits, for 30 seconds at most, and writes the rest to the file. For a process that ends by a signal or `exit()`. */
export async function flush(): Promise<void> {
  await Promise.race([queue.onIdle(), setTimeout(FLUSH, undefined, { ref: false })]);
  closing.abort();
  await queue.onIdle();
}

// A process that ends by itself waits for the requests under way, but not for pauses between retries.
process.on("exit", () => {
  for (const [id, line] of waiting) keep(id, line, "the process ended");
});

async function deliver(id: string, line: string): Promise<void> {
  try {
    await pRetry(() => send(id, line), {
      retries: Infinity,
      minTimeout: 250,
      maxTimeout: 15_000,
      randomize: true,
      maxRetryTime: GIVE_UP,
      unref: true,
      signal: closing.signal,
      shouldRetry: ({ error }) => !(error instanceof Refused) || TRANSIENT.includes(error.status),
      onFailedAttempt: async ({ error }) => {
        if (error instanceof Refused && TRANSIENT.includes(error.status)) await pause(error.retryAfter);
      },
    });
  } catch (error) {
    keep(id, line, String(error));
  }
  waiting.delete(id);
}

async function send(id: string, line: string): Promise<void> {
  const headers = { "content-type": "application/json", "x-api-key": apiKey, "idempotency-key": id };
  const response = await fetch(url, { method: "POST", headers, body: line, signal: AbortSignal.timeout(30_000) });
  await response.body?.cancel();
  if (!response.ok) throw new Refused(response.status, response.headers.get("retry-after"));
}

class Refused extends Error {
  constructor(
    readonly status: number,
    readonly retryAfter: string | null,
  ) {
    super(`the endpoint answered ${status}`);
  }
}

/** Waits for what `Retry-After` (RFC 9110, 10.2.3) asks: seconds, or a date. */
async function pause(retryAfter: string | null): Promise<void> {
  if (!retryAfter) return;
  const milliseconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - Date.now();
  if (milliseconds > GIVE_UP) throw new Error(`the endpoint asks for a pause of ${retryAfter}`);
  if (milliseconds > 0) await setTimeout(milliseconds, undefined, { ref: false, signal: closing.signal });
}

function keep(id: string, line: string, why: string): void {
  console.warn(`trace ${id} is in ${UNDELIVERED}: ${why}`);
  appendFileSync(UNDELIVERED, `${line}\n`);
}

/** Maps a call onto the schema without losing any of it, as docs/api.md says ("Keep a provider's answer whole"). */
export function toTrace(request: object, response: object, extra: Json = {}): Json {
  const { messages: sent, ...restOfRequest }: Json = request;
  const { choices, usage, ...restOfResponse }: Json = response;
  const messages: Json[] = Array.isArray(sent) ? sent.map(toMessage) : [];
  const answer = Array.isArray(choices) ? choices[0]?.message : undefined;
  if (isObject(answer)) messages.push(toMessage(answer));
  const rest: Json = {
    request: Array.isArray(sent) ? restOfRequest : request,
    response: {
      ...restOfResponse,
      ...(choices === undefined || Array.isArray(choices) ? {} : { choices }),
      ...(usage === undefined || isObject(usage) ? {} : { usage }),
    },
    ...extra,
  };
  return {
    id: randomUUID(),
    model: restOfResponse.model ?? restOfRequest.model,
    created: restOfResponse.created ?? Math.floor(Date.now() / 1000),
    ...(restOfResponse.system_fingerprint ? { system_fingerprint: restOfResponse.system_fingerprint } : {}),
    messages,
    ...(Array.isArray(choices) ? { choices: Object.fromEntries(choices.entries()) } : {}),
    ...(isObject(usage) ? { usage } : {}),
    ...Object.fromEntries(Object.entries(rest).filter(([, members]) => Object.keys(members).length > 0)),
  };
}

/** A message as the schema has it; what is changed is kept in `original`. */
function toMessage(message: unknown): Json {
  if (!isObject(message)) return { role: "user", content: "", original: message };
  const known = ["system", "user", "assistant"].includes(message.role);
  if (known && typeof message.content === "string") return message;
  const original = Object.fromEntries(["role", "content", "original"].flatMap((name) => (name in message ? [[name, message[name]]] : [])));
  const role = known ? message.role : message.role === "developer" ? "system" : "user";
  return { ...message, role, content: textOf(message.content), original };
}

function textOf(content: unknown): string {
  if (!Array.isArray(content)) return typeof content === "string" ? content : "";
  return content.map((part) => part?.text ?? part?.refusal).filter((text) => typeof text === "string").join("\n");
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
