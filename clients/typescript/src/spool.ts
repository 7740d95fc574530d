/**
 * The folder that keeps traces until they are confirmed, in the format of `clients/SPOOL.md`.
 *
 * Safety does not depend on knowing which processes are alive. A process adopts a file by renaming it, and an owner checks after each
 * append that its file still has its name. A wrong guess makes two processes send one trace, which is stored once.
 */

import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { isObject, parse } from "./json.js";
import { reason, warn } from "./warn.js";

const SEGMENT = 1024 * 1024; // bytes after which a new file is started
const FOLDER_LIMIT = 1024 * 1024 * 1024; // bytes of all files
const AGE_LIMIT = 30 * 24 * 60 * 60; // seconds since CREATED
const STALE = 60_000; // milliseconds without a heartbeat
const REJECTED = "rejected.jsonl";
const NAME = /^(\d+)\.([A-Za-z0-9_-]{1,64})\.(\d+)\.(\d+)\.[0-9a-f]{16}\.jsonl$/;
const HOST = hostname().replace(/[^A-Za-z0-9-]/g, "_").slice(0, 64) || "_";

/** An unconfirmed trace: one line of JSON without its line feed, and the file that holds it, if any. */
export interface Entry {
  readonly id: string;
  readonly line: Buffer;
  readonly segment?: Segment;
}

/** One file of the spool that this process owns. */
export class Segment {
  /** Lines that are neither confirmed nor rejected. */
  pending = 0;
  size = 0;
  /** Whether no more lines will be added. */
  sealed = false;

  constructor(
    readonly path: string,
    readonly fd: number | undefined,
  ) {}
}

export class Spool {
  /** Files that are being written, or have lines with an {@link Entry}. */
  private readonly segments = new Set<Segment>();
  /** Files whose lines do not have an {@link Entry} yet, oldest first. */
  private readonly parked: Segment[] = [];
  private current: Segment | undefined;
  private overflow: Segment | undefined;
  private folderSize = 0;
  private full = false;

  private constructor(readonly folder: string) {}

  /** Opens the folder and creates it if necessary. Throws if it cannot be written. */
  static open(folder: string): Spool {
    makeFolder(folder);
    fs.accessSync(folder, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    const spool = new Spool(folder);
    spool.measure();
    return spool;
  }

  /** Appends a trace. Once this returns, the trace survives the end of this process. Throws if the trace cannot be written. */
  append(id: string, line: Buffer): Entry {
    const segment = this.write(line, this.current, (opened) => (this.current = opened));
    segment.pending++;
    return { id, line, segment };
  }

  /** Appends a trace that {@link unpark} reads back, so that a long queue uses disk space instead of memory. */
  park(line: Buffer): void {
    const segment = this.write(line, this.overflow, (opened) => (this.overflow = opened));
    if (!this.parked.includes(segment)) this.parked.push(segment);
  }

  get hasParked(): boolean {
    return this.parked.length > 0;
  }

  /** Reads the oldest parked file back. */
  unpark(): Entry[] {
    const segment = this.parked.shift();
    if (!segment) return [];
    if (segment === this.overflow) this.overflow = undefined;
    this.seal(segment);
    return this.load(segment);
  }

  /** Marks a trace as confirmed or rejected, and deletes its file after the last one. */
  release({ segment }: Entry): void {
    if (!segment || --segment.pending > 0) return;
    if (segment === this.current) this.current = undefined;
    this.seal(segment);
    this.delete(segment);
  }

  /** Writes a trace that the endpoint refuses to the file of rejected traces. Throws if it cannot be written. */
  reject(line: Buffer): void {
    const fd = fs.openSync(join(this.folder, REJECTED), "a", 0o600);
    try {
      writeLine(fd, line);
    } finally {
      fs.closeSync(fd);
    }
  }

  get rejectedPath(): string {
    return join(this.folder, REJECTED);
  }

  /** Updates the heartbeat, which shows other processes that the owner of these files is alive. */
  beat(): void {
    const now = new Date();
    for (const segment of [...this.segments, ...this.parked]) {
      fs.utimes(segment.path, now, now, (error) => {
        if (error?.code !== "ENOENT") return;
        // Another process adopted the file. Entries in memory are sent anyway; the adopter sends parked lines.
        const place = this.parked.indexOf(segment);
        if (place >= 0) this.parked.splice(place, 1);
      });
    }
  }

  /** Adopts the files of dead processes, oldest first, while `wanted` returns true. Returns whether any file is left. */
  adopt(wanted: () => boolean, take: (entries: Entry[]) => void): boolean {
    for (const { name, created, path, stat } of this.measure()) {
      if (!isAbandoned(name, stat)) continue;
      if (!wanted()) return true;
      if (Date.now() / 1000 - created > AGE_LIMIT) this.expire(path);
      else take(this.claim(created, path));
    }
    return false;
  }

  private claim(created: number, path: string): Entry[] {
    const segment = new Segment(join(this.folder, newName(created)), undefined);
    try {
      fs.renameSync(path, segment.path);
      const now = new Date();
      fs.utimesSync(segment.path, now, now);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") warn("adopt", `${path} cannot be adopted: ${reason(error)}`);
      return []; // another process was faster
    }
    return this.load(segment);
  }

  /** Creates an entry for each line of a sealed file. */
  private load(segment: Segment): Entry[] {
    let lines: Buffer[];
    try {
      const bytes = fs.readFileSync(segment.path);
      segment.size = bytes.length;
      lines = split(bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") warn("adopt", `${segment.path} cannot be read: ${reason(error)}`);
      this.segments.delete(segment);
      return [];
    }
    this.segments.add(segment);
    segment.sealed = true;
    segment.pending = 0;
    const last = lines.pop()!; // the bytes after the last line feed
    const entries: Entry[] = [];
    for (const line of lines) {
      if (line.length === 0) continue;
      const id = quickIdOf(line) ?? idOf(line);
      if (id === undefined) this.rejectUnreadable(line);
      else entries.push({ id, line, segment });
    }
    const id = idOf(last);
    if (id !== undefined) entries.push({ id, line: last, segment });
    segment.pending = entries.length;
    if (entries.length === 0) this.delete(segment);
    return entries;
  }

  private rejectUnreadable(line: Buffer): void {
    try {
      this.reject(line);
      warn("unreadable", `a line of the spool is not a trace with an id; it was moved to ${this.rejectedPath}`);
    } catch (error) {
      warn("unreadable", `a line of the spool is not a trace with an id, and ${this.rejectedPath} cannot be written: ${reason(error)}`);
    }
  }

  private write(line: Buffer, segment: Segment | undefined, opened: (segment: Segment) => void): Segment {
    const size = line.length + LF.length;
    if (this.folderSize + size > FOLDER_LIMIT) {
      if (!this.full) warn("full", `the spool ${this.folder} has reached ${FOLDER_LIMIT} bytes; traces are sent from memory`);
      this.full = true;
      throw new Full();
    }
    this.full = false;
    // The new file cannot be adopted between its creation and the check, because it is too young.
    for (let attempt = 0; ; attempt++) {
      if (!segment || segment.sealed || segment.size + size > SEGMENT) {
        if (segment) this.seal(segment);
        segment = this.create();
        opened(segment);
      }
      try {
        writeLine(segment.fd!, line);
      } catch (error) {
        this.seal(segment); // a partial line must be the last one of its file
        if (segment.pending === 0 && segment.size === 0) this.delete(segment);
        throw error;
      }
      segment.size += size;
      this.folderSize += size;
      // A file with this name is this one, because its name is random.
      if (fs.existsSync(segment.path) || attempt === 2) return segment;
      this.seal(segment);
    }
  }

  private create(): Segment {
    const path = join(this.folder, newName(Math.floor(Date.now() / 1000)));
    const segment = new Segment(path, fs.openSync(path, "ax", 0o600));
    this.segments.add(segment);
    return segment;
  }

  private seal(segment: Segment): void {
    if (segment.sealed) return;
    segment.sealed = true;
    if (segment.fd !== undefined) fs.closeSync(segment.fd);
  }

  private delete(segment: Segment): void {
    this.segments.delete(segment);
    this.folderSize -= segment.size;
    try {
      fs.unlinkSync(segment.path);
    } catch (error) {
      // ENOENT: another process adopted the file, and finds its traces stored.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") warn("delete", `${segment.path} cannot be deleted: ${reason(error)}`);
    }
  }

  private expire(path: string): void {
    try {
      const lines = split(fs.readFileSync(path)).length - 1;
      fs.unlinkSync(path);
      warn("expired", `${lines} traces in ${path} were deleted: they are older than 30 days`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") warn("expired", `${path} cannot be deleted: ${reason(error)}`);
    }
  }

  /** Lists the files that hold traces, oldest first, and adds up the size of the folder. */
  private measure(): { name: RegExpExecArray; created: number; path: string; stat: fs.Stats }[] {
    const files = [];
    let size = 0;
    for (const file of fs.readdirSync(this.folder)) {
      const path = join(this.folder, file);
      const stat = fs.statSync(path, { throwIfNoEntry: false });
      if (!stat?.isFile()) continue;
      size += stat.size;
      const name = NAME.exec(file);
      if (name) files.push({ name, created: Number(name[1]), path, stat });
    }
    this.folderSize = size;
    return files.sort((one, other) => one.created - other.created);
  }
}

const START = startOf(process.pid) ?? "0";

/** The folder is at its size limit. */
class Full extends Error {
  override readonly message = "the spool is full";
}

const LF = Buffer.from("\n");

function newName(created: number): string {
  return `${created}.${HOST}.${process.pid}.${START}.${randomBytes(8).toString("hex")}.jsonl`;
}

function isAbandoned([, , host, pid, start]: RegExpExecArray, stat: fs.Stats): boolean {
  if (Date.now() - stat.mtimeMs > STALE) return true;
  return host === HOST && !isAlive(Number(pid), start!);
}

function isAlive(pid: number, start: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const actual = startOf(pid);
  return start === "0" || actual === undefined || actual === start;
}

/**
 * Returns the start time of a process in clock ticks since boot (proc(5), field 22), or `undefined` without `/proc`.
 * Returns "ended" for a process that its parent has not waited for yet.
 */
function startOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from field 3 on: the name before it may contain spaces
    return fields[0] === "Z" || fields[0] === "X" ? "ended" : fields[19];
  } catch {
    return undefined;
  }
}

/** Creates a folder and its parents. Node's `recursive` option loops forever on a file system that returns ENOENT, such as `/proc`. */
function makeFolder(path: string): void {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && fs.statSync(path).isDirectory()) return;
    const parent = dirname(path);
    if (code !== "ENOENT" || parent === path || fs.existsSync(parent)) throw error;
    makeFolder(parent);
    fs.mkdirSync(path, { mode: 0o700 });
  }
}

/** Appends a line and its line feed with one system call, unless the disk takes only a part of them. */
function writeLine(fd: number, line: Buffer): void {
  let written = fs.writevSync(fd, [line, LF]);
  if (written === line.length + LF.length) return;
  for (const bytes = Buffer.concat([line, LF]); written < bytes.length; ) written += fs.writeSync(fd, bytes, written);
}

function split(bytes: Buffer): Buffer[] {
  const lines = [];
  let start = 0;
  for (let end; (end = bytes.indexOf(10, start)) >= 0; start = end + 1) lines.push(bytes.subarray(start, end));
  return [...lines, bytes.subarray(start)];
}

/** Finds the id at the start of a complete line, where both clients write it. Parsing a long backlog would block the application. */
function quickIdOf(line: Buffer): string | undefined {
  if (line.at(-1) !== 0x7d) return undefined; // a closing brace
  return /^\{"id":"([0-9a-f-]{36})",/.exec(line.toString("latin1", 0, 64))?.[1];
}

function idOf(line: Buffer): string | undefined {
  try {
    const trace = parse(line.toString());
    return isObject(trace) && typeof trace.id === "string" && trace.id !== "" ? trace.id : undefined;
  } catch {
    return undefined;
  }
}
