/** Ownership of spool files, as `clients/SPOOL.md` specifies it. */

import { randomBytes } from "node:crypto";
import { readFileSync, type Stats } from "node:fs";
import { hostname } from "node:os";

const STALE = 60_000; // milliseconds without a heartbeat
const HOST = hostname().replace(/[^A-Za-z0-9-]/g, "_").slice(0, 64) || "_";
const START = startOf(process.pid) ?? "0";

export const NAME = /^(\d+)\.([A-Za-z0-9_-]{1,64})\.(\d+)\.(\d+)\.[0-9a-f]{16}\.(jsonl|tmp)$/;

/** Returns the name of a new file of this process. */
export function newName(created: number): string {
  return `${created}.${HOST}.${process.pid}.${START}.${randomBytes(8).toString("hex")}.jsonl`;
}

/** Returns whether the owner of a file has ended, or its heartbeat has stopped. */
export function isAbandoned([, , host, pid, start]: RegExpExecArray, stat: Stats): boolean {
  if (Math.abs(Date.now() - stat.mtimeMs) > STALE) return true; // a time in the future is not a heartbeat: the clock was wrong
  return host === HOST && !isAlive(Number(pid), start!);
}

function isAlive(pid: number, start: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const actual = startOf(pid);
  return actual === undefined || actual === start || (start === "0" && actual !== "ended");
}

/**
 * Returns the start time of a process in clock ticks since boot (proc(5), field 22), or `undefined` without `/proc`.
 * Returns "ended" for a process that its parent has not waited for yet.
 */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from field 3 on: the name before it may contain spaces
    return fields[0] === "Z" || fields[0] === "X" ? "ended" : fields[19];
  } catch {
    return undefined;
  }
}
