import type { Json, JsonObject } from "../json.js";

/** The reason why a streamed response ends early: by the application, by the connection, or by the provider. */
export type Incomplete = "closed" | "broken" | "ended" | "error";

/** The response of one API, as far as its stream came. */
export interface Assembly {
  add(event: JsonObject): void;
  /** Returns nothing before the first event. */
  response(): JsonObject | undefined;
  /** Whether the last event was seen. */
  readonly isComplete: boolean;
  /** The error that the provider sent instead of the rest. */
  readonly error: Json | undefined;
}
