/** Parses a response body as it arrives. */

import * as zlib from "node:zlib";
import type { Api } from "./api.js";
import { isObject, type Json, type JsonObject, parse } from "./json.js";
import type { Incomplete } from "./streams/assembly.js";
import { Stream } from "./streams/index.js";

const LIMIT = 64 * 1024 * 1024; // maximum bytes kept of a response body
const HEAD = 1_024; // bytes after which the kind of a body is decided at the latest
const FIELD = /^(data|event|id:|retry|:)/;
const LABEL = /^\s*(text\/event-stream|application\/x-ndjson)\s*(;|$)/i;

/** The counters that a response may increment. */
export type Outcome = "truncated" | "unparsed" | "unmerged" | "lost";

export interface Answer {
  response?: JsonObject | undefined;
  error?: Json | undefined;
  incomplete?: Incomplete | undefined;
  unmerged?: Json[] | undefined;
  outcomes: Outcome[];
}

/**
 * Assembles a body that is a stream, and buffers any other.
 *
 * The first bytes determine whether a body is a stream. If they do not, the request's `stream` member and the `Content-Type` decide.
 */
export class Body {
  private readonly isStreamWanted: boolean;
  private stream: Stream | undefined;
  private isDecided = false;
  private chunks: Uint8Array[] = [];
  private size = 0;
  private isTruncated = false;
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(
    private readonly api: Api,
    isStreamWanted: boolean,
    contentType: string,
    private readonly encoding: string,
  ) {
    this.isStreamWanted = isStreamWanted || LABEL.test(contentType);
  }

  /** Whether any content of a streamed response has arrived. */
  get hasContent(): boolean {
    return this.stream?.hasContent ?? false;
  }

  /** Adds bytes without copying them, so the caller must not change them later. */
  feed(chunk: Uint8Array): void {
    if (this.isTruncated || chunk.length === 0) return;
    if (this.size + chunk.length > LIMIT) {
      chunk = chunk.subarray(0, LIMIT - this.size);
      this.isTruncated = true;
    }
    this.size += chunk.length;
    if (!this.stream || !this.stream.hasEvents) this.chunks.push(chunk);
    if (this.stream) this.read(chunk);
    else if (!this.isDecided) this.decide(false);
  }

  /** Returns the provider's response. `incomplete` is the reason if a part of the body is missing. */
  finish(status: number, incomplete: Incomplete | undefined): Answer {
    if (!this.isDecided) this.decide(true);
    if (this.isTruncated) incomplete = "truncated";
    const outcomes: Outcome[] = this.isTruncated ? ["truncated"] : [];
    const content = this.content();
    if (this.stream && (this.stream.hasEvents || isSilent(content))) {
      this.stream.feed(this.decoder.decode());
      return streamed(this.stream, status, incomplete, outcomes);
    }
    const decompressed = decompress(content, this.encoding);
    if (decompressed === "too large") {
      const body = Buffer.from(content).toString("base64");
      return { error: { status, body, reason: `the body has more than ${LIMIT} bytes without its encoding` }, incomplete: "truncated", outcomes: ["truncated"] };
    }
    if (decompressed) {
      const inner = new Body(this.api, this.isStreamWanted, "", "");
      inner.feed(decompressed);
      return inner.finish(status, incomplete);
    }
    const { value, reason } = parsed(content, !incomplete);
    if (isObject(value) && value.object !== "chat.completion.chunk") return { response: value, incomplete, outcomes };
    const lines = this.isStreamWanted ? streamOfLines(this.api, content) : undefined;
    if (lines) return streamed(lines, status, incomplete, outcomes);
    if (incomplete) return { error: { status, body: value }, incomplete, outcomes };
    return { error: { status, body: value, reason: reason ?? "the body is not a JSON object" }, outcomes: ["unparsed"] };
  }

  /** Returns the error of a failed call: its status and its body. */
  failed(status: number): Json {
    const content = this.content();
    const decompressed = decompress(content, this.encoding);
    return { status, body: parsed(decompressed && decompressed !== "too large" ? decompressed : content, false).value };
  }

  private content(): Uint8Array {
    const content = this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks);
    this.chunks = [content];
    return content;
  }

  private decide(isEnd: boolean): void {
    const head = latin1(this.chunks).replace(/^\xef\xbb\xbf/, "").trimStart();
    const isJson = head.startsWith("{") || head.startsWith("[");
    if (head.length < "retry".length && this.size < HEAD && !isEnd && !isJson) return;
    this.isDecided = true;
    const isField = FIELD.test(head);
    // Node's `fetch` decompresses a body but keeps the header, so what arrives may still be compressed.
    if (isJson || !(isField || (this.isStreamWanted && isPlain(this.encoding)))) return;
    this.stream = new Stream(this.api);
    for (const chunk of this.chunks) this.read(chunk);
  }

  private read(chunk: Uint8Array): void {
    this.stream!.feed(this.decoder.decode(chunk, { stream: true }));
    if (this.stream!.hasEvents) this.chunks = [];
  }
}

function latin1(chunks: Uint8Array[]): string {
  let text = "";
  for (const chunk of chunks) {
    if (text.length >= HEAD) break;
    text += Buffer.from(chunk.buffer, chunk.byteOffset, Math.min(chunk.length, HEAD)).toString("latin1");
  }
  return text;
}

/** Returns whether a body has only comments and fields of server-sent events, which servers send to keep a connection open. */
function isSilent(content: Uint8Array): boolean {
  const lines = Buffer.from(content).toString("latin1").replace(/^\xef\xbb\xbf/, "").split(/[\r\n]/);
  return lines.every((line) => line.trim() === "" || /^(:|event|id|retry|data)/.test(line));
}

function streamed(stream: Stream, status: number, incomplete: Incomplete | undefined, outcomes: Outcome[]): Answer {
  const { response, error, unmerged, isContradictory, ...rest } = stream.finish(incomplete);
  if (isContradictory) outcomes.push("unmerged");
  return { response, error: error === undefined ? undefined : { status, body: error }, incomplete: rest.incomplete, unmerged, outcomes };
}

/** Parses a stream that has one JSON event per line instead of server-sent events. Ignores a last line that was cut off. */
function streamOfLines(api: Api, content: Uint8Array): Stream | undefined {
  const stream = new Stream(api);
  const lines = Buffer.from(content).toString().split(/\r\n|\r|\n/).filter((line) => line.trim() !== "");
  for (const [place, line] of lines.entries()) {
    let event: Json | undefined;
    try {
      event = parse(line, true);
    } catch {
      event = undefined;
    }
    if (isObject(event)) stream.add(event);
    else if (place === 0 || place < lines.length - 1) return undefined;
  }
  return lines.length > 0 ? stream : undefined;
}

/** Returns the JSON value of a body, its text if it is not JSON, or its bytes in Base64 if it is not text. */
export function jsonOf(body: Uint8Array | string): Json {
  if (typeof body !== "string") return parsed(body, true).value;
  try {
    return parse(body);
  } catch {
    return body.toWellFormed();
  }
}

/** Returns the same value as {@link jsonOf}, and the reason if the body is not JSON. */
function parsed(body: Uint8Array, isWhole: boolean): { value: Json; reason?: string } {
  let isText = true;
  let text: string;
  try {
    text = new TextDecoder(encodingOf(body), { fatal: true }).decode(body);
  } catch {
    text = new TextDecoder().decode(body);
    isText = !isWhole;
  }
  try {
    const value = parse(text);
    if (isText || isObject(value)) return { value };
  } catch {
    // A body that is not JSON stays text or bytes.
  }
  return isText ? { value: text.toWellFormed(), reason: "the body is not JSON" } : { value: Buffer.from(body).toString("base64"), reason: "the body is not text" };
}

/** Detects the encoding of a JSON body, because some servers send UTF-16 (RFC 4627, section 3). */
function encodingOf([first, second]: Uint8Array): string {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  return first === 0 ? "utf-16be" : second === 0 ? "utf-16le" : "utf-8";
}

function isPlain(encoding: string): boolean {
  return ["", "identity"].includes(encoding.trim().toLowerCase());
}

/** Decompresses the received part of a body, which may have been cut off. Returns `undefined` if it is not compressed. */
function decompress(body: Uint8Array, encoding: string): Uint8Array | "too large" | undefined {
  if (isPlain(encoding) || isUtf8(body)) return undefined;
  const zstd = (zlib as { zstdDecompressSync?: (body: Uint8Array, options: object) => Buffer }).zstdDecompressSync; // Node 22.15 and later
  const lenient = { finishFlush: zlib.constants.Z_SYNC_FLUSH, maxOutputLength: LIMIT };
  const decoders: Record<string, ((body: Uint8Array) => Buffer) | undefined> = {
    gzip: (body) => zlib.gunzipSync(body, lenient),
    deflate: (body) => ((body[0]! & 0x0f) === 8 ? zlib.inflateSync(body, lenient) : zlib.inflateRawSync(body, lenient)),
    br: (body) => zlib.brotliDecompressSync(body, { finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH, maxOutputLength: LIMIT }),
    zstd: zstd && ((body) => zstd(body, { maxOutputLength: LIMIT })),
  };
  try {
    const names = encoding.toLowerCase().split(",").map((name) => name.trim().replace(/^x-/, ""));
    const decompressed = names.reduceRight((bytes, name) => decoders[name]?.(bytes) ?? bytes, body);
    return decompressed === body ? undefined : decompressed;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE" ? "too large" : undefined;
  }
}

function isUtf8(body: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(body);
    return true;
  } catch {
    return false;
  }
}
