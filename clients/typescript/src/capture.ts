/** A `fetch` that copies each model call, and passes every byte to the application as it arrives. */

import { apiOf, pathOf } from "./api.js";
import { background } from "./background.js";
import { type Recorded, Recording } from "./recording.js";
import type { Incomplete } from "./streams/assembly.js";
import { kindOf, reason } from "./warn.js";

type Fetch = typeof globalThis.fetch;

/** The calls whose responses have not ended. */
const inFlight = new Set<Recording>();
/** Whether the exit handler that finishes these calls is installed. */
let isWatched = false;
/** Cleans up after a response that the application dropped before reading its end, as `fetch` does for unread bodies. */
const dropped = new FinalizationRegistry<() => void>((end) => end());

function finishAll(): void {
  for (const recording of inFlight) recording.finish("closed");
}

/** Receives the calls that a `fetch` copies. */
export interface Log {
  /** Logs a call whose response has ended. */
  put(call: () => Recorded | undefined): void;
  /** Counts and reports a call that could not be copied. */
  lost(problem: string): void;
}

/** Returns a `fetch` that passes each model call to `log` once its response has ended. */
export function recordingFetch(fetch: Fetch, failures: boolean, log: Log): Fetch {
  return async (input, init) => {
    const method = init?.method ?? (input instanceof Request ? input.method : "GET");
    const path = pathOf(input instanceof Request ? input.url : String(input));
    const retrieved = background.responseOf(method, path);
    const api = apiOf(method, path) ?? (retrieved === undefined ? undefined : "openai-responses");
    if (!api) return fetch(input, init);

    let copy: Copy;
    try {
      copy = copyRequest(input, init);
    } catch (error) {
      log.lost(`a request could not be copied and is not logged: ${kindOf(error)}`);
      return fetch(input, init);
    }
    const recording: Recording = new Recording(api, copy.body, Math.floor(Date.now() / 1_000), failures, (call) => {
      inFlight.delete(recording);
      log.put(call);
    }, retrieved);
    let response: Response;
    try {
      const arrival = fetch(copy.input, copy.init);
      setImmediate(() => recording.prepare()); // while the provider works
      response = await arrival;
    } catch (error) {
      if (failures) recording.fail({ type: error instanceof Error ? error.name : typeof error, message: reason(error) });
      throw error;
    }
    if (!response.ok && !failures) return response;
    try {
      return record(response, recording, init?.signal ?? (input instanceof Request ? input.signal : undefined), log);
    } catch (error) {
      inFlight.delete(recording);
      log.lost(`a response could not be copied and is not logged: ${kindOf(error)}`);
      return response;
    }
  };
}

interface Copy {
  input: Parameters<Fetch>[0];
  init: Parameters<Fetch>[1];
  /** The request's body. If it is a promise, it never rejects. */
  body: Uint8Array | string | Promise<Uint8Array>;
}

/** Copies the request body. Tees a stream, because it can be read only once. */
function copyRequest(input: Copy["input"], init: Copy["init"]): Copy {
  const body = init?.body;
  if (body === undefined || body === null) {
    return { input, init, body: input instanceof Request && input.body ? quietly(input.clone().arrayBuffer()) : "" };
  }
  if (typeof body === "string") return { input, init, body };
  if (body instanceof ReadableStream) {
    const [theirs, ours] = body.tee();
    return { input, init: { ...init, body: theirs }, body: quietly(new Response(ours).arrayBuffer()) };
  }
  if (body instanceof ArrayBuffer) return { input, init, body: new Uint8Array(body) };
  if (ArrayBuffer.isView(body)) return { input, init, body: new Uint8Array(body.buffer, body.byteOffset, body.byteLength) };
  if (body instanceof Blob) return { input, init, body: quietly(body.arrayBuffer()) };
  return { input, init, body: "" }; // forms are not JSON
}

async function quietly(bytes: Promise<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await bytes.catch(() => new ArrayBuffer(0)));
}

/** Returns the response with a body that is copied while the application reads it. */
function record(response: Response, recording: Recording, signal: AbortSignal | null | undefined, log: Log): Response {
  recording.begin({
    status: response.status,
    contentType: response.headers.get("content-type") ?? "",
    contentEncoding: response.headers.get("content-encoding") ?? "",
  });
  const source = bodyOf(response);
  if (!source) {
    recording.finish();
    return response;
  }
  const abort = () => recording.finish("closed");
  const finish = (incomplete?: Incomplete) => {
    signal?.removeEventListener("abort", abort);
    recording.finish(incomplete);
  };
  const isStream = response.headers.get("content-type")?.includes("text/event-stream");
  const recorded = isStream || !(response instanceof Response) ? copied(response, source, recording, finish) : readable(response, source, recording, finish, log);
  signal?.addEventListener("abort", abort, { once: true });
  if (!isWatched) process.on("exit", finishAll);
  isWatched = true;
  inFlight.add(recording);
  return recorded;
}

type Finish = (incomplete?: Incomplete) => void;

/** Returns a copy of the response with a stream as its body. */
function copied(response: Response, source: ReadableStream<Uint8Array>, recording: Recording, finish: Finish): Response {
  const { status, statusText, headers } = response;
  const { stream, start } = passThrough(source, recording, finish);
  const copy = new Response(stream, { status, statusText, headers });
  // The headers of a fetched response are immutable; those of a constructed one are not.
  const kept = response instanceof Response ? (["url", "redirected", "type", "headers"] as const) : (["url", "redirected", "type"] as const);
  for (const name of kept) Object.defineProperty(copy, name, { value: response[name] });
  start(); // last: if anything above fails, the application gets the response with its original body
  return copy;
}

/**
 * Replaces the methods that read the whole body, because wrapping it in a stream would cost as much as the rest of the recording. A
 * stream is created only if the application uses `body`, `clone` or `formData`.
 */
function readable(response: Response, source: ReadableStream<Uint8Array>, recording: Recording, finish: Finish, log: Log): Response {
  if (response.bodyUsed || source.locked) throw new TypeError("the body is already being read");
  let copy: Response | undefined;
  let isUsed = false;
  const read = async (): Promise<Buffer<ArrayBuffer>> => {
    if (isUsed) throw new TypeError("Body is unusable: Body has already been read");
    isUsed = true;
    dropped.unregister(recording); // the response may be garbage-collected while its body is being read
    return readAll(source, recording, finish);
  };
  const whole = (): Response => {
    if (copy) return copy;
    dropped.unregister(recording);
    try {
      return (copy = copied(response, source, recording, finish));
    } catch (error) {
      log.lost(`a response could not be copied and is not logged: ${kindOf(error)}`);
      inFlight.delete(recording);
      for (const name of [...Object.keys(methods), "body", "bodyUsed"]) delete (response as unknown as Record<string, unknown>)[name];
      return response;
    }
  };
  const { headers } = response;
  const text = async () => new TextDecoder().decode(await read());
  const methods = {
    text: () => (copy ? copy.text() : text()),
    json: () => (copy ? copy.json() : text().then((text) => JSON.parse(text))),
    arrayBuffer: () => (copy ? copy.arrayBuffer() : read().then(({ buffer }) => buffer)),
    bytes: () => (copy ? copy.arrayBuffer() : read()).then((bytes) => new Uint8Array(bytes as ArrayBuffer)),
    blob: () => (copy ? copy.blob() : read().then((bytes) => new Response(bytes, { headers }).blob())),
    formData: () => whole().formData(),
    clone: () => (isUsed ? Response.prototype.clone.call(response) : whole().clone()),
  };
  for (const [name, value] of Object.entries(methods)) {
    if (name in response) Object.defineProperty(response, name, { value, configurable: true, writable: true });
  }
  Object.defineProperty(response, "body", { get: () => (isUsed ? source : whole().body), configurable: true });
  Object.defineProperty(response, "bodyUsed", { get: () => (copy ? copy.bodyUsed : isUsed), configurable: true });
  dropped.register(response, () => finish("closed"), recording);
  return response;
}

async function readAll(source: ReadableStream<Uint8Array>, recording: Recording, finish: Finish): Promise<Buffer<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    const reader = source.getReader();
    for (let chunk; (chunk = (await reader.read()).value); ) {
      chunks.push(chunk);
      size += chunk.length;
      recording.add(chunk);
    }
  } catch (error) {
    finish("broken");
    throw error;
  }
  finish(); // first, so that the trace is in the spool once the application sees the end
  const body = Buffer.from(new ArrayBuffer(size)); // outside Node's buffer pool, because `arrayBuffer` would return the whole pool
  let place = 0;
  for (const chunk of chunks) {
    body.set(chunk, place);
    place += chunk.length;
  }
  return body;
}

/** Returns the body as a web stream. `node-fetch` has a Node stream. */
function bodyOf({ body }: Response): ReadableStream<Uint8Array> | undefined {
  if (!body) return undefined;
  return body instanceof ReadableStream ? body : ReadableStream.from(body as AsyncIterable<Uint8Array>);
}

interface PassThrough {
  stream: ReadableStream;
  /** Locks the source. Throws if it already has a reader. */
  start(): void;
}

/** Reads the source only when the application reads, and forwards its cancellation. */
function passThrough(source: ReadableStream<Uint8Array>, recording: Recording, finish: (incomplete?: Incomplete) => void): PassThrough {
  let reader: ReadableStreamDefaultReader<Uint8Array>;
  const stream = new ReadableStream({
    type: "bytes",
    async pull(controller) {
      let chunk: Uint8Array | undefined;
      try {
        do chunk = (await reader.read()).value;
        while (chunk?.length === 0);
      } catch (error) {
        finish("broken");
        throw error;
      }
      if (chunk) {
        controller.enqueue(new Uint8Array(chunk)); // a copy, because the stream detaches its buffer; `Buffer.slice` would share it
        recording.add(chunk);
      } else {
        finish(); // first, so that the trace is in the spool once the application sees the end
        controller.close();
        controller.byobRequest?.respond(0);
      }
    },
    cancel(why) {
      finish("closed");
      return reader.cancel(why);
    },
  });
  const start = () => {
    reader = source.getReader();
    dropped.register(stream, ending(reader, finish));
  };
  return { stream, start };
}

/** A separate function, because a closure of `passThrough` would keep the stream alive. */
function ending(reader: ReadableStreamDefaultReader, finish: (incomplete: Incomplete) => void): () => void {
  return () => {
    finish("closed");
    void reader.cancel().catch(() => {});
  };
}
