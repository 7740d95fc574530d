/** Warnings on standard error. They never contain trace content, a key, or the message of another program's error. */

const PAUSE = 60_000; // milliseconds between two warnings of one kind

const kinds = new Map<string, { last: number; suppressed: number }>();

/** Prints a warning, at most once a minute for each kind; the next one states how many were suppressed. Never throws. */
export function warn(kind: string, text: string): void {
  const now = performance.now();
  const seen = kinds.get(kind);
  if (seen && now - seen.last < PAUSE) {
    seen.suppressed++;
    return;
  }
  kinds.set(kind, { last: now, suppressed: 0 });
  try {
    console.warn(`attest: ${text}${seen?.suppressed ? ` (${seen.suppressed} similar warnings suppressed)` : ""}`);
  } catch {
    // A test suite may forbid warnings. That must not break the application's call.
  }
}

/** Returns the code or class of an error, because its message may quote a key, a password or content. */
export function kindOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === "string" && /^[A-Z0-9_]{1,64}$/.test(code) ? code : error.name.replace(/[^\w$.]/g, "").slice(0, 64) || "Error";
}

/** Returns the message of any thrown value, with the cause that `fetch` hides behind "fetch failed". For traces only, not for warnings. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === "string" ? error : "unknown error";
  const cause = error.cause;
  return cause instanceof Error ? `${error.message}: ${cause.message || (cause as NodeJS.ErrnoException).code}` : error.message;
}
