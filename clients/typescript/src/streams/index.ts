/** Assembles server-sent events into the response that the provider would have sent without streaming. */

import { createParser } from "eventsource-parser";
import type { Api } from "../api.js";
import { isObject, type Json, type JsonObject, parse } from "../json.js";
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
  /** Why the response is not whole. */
  incomplete: string | undefined;
  /** The error that the provider sent in the stream. */
  error: Json | undefined;
}

const ASSEMBLIES = { "openai-chat": ChatAssembly, "openai-responses": ResponsesAssembly, anthropic: AnthropicAssembly };

export function assemble(api: Api, text: string): Assembled {
  const assembly = new ASSEMBLIES[api]();
  let error: Json | undefined;
  let isDone = false;
  let unreadable = 0;
  const onEvent = ({ data }: { data: string }) => {
    if (data.trim() === "[DONE]") {
      isDone = true;
      return;
    }
    try {
      const event = parse(data);
      if (!isObject(event)) unreadable++;
      else if (isObject(event.error) || event.type === "error") error ??= event.error ?? event;
      else assembly.add(event);
    } catch {
      unreadable++;
    }
  };
  const parser = createParser({ onEvent });
  parser.feed(text);
  parser.feed("\n\n"); // the last event may lack its empty line
  const isComplete = isDone || assembly.isComplete;
  const incomplete = !isComplete ? "the stream ended early" : unreadable > 0 ? `${unreadable} events of the stream are not JSON objects` : undefined;
  return { response: assembly.response(), incomplete: error === undefined ? incomplete : (incomplete ?? "the provider reported an error"), error };
}
