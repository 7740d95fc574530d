/**
 * The folder that keeps traces until they are confirmed, in the format of `clients/SPOOL.md`.
 *
 * Safety does not depend on knowing which processes are alive. A process adopts a file by renaming it, and an owner checks after each
 * append that its file still has its name. A wrong guess makes two processes send one trace, which is stored once.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { isObject, parse } from "./json.js";
import { isAbandoned, NAME, newName } from "./owners.js";
import { isOwn, isPrivate, openFile, openFolder } from "./private.js";
import { kindOf, warn } from "./warn.js";

const SEGMENT = 1024 * 1024; // bytes after which a new file is started
const FOLDER_LIMIT = 1024 * 1024 * 1024; // bytes of all files
const AGE_LIMIT = 30 * 24 * 60 * 60; // seconds
const REJECTED = "rejected.jsonl";
const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants;

/** An unconfirmed trace: one line of JSON without its line feed, and the file that holds it, if any. */
export interface Entry {
  readonly id: string;
  readonly line: Buffer;
  readonly segment?: Segment;
}

/** A spool file that this process owns. */
export class Segment {
  /** Lines that are neither confirmed nor rejected. */
  pending = 0;
  /** Lines that {@link Spool.unpark} has not read back yet. */
  parked = 0;
  size = 0;
  /** Whether no more lines will be added. */
  sealed = false;

  constructor(
    readonly path: string,
    readonly fd: number | undefined,
    /** The device and inode of the folder in which the file was created. */
    readonly folder: string,
  ) {}
}

export class Spool {
  /** Files that are being written, or whose lines have an {@link Entry} in memory. */
  private readonly segments = new Set<Segment>();
  /** Files whose lines have no {@link Entry} yet, oldest first. */
  private readonly parked: Segment[] = [];
  private current: Segment | undefined;
  private overflow: Segment | undefined;
  private folderSize = 0;
  private full = false;
  /** The device and inode of the folder. */
  private identity = "";
  /** Kept open, so that a new folder in the same place cannot reuse the inode. */
  private folderFd: number | undefined;
  /** Refused traces that could not be moved to `rejected.jsonl`, for example because the disk is full. */
  readonly unsent = new Set<Entry>();
  /** Files of this user that could not be read or adopted. */
  private readonly unread = new Set<string>();

  private constructor(
    readonly folder: string,
    private readonly lost: (count: number) => void,
  ) {}

  /** Opens or creates the folder. Throws if it cannot be written, or if others can change it. `lost` receives counts of lost traces. */
  static open(folder: string, lost: (count: number) => void): Spool {
    const spool = new Spool(folder, lost);
    spool.measure();
    fs.accessSync(folder, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    return spool;
  }

  /** Whether a trace is stuck in its file: the file cannot be read, or the trace was refused and cannot be moved. */
  get hasUnsent(): boolean {
    return this.unsent.size > 0 || [...this.unread].some((path) => fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined);
  }

  /** Returns whether a dead process has left a file since the last adoption. */
  hasAbandoned(): boolean {
    return this.measure().some(({ name, stat }) => isAbandoned(name, stat));
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
    segment.parked++;
    if (!this.parked.includes(segment)) this.parked.push(segment);
  }

  get hasParked(): boolean {
    return this.parked.length > 0;
  }

  /** Reads back the oldest parked file. */
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

  /** Appends a refused trace to `rejected.jsonl`. Throws if it cannot be written. */
  reject(line: Buffer): void {
    if (this.folderSize + line.length + 1 > FOLDER_LIMIT) throw new Full();
    this.prepare();
    const fd = openFile(this.rejectedPath, O_RDWR | O_CREAT | O_APPEND);
    try {
      const { size } = fs.fstatSync(fd);
      const last = Buffer.alloc(1);
      if (size > 0) fs.readSync(fd, last, 0, 1, size - 1);
      // A full disk may have cut off the last line.
      writeLine(fd, size > 0 && last[0] !== LF[0] ? Buffer.concat([LF, line]) : line);
    } finally {
      fs.closeSync(fd);
    }
    this.folderSize += line.length + 1;
  }

  /** Tries again to move refused traces to `rejected.jsonl`. */
  rejectAgain(): void {
    for (const entry of this.unsent) {
      try {
        this.reject(entry.line);
      } catch {
        return;
      }
      this.unsent.delete(entry);
      this.release(entry);
    }
  }

  get rejectedPath(): string {
    return join(this.folder, REJECTED);
  }

  /** Updates the heartbeat, which shows other processes that the owner of these files is alive. */
  beat(): void {
    const now = new Date();
    for (const segment of [...this.segments, ...this.parked]) {
      fs.lutimes(segment.path, now, now, (error) => {
        if (error?.code !== "ENOENT") return;
        // Another process adopted the file, or a cleaner deleted it. Entries in memory are sent anyway; the adopter sends parked lines.
        const place = this.parked.indexOf(segment);
        if (place >= 0) this.vanished(this.parked.splice(place, 1)[0]!);
      });
    }
  }

  /** Adopts the files of dead processes, oldest first, while `wanted` returns true. Returns whether any file is left. */
  adopt(wanted: () => boolean, take: (entries: Entry[]) => void): boolean {
    for (const { name, created, path, stat } of this.measure()) {
      if (!isAbandoned(name, stat)) continue;
      if (!wanted()) return true;
      // The name alone proves nothing: the clock may have been wrong when the file was created.
      if (Date.now() / 1000 - Math.max(created, stat.mtimeMs / 1000) > AGE_LIMIT) this.expire(path);
      else take(this.claim(created, path));
    }
    return false;
  }

  private claim(created: number, path: string): Entry[] {
    const segment = new Segment(join(this.folder, newName(created)), undefined, this.identity);
    try {
      fs.renameSync(path, segment.path);
      const now = new Date();
      fs.lutimesSync(segment.path, now, now);
    } catch (error) {
      this.unreadable(path, error); // ENOENT: another process was faster
      return [];
    }
    return this.load(segment);
  }

  /** Creates an entry for each line of a sealed file. */
  private load(segment: Segment): Entry[] {
    let lines: Buffer[];
    try {
      const bytes = read(segment.path);
      segment.size = bytes.length;
      lines = split(bytes);
    } catch (error) {
      this.segments.delete(segment);
      if ((error as NodeJS.ErrnoException).code === "ENOENT") this.vanished(segment);
      this.unreadable(segment.path, error);
      return [];
    }
    this.segments.add(segment);
    segment.sealed = true;
    segment.pending = 0;
    const last = lines.pop()!; // the bytes after the last line feed
    const entries: Entry[] = [];
    let unreadable = 0;
    for (const line of lines) {
      if (line.length === 0) continue;
      const id = quickIdOf(line) ?? idOf(line);
      if (id !== undefined) entries.push({ id, line, segment });
      else this.unsent.add({ id: `unreadable-${++unreadable}`, line, segment });
    }
    const id = idOf(last);
    if (id !== undefined) entries.push({ id, line: last, segment });
    segment.pending = entries.length + unreadable;
    if (segment.pending === 0) this.delete(segment);
    if (unreadable > 0) {
      this.rejectAgain();
      warn("unreadable", `a line of the spool is not a trace with an id; it belongs in ${this.rejectedPath}`);
    }
    return entries;
  }

  private unreadable(path: string, error: unknown): void {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    this.unread.add(path);
    warn("adopt", `${path} cannot be adopted: ${kindOf(error)}`);
  }

  /** Counts a vanished file's parked lines as lost, unless the folder still exists, because then another process adopted the file. */
  private vanished({ parked, folder }: Segment): void {
    if (parked === 0 || folder === this.identityNow()) return;
    this.lost(parked);
    warn("deleted", `traces lost: ${parked}, because ${this.folder} was deleted while they waited in it`);
  }

  /** Creates the folder if a cleaner has deleted it. Throws if others may change it. */
  private prepare(): void {
    if (this.identityNow() === this.identity) return;
    const [fd, before] = [openFolder(this.folder), this.folderFd];
    this.folderFd = fd;
    this.identity = identityOf(fs.fstatSync(fd));
    if (before !== undefined) fs.closeSync(before);
  }

  private identityNow(): string | undefined {
    const stat = fs.lstatSync(this.folder, { throwIfNoEntry: false });
    return stat && identityOf(stat);
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
      // A file with this name is this very file, because names are random.
      if (fs.existsSync(segment.path) || attempt === 2) return segment;
      this.seal(segment);
    }
  }

  private create(): Segment {
    this.prepare();
    const path = join(this.folder, newName(Math.floor(Date.now() / 1000)));
    const segment = new Segment(path, openFile(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND), this.identity);
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
      // ENOENT: another process adopted the file. It sends the traces again, and each is stored once.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") warn("delete", `${segment.path} cannot be deleted: ${kindOf(error)}`);
    }
  }

  private expire(path: string): void {
    try {
      const lines = split(read(path)).length - 1;
      fs.unlinkSync(path);
      this.lost(lines);
      warn("expired", `${lines} traces in ${path} were deleted: they are older than 30 days`);
    } catch (error) {
      this.unreadable(path, error);
    }
  }

  /** Lists the trace files, oldest first, and measures the size of the folder. */
  private measure(): { name: RegExpExecArray; created: number; path: string; stat: fs.Stats }[] {
    this.prepare();
    const files = [];
    let size = 0;
    for (const file of fs.readdirSync(this.folder)) {
      const path = join(this.folder, file);
      const stat = fs.lstatSync(path, { throwIfNoEntry: false });
      if (!stat) continue;
      size += stat.size;
      const name = NAME.exec(file);
      if (!name) continue;
      if (isPrivate(stat)) {
        if (name[5] === "jsonl") files.push({ name, created: Number(name[1]), path, stat });
        else if (isAbandoned(name, stat)) fs.rmSync(path, { force: true }); // its process died before it replaced a held trace
        continue;
      }
      if (stat.isFile() && isOwn(stat)) this.unread.add(path);
      warn("foreign", `${path} is left alone: it is not a file that only this user can write`);
    }
    this.folderSize = size;
    return files.sort((one, other) => one.created - other.created);
  }
}

class Full extends Error {
  override readonly message = "the spool is full";
}

const LF = Buffer.from("\n");

function identityOf({ dev, ino }: fs.Stats): string {
  return `${dev}:${ino}`;
}

function read(path: string): Buffer {
  const fd = openFile(path, O_RDONLY);
  try {
    return fs.readFileSync(fd);
  } finally {
    fs.closeSync(fd);
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
