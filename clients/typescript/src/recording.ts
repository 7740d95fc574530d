/** Records one call while it is in flight. */

import type { Api } from "./api.js";
import { background } from "./background.js";
import { type Answer, Body, jsonOf, type Outcome } from "./body.js";
import { isObject, type Json, type JsonObject } from "./json.js";
import { currentExtra } from "./context.js";
import type { Call, Timing } from "./mapping.js";
import type { Incomplete } from "./streams/assembly.js";

export interface Head {
  status: number;
  contentType: string;
  contentEncoding: string;
}

/** A finished call, and the counters that its response increments. */
export interface Recorded {
  call: Call;
  /** The members from the `withExtra` contexts around the call. */
  extra: Record<string, unknown>;
  outcomes: Outcome[];
}

export class Recording {
  /** Chunks that arrived before the request body was known, each with its arrival time. */
  private readonly early: [Uint8Array, number][] = [];
  private readonly extra = currentExtra();
  private readonly started = performance.now();
  /** The time at which the first content of a streamed response arrived. */
  private first: number | undefined;
  private isEnded = false;
  private isFaulty = false;
  private head: Head | undefined;
  private body: Body | undefined;
  /** The request body, which is a string or bytes until it is parsed. */
  private request: JsonObject | Uint8Array | string | undefined;
  private readonly arrival: Promise<Uint8Array> | undefined;

  /**
   * `request` is the request body, and never rejects. `finished` is called exactly once. `retrieved` is the id of the
   * background response that the request retrieves.
   */
  constructor(
    private readonly api: Api,
    request: Uint8Array | string | Promise<Uint8Array>,
    private readonly created: number,
    private readonly failures: boolean,
    private readonly finished: (call: () => Recorded | undefined) => void,
    private readonly retrieved?: string,
  ) {
    if (typeof request === "string" || request instanceof Uint8Array) this.request = request;
    else this.arrival = request.then((bytes) => (this.request = bytes));
  }

  begin(head: Head): void {
    this.head = head;
  }

  /** Parses the request early, so that the end of the call has less to do. */
  prepare(): JsonObject | undefined {
    if (typeof this.request !== "string" && !(this.request instanceof Uint8Array)) return this.request;
    const value = jsonOf(this.request);
    return (this.request = isObject(value) ? value : { body: value });
  }

  /** Adds response bytes without copying them, so the caller must not change them later. */
  add(chunk: Uint8Array): void {
    if (this.isEnded) return;
    const arrived = performance.now();
    try {
      if (this.request !== undefined) this.feed(this.open(), chunk, arrived);
      else this.early.push([chunk, arrived]);
    } catch {
      this.isFaulty = true; // a fault of this package must not reach the application
    }
  }

  /** Ends the recording of a call that got no response. */
  fail(error: Json): void {
    this.end(() => (this.retrieved ? undefined : { error, outcomes: [] }));
  }

  /** Ends the recording. `incomplete` is the reason if the last byte of the response has not arrived. */
  finish(incomplete?: Incomplete): void {
    this.end(() => {
      const { status } = this.head!;
      if (status >= 200 && status < 300) return this.open().finish(status, incomplete);
      return this.failures ? { error: this.open().failed(status), incomplete, outcomes: [] } : undefined;
    });
  }

  private open(): Body {
    if (this.body) return this.body;
    const { contentType, contentEncoding } = this.head!;
    this.body = new Body(this.api, this.prepare()!.stream === true, contentType, contentEncoding);
    for (const [chunk, arrived] of this.early.splice(0)) this.feed(this.body, chunk, arrived);
    return this.body;
  }

  private feed(body: Body, chunk: Uint8Array, arrived: number): void {
    body.feed(chunk);
    if (this.first === undefined && body.hasContent) this.first = arrived;
  }

  /** Returns the seconds until the first content and until the end. Those of a background response are unknown. */
  private timing(ended: number): Timing | undefined {
    if (this.retrieved) return undefined;
    const since = (time: number) => Math.round((time - this.started) * 1_000) / 1_000_000;
    return { duration: since(ended), ...(this.first === undefined ? {} : { first_token: since(this.first) }) };
  }

  /** Passes the recorded call on. Only the first call of this method has an effect. */
  private end(answer: () => Answer | undefined): void {
    if (this.isEnded) return;
    this.isEnded = true;
    const ended = performance.now();
    const pass = () => this.finished(() => this.recorded(answer(), ended));
    if (this.request === undefined) void this.arrival!.then(pass);
    else pass();
  }

  private recorded(answer: Answer | undefined, ended: number): Recorded | undefined {
    if (!answer) return undefined;
    const { outcomes, ...outcome } = answer;
    if (this.isFaulty) outcomes.push("lost");
    let request = this.prepare();
    if (this.retrieved) request = background.retrieved(this.retrieved, outcome.response);
    else if (this.api === "openai-responses" && background.isPending(request!, outcome.response)) outcome.incomplete ??= "background";
    const call = { api: this.api, created: this.created, ...outcome, timing: this.timing(ended) };
    return request && { call: { ...call, request }, extra: this.extra, outcomes };
  }
}
