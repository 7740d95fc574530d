/** Sends traces in the background until the endpoint confirms them. */

import { setMaxListeners } from "node:events";
import * as http from "node:http";
import * as https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import PQueue from "p-queue";
import pRetry from "p-retry";
import { getProxyForUrl } from "proxy-from-env";
import { isObject, parse } from "./json.js";
import { confirms } from "./receipt.js";
import { isLoopback } from "./settings.js";
import type { Entry } from "./spool.js";
import { kindOf, warn } from "./warn.js";

const CONCURRENCY = { normal: 16, backlog: 96 }; // requests in flight
const BACKLOG = 100; // queue length above which `CONCURRENCY.backlog` applies
const DELAY = 250; // milliseconds that a trace waits for others, so that sending does not compete with calls in quick succession
const ATTEMPT = 30_000; // milliseconds for one request, until the last byte of the response
const ANSWER = 64 * 1024; // maximum bytes read from a response
const ROUND = 300_000; // milliseconds of retries before a trace goes to the end of the queue
const PAUSE = { first: 250, longest: 10_000 }; // milliseconds between attempts
const RETRY_AFTER = 60_000; // the longest `Retry-After` that is obeyed, in milliseconds
const TRANSIENT = [408, 429, 502, 503, 504];
const PROBLEM = "urn:attest:problem:";
const GATEWAY = "urn:attest:problem:gateway";

export interface Outcome {
  /** The endpoint stored the trace. */
  confirmed(entry: Entry): void;
  /** The endpoint refused the trace, and would refuse it again. */
  refused(entry: Entry, problem: string): void;
  /** Called after each confirmed or refused trace, so that parked traces can be queued. */
  room(): void;
}

export class Sender {
  private readonly queue = new PQueue({ concurrency: CONCURRENCY.normal });
  /** Traces that were added since the last start. */
  private incoming: Entry[] = [];
  private starter: NodeJS.Timeout | undefined;
  private readonly agent: Promise<http.Agent>;
  /** Ends the pauses between attempts. */
  private stop = new AbortController();
  /** Requests in flight. */
  private readonly attempts = new Set<AbortController>();
  private bytes = 0;

  constructor(
    private readonly url: string,
    private readonly apiKey: string,
    private readonly outcome: Outcome,
  ) {
    setMaxListeners(0, this.stop.signal);
    this.agent = agentFor(new URL(url));
  }

  /** The count of traces that are neither confirmed nor refused. */
  get waiting(): number {
    return this.incoming.length + this.queue.size + this.queue.pending;
  }

  /** The size of these traces in bytes. */
  get waitingBytes(): number {
    return this.bytes;
  }

  add(entry: Entry): void {
    this.bytes += entry.line.length;
    this.incoming.push(entry);
    this.starter ??= setTimeout(() => this.start(), DELAY).unref();
  }

  /** Waits until every trace is confirmed or refused. Returns whether that happened in time. */
  async drain(milliseconds: number): Promise<boolean> {
    const timer = new AbortController();
    const late = sleep(milliseconds, true, { signal: timer.signal }).catch(() => true);
    let isLate = false;
    while (this.waiting > 0 && !isLate) {
      this.start();
      isLate = await Promise.race([this.queue.onIdle().then(() => false), late]);
    }
    timer.abort();
    return !isLate;
  }

  /** Aborts the requests in flight. Their traces wait until another trace is added. */
  pause(): void {
    clearTimeout(this.starter);
    this.starter = undefined;
    this.queue.pause();
    this.stop.abort(new Error("the process ends"));
    for (const attempt of this.attempts) attempt.abort(this.stop.signal.reason);
  }

  private start(): void {
    clearTimeout(this.starter);
    this.starter = undefined;
    if (this.stop.signal.aborted) {
      this.stop = new AbortController();
      setMaxListeners(0, this.stop.signal);
    }
    this.queue.concurrency = this.waiting > BACKLOG ? CONCURRENCY.backlog : CONCURRENCY.normal;
    this.queue.start();
    for (const entry of this.incoming.splice(0)) this.enqueue(entry);
  }

  private enqueue(entry: Entry): void {
    this.queue.add(() => this.deliver(entry)).catch((error: unknown) => warn("sender", `a trace waits for another attempt: ${kindOf(error)}`));
  }

  private async deliver(entry: Entry): Promise<void> {
    const { signal } = this.stop;
    try {
      await pRetry(() => this.send(entry), {
        retries: Infinity,
        minTimeout: PAUSE.first,
        maxTimeout: PAUSE.longest * (1 + Math.random()), // p-retry no longer randomizes the pause once it reaches the maximum
        randomize: true,
        maxRetryTime: ROUND,
        unref: true,
        signal,
        shouldRetry: ({ error }) => !(error instanceof Refused),
        onFailedAttempt: async ({ error }) => {
          if (error instanceof Refused) return;
          warn("retry", `traces wait for the endpoint: ${error instanceof Transient ? error.message : kindOf(error)}`);
          if (error instanceof Transient) await pause(error.retryAfter, signal);
        },
      });
    } catch (error) {
      if (!(error instanceof Refused)) return this.enqueue(entry); // the round is over, or the process ends
      this.bytes -= entry.line.length;
      this.outcome.refused(entry, error.message);
      return this.outcome.room();
    }
    this.bytes -= entry.line.length;
    this.outcome.confirmed(entry);
    this.outcome.room();
  }

  /** Sends a trace once. Throws {@link Refused} if a retry is useless, and {@link Transient} otherwise. */
  private async send(entry: Entry): Promise<void> {
    const attempt = new AbortController();
    this.attempts.add(attempt);
    // The deadline applies to the whole response, so a server that sends it byte by byte cannot exceed it.
    const timer = setTimeout(() => attempt.abort(new Error(`no answer within ${ATTEMPT} ms`)), ATTEMPT).unref();
    const end = () => {
      clearTimeout(timer);
      this.attempts.delete(attempt);
    };
    let response: http.IncomingMessage;
    let body: string;
    try {
      response = await this.post(entry, attempt.signal);
      body = await textOf(response);
    } catch (error) {
      throw new Transient(attempt.signal.aborted ? `no answer within ${ATTEMPT} ms` : kindOf(error));
    } finally {
      end();
    }
    const status = response.statusCode!;
    if (confirms(status, response.headers["content-type"], body, entry.id)) return;
    if (status === 200 || status === 201) throw new Transient(`status ${status} without the receipt of the trace; check ATTEST_URL`);
    const answer = objectOf(body);
    const kind = typeof answer?.type === "string" ? answer.type : "";
    // Another server's message may quote anything.
    const parts = kind.startsWith(PROBLEM) ? [answer?.title, answer?.detail, describe(answer?.errors)] : [];
    const detail = [`status ${status}`, ...parts.filter(Boolean).map(printable)].join(", ");
    const isTransient = TRANSIENT.includes(status) || (status >= 500 && kind === GATEWAY);
    throw isTransient ? new Transient(detail, response.headers["retry-after"]) : new Refused(detail);
  }

  /** Uses Node's `http`, because its sockets can be unreferenced. So a request in flight does not keep the process alive. */
  private async post({ id, line }: Entry, signal: AbortSignal): Promise<http.IncomingMessage> {
    const agent = await this.agent;
    return await new Promise((resolve, reject) => {
      const url = new URL(this.url);
      const headers: http.OutgoingHttpHeaders = { "content-type": "application/json", "content-length": line.length, "x-api-key": this.apiKey };
      if (/^[\x21-\x7e]{1,1024}$/.test(id)) headers["idempotency-key"] = id; // any other id is not a valid header value; the trace contains it anyway
      const { request: open } = url.protocol === "https:" ? https : http;
      const request = open(url, { method: "POST", headers, agent, signal });
      request.on("socket", (socket) => socket.unref()).on("response", resolve).on("error", reject).end(line);
    });
  }
}

/** Returns an agent for the environment's proxy, if any. Never proxies a URL of this machine, so that its traces do not leave it. */
async function agentFor(url: URL): Promise<http.Agent> {
  const proxy = isLoopback(url.hostname) ? "" : getProxyForUrl(url.href);
  const isHttps = url.protocol === "https:";
  if (proxy && !/^https?:/i.test(proxy)) warn("proxy", "the proxy of the environment is not an HTTP proxy; traces are sent without it");
  else if (proxy) {
    try {
      return await proxyAgent(proxy, isHttps);
    } catch (error) {
      warn("proxy", `the proxy of the environment cannot be used; traces are sent without it: ${kindOf(error)}`);
    }
  }
  return isHttps ? new https.Agent({ keepAlive: true }) : new http.Agent({ keepAlive: true });
}

/** Loads the modules on demand, because they need `require`, which an ES module bundle does not have. */
async function proxyAgent(proxy: string, isHttps: boolean): Promise<http.Agent> {
  if (isHttps) return new (await import("https-proxy-agent")).HttpsProxyAgent(proxy, { keepAlive: true });
  return new (await import("http-proxy-agent")).HttpProxyAgent(proxy, { keepAlive: true });
}

/** Returns the first {@link ANSWER} bytes of a response body as text. */
async function textOf(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > ANSWER) break; // this also destroys the connection
  }
  return Buffer.concat(chunks).toString("utf8", 0, ANSWER);
}

/** Truncates a value, and escapes characters that a terminal could interpret. */
function printable(value: unknown): string {
  return String(value).slice(0, 300).replace(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** An error after which a later attempt may store the trace. */
class Transient extends Error {
  constructor(
    message: string,
    readonly retryAfter?: string,
  ) {
    super(message);
  }
}

/** The endpoint will never store the trace unchanged. */
class Refused extends Error {}

/** Waits as long as `Retry-After` demands, in seconds or until a date (RFC 9110, section 10.2.3). */
async function pause(retryAfter: string | undefined, signal: AbortSignal): Promise<void> {
  if (!retryAfter) return;
  const milliseconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - Date.now();
  if (milliseconds > 0) await sleep(Math.min(milliseconds, RETRY_AFTER), undefined, { ref: false, signal });
}

function objectOf(text: string): Record<string, unknown> | undefined {
  try {
    const value = parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Formats the `errors` of a problem details response. The endpoint never quotes message content in them. */
function describe(errors: unknown): string | undefined {
  if (!Array.isArray(errors)) return undefined;
  return errors.map((error) => `${error?.pointer || "/"} ${error?.detail}`).join("; ");
}
