/** Assembles server-sent events into the response that the provider would have sent without streaming. */

import { createParser } from "eventsource-parser";
import type { Api } from "../api.js";
import { isObject, type Json, type JsonObject, parse } from "../json.js";
import type { Incomplete } from "../mapping.js";
import { AnthropicAssembly } from "./anthropic.js";
import { ChatAssembly } from "./chat.js";
import { ResponsesAssembly } from "./responses.js";

/** The response of one API, as far as its stream came. */
export interface Assembly {
  add(event: JsonObject): void;
  /** Nothing before the first event. */
  response(): JsonObject | undefined;
  /** The last event was seen. */
  readonly isComplete: boolean;
  /** The error that the provider sent instead of the rest. */
  readonly error: Json | undefined;
}

export interface Assembled {
  response: JsonObject | undefined;
  incomplete: Incomplete | undefined;
  /** The error that the provider sent instead of the rest. */
  error: Json | undefined;
}

const ASSEMBLIES = { "openai-chat": ChatAssembly, "openai-responses": ResponsesAssembly, anthropic: AnthropicAssembly };

/** Reads a body of server-sent events. Events that are not JSON objects are skipped: the last one may have been cut off. */
export function assemble(api: Api, text: string): Assembled {
  const assembly: Assembly = new ASSEMBLIES[api]();
  let isDone = false;
  const onEvent = ({ data }: { data: string }) => {
    if (data.trim() === "[DONE]") isDone = true;
    const event = objectOf(data);
    if (event) assembly.add(event);
  };
  const parser = createParser({ onEvent });
  parser.feed(text);
  parser.feed("\n\n"); // the last event may lack its empty line
  const { error } = assembly;
  const isComplete = isDone || assembly.isComplete;
  return { response: assembly.response(), incomplete: error !== undefined ? "error" : isComplete ? undefined : "ended", error };
}

function objectOf(data: string): JsonObject | undefined {
  try {
    const event = parse(data);
    return isObject(event) ? event : undefined;
  } catch {
    return undefined;
  }
}
