/** A `fetch` that copies each call of a model, and hands every byte to the application as it comes. */

import { type Api, apiOf } from "./api.js";
import type { Call, Incomplete } from "./mapping.js";
import { Recording } from "./recording.js";
import { reason, warn } from "./warn.js";

type Fetch = typeof globalThis.fetch;

/** Calls whose response has not ended. */
const inFlight = new Set<Recording>();
/** Ends what belongs to a response that the application dropped before its end. `fetch` does the same with a body that nobody reads. */
const dropped = new FinalizationRegistry<() => void>((end) => end());

/** Finishes the recordings of a process that ends. */
export function finishAll(): void {
  for (const recording of inFlight) recording.finish("closed");
}

/** Returns a `fetch` that passes each call of a model to `log` once its response has ended. */
export function recordingFetch(fetch: Fetch, failures: boolean, log: (call: () => Call | undefined) => void): Fetch {
  return async (input, init) => {
    const method = init?.method ?? (input instanceof Request ? input.method : "GET");
    const api = apiOf(method, input instanceof Request ? input.url : String(input));
    if (!api) return fetch(input, init);

    let copy: Copy;
    try {
      copy = copyRequest(input, init);
    } catch (error) {
      warn("copy", `a request could not be copied and is not logged: ${reason(error)}`);
      return fetch(input, init);
    }
    const recording = start(api, copy, failures, log);
    let response: Response;
    try {
      response = await fetch(copy.input, copy.init);
    } catch (error) {
      if (failures) recording.fail({ type: error instanceof Error ? error.name : typeof error, message: reason(error) });
      throw error;
    }
    if (!response.ok && !failures) return response;
    try {
      return record(response, recording, init?.signal ?? (input instanceof Request ? input.signal : undefined));
    } catch (error) {
      warn("record", `a response could not be copied and is not logged: ${reason(error)}`);
      return response;
    }
  };
}

interface Copy {
  input: Parameters<Fetch>[0];
  init: Parameters<Fetch>[1];
  /** The text of the request's body. It never rejects. */
  text: string | Promise<string>;
}

/** Copies the body of a request. A stream is teed, because it can be read only once. */
function copyRequest(input: Copy["input"], init: Copy["init"]): Copy {
  const body = init?.body;
  if (body === undefined || body === null) {
    const text = input instanceof Request && input.body ? quietly(input.clone().text()) : "";
    return { input, init, text };
  }
  if (typeof body === "string") return { input, init, text: body };
  if (body instanceof ReadableStream) {
    const [theirs, ours] = body.tee();
    return { input, init: { ...init, body: theirs }, text: quietly(new Response(ours).text()) };
  }
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return { input, init, text: new TextDecoder().decode(body) };
  if (body instanceof Blob) return { input, init, text: quietly(body.text()) };
  return { input, init, text: "" }; // forms are not JSON
}

function quietly(text: Promise<string>): Promise<string> {
  return text.catch(() => "");
}

function start(api: Api, copy: Copy, failures: boolean, log: (call: () => Call | undefined) => void): Recording {
  const recording: Recording = new Recording(api, copy.text, Math.floor(Date.now() / 1_000), failures, (call) => {
    inFlight.delete(recording);
    log(call);
  });
  return recording;
}

/** Returns the response with a body that is copied while the application reads it. */
function record(response: Response, recording: Recording, signal: AbortSignal | null | undefined): Response {
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
  const { status, statusText, headers } = response;
  const { stream, start } = passThrough(source, recording, finish);
  const copy = new Response(stream, { status, statusText, headers });
  for (const name of ["url", "redirected", "type"] as const) Object.defineProperty(copy, name, { value: response[name] });
  start(); // last: if anything above fails, the application gets the response with its body untouched
  signal?.addEventListener("abort", abort, { once: true });
  inFlight.add(recording);
  return copy;
}

/** Returns the body as a web stream; that of `node-fetch` is a stream of Node. */
function bodyOf({ body }: Response): ReadableStream<Uint8Array> | undefined {
  if (!body) return undefined;
  return body instanceof ReadableStream ? body : ReadableStream.from(body as AsyncIterable<Uint8Array>);
}

interface PassThrough {
  stream: ReadableStream;
  /** Takes the source over. Throws if somebody reads it already. */
  start(): void;
}

/** Reads the source only when the application reads, and passes its cancellation on. */
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
        controller.enqueue(chunk.slice()); // a byte stream takes the buffer away from its owner
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

/** A function of its own, because a closure of `passThrough` would keep the stream alive. */
function ending(reader: ReadableStreamDefaultReader, finish: (incomplete: Incomplete) => void): () => void {
  return () => {
    finish("closed");
    void reader.cancel().catch(() => {});
  };
}
