/** The copy of one call while it is in flight. */

import * as zlib from "node:zlib";
import type { Api } from "./api.js";
import { isObject, type Json, type JsonObject, parse } from "./json.js";
import type { Call } from "./mapping.js";
import type { Incomplete } from "./streams/assembly.js";
import { assemble } from "./streams/index.js";

const LIMIT = 64 * 1024 * 1024; // the number of bytes of a response that are kept

/** The head of a response. */
export interface Head {
  status: number;
  contentType: string;
  contentEncoding: string;
}

export class Recording {
  private readonly chunks: Uint8Array[] = [];
  private size = 0;
  private isEnded = false;
  private head: Head | undefined;
  /** The body of the request, or its text until it is parsed. */
  private request: JsonObject | string | undefined;
  private readonly arrival: Promise<string> | undefined;

  /** `request` is the text of the request's body and never rejects; `finished` is called exactly once. */
  constructor(
    private readonly api: Api,
    request: string | Promise<string>,
    private readonly created: number,
    private readonly failures: boolean,
    private readonly finished: (call: () => Call | undefined) => void,
  ) {
    if (typeof request === "string") this.request = request;
    else this.arrival = request.then((text) => (this.request = text));
  }

  begin(head: Head): void {
    this.head = head;
  }

  /** Parses the request, so that the end of the call has less to do. */
  prepare(): void {
    if (typeof this.request === "string") this.request = requestOf(this.request);
  }

  /** Adds bytes of the response. They are not copied, so nobody may change them later. */
  add(chunk: Uint8Array): void {
    this.size += chunk.length;
    if (this.size <= LIMIT) this.chunks.push(chunk);
  }

  /** Ends the recording of a call that got no response. */
  fail(error: Json): void {
    this.end(() => ({ error }));
  }

  /** Ends the recording with the last byte of the response, or earlier. */
  finish(incomplete?: Incomplete): void {
    this.end(() => this.answer(this.head!, this.size > LIMIT ? "closed" : incomplete));
  }

  /** Passes the call on, unless there is nothing to log. Later calls do nothing. */
  private end(answer: () => Answer | undefined): void {
    if (this.isEnded) return;
    this.isEnded = true;
    const pass = () => this.finished(() => {
      const outcome = answer();
      this.prepare();
      return outcome && { api: this.api, request: this.request as JsonObject, created: this.created, ...outcome };
    });
    if (this.request === undefined) void this.arrival!.then(pass);
    else pass();
  }

  private answer({ status, contentType, contentEncoding }: Head, incomplete: Incomplete | undefined): Answer | undefined {
    const text = textOf(this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks), contentEncoding);
    if (isSuccess(status) && contentType.includes("text/event-stream")) {
      const stream = assemble(this.api, text);
      const error = stream.error === undefined ? undefined : { status, body: stream.error };
      return { response: stream.response, error, incomplete: stream.incomplete === "ended" ? (incomplete ?? "ended") : stream.incomplete };
    }
    const body = parsed(text);
    if (isSuccess(status) && isObject(body)) return { response: body, incomplete };
    return this.failures || incomplete ? { error: { status, body: body ?? text }, incomplete } : undefined;
  }
}

type Answer = Pick<Call, "response" | "incomplete" | "error">;

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

function requestOf(text: string): JsonObject {
  const value = parsed(text);
  return isObject(value) ? value : value === undefined ? { body: text } : { messages: value };
}

function parsed(text: string): Json | undefined {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

const UTF_8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Returns the text of a body. Node's `fetch` decompresses most bodies but does not change the header, so only a body that is not UTF-8
 * is decompressed here.
 */
function textOf(body: Uint8Array, encoding: string): string {
  try {
    return UTF_8.decode(body);
  } catch {
    return new TextDecoder().decode(decompress(body, encoding));
  }
}

/** Decompresses the received part of a body, which may have been cut off. */
function decompress(body: Uint8Array, encoding: string): Uint8Array {
  const zstd = (zlib as { zstdDecompressSync?: (body: Uint8Array) => Buffer }).zstdDecompressSync; // Node 22.15 and later
  const lenient = { finishFlush: zlib.constants.Z_SYNC_FLUSH };
  const decoders: Record<string, ((body: Uint8Array) => Buffer) | undefined> = {
    gzip: (body) => zlib.gunzipSync(body, lenient),
    deflate: (body) => ((body[0]! & 0x0f) === 8 ? zlib.inflateSync(body, lenient) : zlib.inflateRawSync(body, lenient)),
    br: (body) => zlib.brotliDecompressSync(body, { finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH }),
    zstd,
  };
  try {
    const names = encoding.toLowerCase().split(",").map((name) => name.trim().replace(/^x-/, ""));
    return names.reduceRight((bytes, name) => decoders[name]?.(bytes) ?? bytes, body);
  } catch {
    return body;
  }
}
