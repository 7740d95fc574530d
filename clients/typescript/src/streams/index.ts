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
}

export interface Assembled {
  response: JsonObject | undefined;
  incomplete: Incomplete | undefined;
  /** The error that the provider sent in the stream. */
  error: Json | undefined;
}

const ASSEMBLIES = { "openai-chat": ChatAssembly, "openai-responses": ResponsesAssembly, anthropic: AnthropicAssembly };

export function assemble(api: Api, text: string): Assembled {
  const assembly = new ASSEMBLIES[api]();
  let error: Json | undefined;
  let isDone = false;
  let broken: string | undefined; // an event that is not a JSON object
  const onEvent = ({ data }: { data: string }) => {
    if (data.trim() === "[DONE]") {
      isDone = true;
      return;
    }
    const event = objectOf(data);
    if (!event) broken = data;
    else if (isObject(event.error) || event.type === "error") error ??= event.error ?? event;
    else assembly.add(event);
  };
  const parser = createParser({ onEvent });
  parser.feed(text);
  if (broken !== undefined) error ??= { body: broken };
  parser.feed("\n\n"); // the last event may lack its empty line; if it was cut off, it is not JSON
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
