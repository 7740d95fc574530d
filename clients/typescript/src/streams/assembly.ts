import { isEmpty, type Json, type JsonObject, toWellFormed } from "../json.js";
import { Merger, type Rule } from "./merge.js";

/**
 * The reason why a response is incomplete: the application closed it, the connection broke, the provider ended it early or sent an
 * error, it exceeds the size limit, a part of it has no place, or a later request retrieves it.
 */
export type Incomplete = "closed" | "broken" | "ended" | "error" | "truncated" | "unmerged" | "background";

/** Assembles the received part of one API's response. */
export abstract class Assembly {
  /** Whether the last event of the stream arrived. */
  isComplete = false;
  /** The error that the provider sent instead of the rest. */
  error: Json | undefined;
  /** Values that a later one replaced, and events without a place in the response. */
  unmerged: Json[] = [];
  /** Whether an event has no place in the response, or values of one member have contradictory types. */
  isContradictory = false;
  protected readonly merger = new Merger();

  abstract add(event: JsonObject): void;
  /** Returns the response after the last event, or `undefined` if there was no event. */
  protected abstract assembled(): JsonObject | undefined;

  finish(keepsSurrogates: boolean): JsonObject | undefined {
    this.isContradictory ||= this.merger.hasConflict;
    const response = this.assembled();
    if (!keepsSurrogates) return response;
    this.unmerged = toWellFormed(this.unmerged) as Json[];
    if (this.error !== undefined) this.error = toWellFormed(this.error);
    return response && (toWellFormed(response) as JsonObject);
  }

  /** Keeps an event, or a part of one, that has no place in the response. */
  keep(event: Json | undefined): void {
    if (isEmpty(event)) return;
    this.unmerged.push(event!);
    this.isContradictory = true;
  }

  /** Merges a part of an event. Keeps the values that it replaces in `unmerged`. */
  protected merge(whole: JsonObject, part: JsonObject, rule: Rule): void {
    const rest = this.merger.merge(whole, part, rule);
    if (rest !== undefined) this.unmerged.push(rest);
  }

  protected fail(error: Json): void {
    if (this.error === undefined) this.error = error;
    else this.unmerged.push({ error });
  }
}
