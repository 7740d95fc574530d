/** Warnings on standard error. They never contain the content of a trace. */

const PAUSE = 60_000; // milliseconds between two warnings of one kind

const kinds = new Map<string, { last: number; suppressed: number }>();

/** Prints a warning, at most once a minute for each kind; the next one states how many were suppressed. */
export function warn(kind: string, text: string): void {
  const now = performance.now();
  const seen = kinds.get(kind);
  if (seen && now - seen.last < PAUSE) {
    seen.suppressed++;
    return;
  }
  kinds.set(kind, { last: now, suppressed: 0 });
  console.warn(`attest: ${text}${seen?.suppressed ? ` (${seen.suppressed} similar warnings suppressed)` : ""}`);
}

/** Returns the message of anything that can be thrown, with the cause that `fetch` hides behind "fetch failed". */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === "string" ? error : "unknown error";
  const cause = error.cause;
  return cause instanceof Error ? `${error.message}: ${cause.message || (cause as NodeJS.ErrnoException).code}` : error.message;
}
