import type { Json, JsonObject } from "../json.js";

/** The reason why a streamed response ended early: the application, the connection, or the provider. */
export type Incomplete = "closed" | "broken" | "ended" | "error";

/** Assembles the received part of one API's response. */
export interface Assembly {
  add(event: JsonObject): void;
  /** Returns `undefined` before the first event. */
  response(): JsonObject | undefined;
  /** Whether the last event of the stream arrived. */
  readonly isComplete: boolean;
  /** The error that the provider sent instead of the rest. */
  readonly error: Json | undefined;
}
