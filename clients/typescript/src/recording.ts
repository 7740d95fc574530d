/** The copy of one call while it is in flight. */

import type { Api } from "./api.js";
import { background } from "./background.js";
import { type Answer, Body, jsonOf, type Outcome } from "./body.js";
import { isObject, type Json, type JsonObject } from "./json.js";
import type { Call } from "./mapping.js";
import type { Incomplete } from "./streams/assembly.js";

/** The head of a response. */
export interface Head {
  status: number;
  contentType: string;
  contentEncoding: string;
}

/** A call, and what became of its answer. */
export interface Recorded {
  call: Call;
  outcomes: Outcome[];
}

export class Recording {
  /** Bytes that arrived before the request's body was known. */
  private readonly early: Uint8Array[] = [];
  private isEnded = false;
  private isFaulty = false;
  private head: Head | undefined;
  private body: Body | undefined;
  /** The body of the request, which is a string or bytes until it is parsed. */
  private request: JsonObject | Uint8Array | string | undefined;
  private readonly arrival: Promise<Uint8Array> | undefined;

  /**
   * `request` is the body of the request and never rejects; `finished` is called exactly once. `retrieved` is the id of the
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

  /** Parses the request, so that the end of the call has less to do. */
  prepare(): JsonObject | undefined {
    if (typeof this.request !== "string" && !(this.request instanceof Uint8Array)) return this.request;
    const value = jsonOf(this.request);
    return (this.request = isObject(value) ? value : { body: value });
  }

  /** Adds bytes of the response. They are not copied, so nobody may change them later. */
  add(chunk: Uint8Array): void {
    if (this.isEnded) return;
    try {
      if (this.request !== undefined) this.open().feed(chunk);
      else this.early.push(chunk);
    } catch {
      this.isFaulty = true; // a fault of this package must not reach the application
    }
  }

  /** Ends the recording of a call that got no response. */
  fail(error: Json): void {
    this.end(() => (this.retrieved ? undefined : { error, outcomes: [] }));
  }

  /** Ends the recording with the last byte of the response, or earlier. */
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
    for (const chunk of this.early.splice(0)) this.body.feed(chunk);
    return this.body;
  }

  /** Passes the call on, unless there is nothing to log. Later calls do nothing. */
  private end(answer: () => Answer | undefined): void {
    if (this.isEnded) return;
    this.isEnded = true;
    const pass = () => this.finished(() => this.recorded(answer()));
    if (this.request === undefined) void this.arrival!.then(pass);
    else pass();
  }

  private recorded(answer: Answer | undefined): Recorded | undefined {
    if (!answer) return undefined;
    const { outcomes, ...outcome } = answer;
    if (this.isFaulty) outcomes.push("lost");
    let request = this.prepare();
    if (this.retrieved) request = background.retrieved(this.retrieved, outcome.response);
    else if (this.api === "openai-responses" && background.isPending(request!, outcome.response)) outcome.incomplete ??= "background";
    return request && { call: { api: this.api, request, created: this.created, ...outcome }, outcomes };
  }
}
