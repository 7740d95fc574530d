/** Assembles server-sent events into the response that the provider would have sent without streaming. */

import { createParser } from "eventsource-parser";
import type { Api } from "../api.js";
import { isObject, type Json, type JsonObject, parse } from "../json.js";
import { AnthropicAssembly } from "./anthropic.js";
import type { Assembly, Incomplete } from "./assembly.js";
import { ChatAssembly } from "./chat.js";
import { hasContent } from "./content.js";
import { ResponsesAssembly } from "./responses.js";

export interface Assembled {
  response: JsonObject | undefined;
  incomplete: Incomplete | undefined;
  /** The error that the provider sent instead of the rest. */
  error: Json | undefined;
  /** Values that a later one replaced, and events without a place in the response. */
  unmerged: Json[];
  /** Whether an event has no place in the response. */
  isContradictory: boolean;
}

const ASSEMBLIES = { "openai-chat": ChatAssembly, "openai-responses": ResponsesAssembly, anthropic: AnthropicAssembly };

/** A response that arrives in chunks. Each chunk is parsed as it arrives, so that the end of a long stream causes no delay. */
export class Stream {
  hasEvents = false;
  /** Whether any generated content has arrived. */
  hasContent = false;
  private readonly assembly: Assembly;
  private readonly parser = createParser({ onEvent: ({ data }) => this.addText(data) });
  private isDone = false;
  private isLast = false;
  private hasSurrogates = false;

  constructor(api: Api) {
    this.assembly = new ASSEMBLIES[api]();
  }

  feed(text: string): void {
    this.parser.feed(text);
  }

  /** Adds a parsed event. */
  add(event: Json): void {
    this.hasEvents = true;
    if (isObject(event)) {
      this.hasContent ||= hasContent(event);
      this.assembly.add(event);
    } else this.assembly.keep(event);
  }

  /** Returns what arrived. `incomplete` is the reason if the stream ended early. */
  finish(incomplete: Incomplete = "ended"): Assembled {
    this.isLast = true;
    this.parser.feed("\n\n"); // the last event may lack its empty line
    const response = this.assembly.finish(this.hasSurrogates);
    const { error, unmerged, isContradictory } = this.assembly;
    let why: Incomplete | undefined = incomplete;
    if (error !== undefined) why = "error";
    else if (incomplete !== "truncated" && (this.isDone || this.assembly.isComplete)) why = isContradictory ? "unmerged" : undefined;
    return { response, incomplete: why, error, unmerged, isContradictory };
  }

  private addText(data: string): void {
    if (data === "") return;
    if (data.trim() === "[DONE]") {
      this.isDone = this.hasEvents = true;
      return;
    }
    let event: Json;
    try {
      event = parse(data, true);
    } catch {
      if (!this.isLast) this.assembly.keep(data); // the last event may have been cut off
      return;
    }
    this.hasSurrogates ||= SURROGATE.test(data);
    this.add(event);
  }
}

const SURROGATE = /\\u[dD][89a-fA-F]/;

/** Assembles a whole body of server-sent events. */
export function assemble(api: Api, text: string): Assembled {
  const stream = new Stream(api);
  stream.feed(text);
  return stream.finish();
}
