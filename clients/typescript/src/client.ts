/** Masks each trace, writes it to the spool, and passes it to the sender. */

import { randomUUID } from "node:crypto";
import { isObject, type Json, type JsonObject, print } from "./json.js";
import { Sender } from "./sender.js";
import { NotPrivate } from "./private.js";
import { isLoopback, type Settings } from "./settings.js";
import { type Entry, Spool } from "./spool.js";
import { toJson } from "./values.js";
import { kindOf, warn } from "./warn.js";

const TRACE = 4 * 1024 * 1024; // largest trace, in bytes
const QUEUE = { traces: 1_000, bytes: 32 * 1024 * 1024 }; // the largest queue in memory
const BEAT = 10_000; // milliseconds between heartbeats
const ADOPT = 30_000; // milliseconds between searches for abandoned files
const END = 10_000; // milliseconds that an ending process waits for the endpoint

/** A message of a trace. docs/mapping.md specifies its other members. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
  [member: string]: any;
}

/** A trace that the endpoint accepts. */
export interface Trace {
  id: string;
  model: string;
  messages: Message[];
  [member: string]: any;
}

/** Changes a trace before it is written anywhere. The returned trace is logged. */
export type Mask = (trace: Trace) => unknown;

/** Counts the traces of this process by outcome. */
export interface Counters {
  /** Traces that the application passed to the client. */
  logged: number;
  /** Traces that the endpoint confirmed, including adopted ones. */
  stored: number;
  /** Traces that the endpoint refused, or that are too large; they are in `rejected.jsonl`. */
  rejected: number;
  /** Traces that were not logged because `mask` failed. */
  unmasked: number;
  /** Traces that were lost, for example because neither spool nor memory had room. */
  lost: number;
  /** Responses of which only the first 64 MiB are logged. */
  truncated: number;
  /** Responses that are logged as they arrived, because they are not JSON objects. */
  unparsed: number;
  /** Streams with a part that has no place in the response. */
  unmerged: number;
}

export const NO_COUNTS: Counters = { logged: 0, stored: 0, rejected: 0, unmasked: 0, lost: 0, truncated: 0, unparsed: 0, unmerged: 0 };

export class Client {
  readonly counters: Counters = { ...NO_COUNTS };
  private spool: Spool | undefined;
  private readonly sender: Sender;
  private moreToAdopt = true;
  private adopting = false;
  /** Whether the folder could be read at the last search. */
  private isReadable = true;
  /** The count of lost traces at the last {@link flush}, which has reported them. */
  private reported = 0;
  /** Whether a final flush has failed and nothing was logged since. */
  private ended = false;

  constructor({ url, apiKey, spool }: Settings) {
    this.sender = new Sender(url, apiKey, {
      confirmed: (entry) => {
        this.counters.stored++;
        this.spool?.release(entry);
      },
      refused: (entry, problem) => {
        // A trace that could not be moved stays in its file for the next process.
        if (this.reject(entry, problem)) this.spool?.release(entry);
      },
      // Not after every trace, because each search for files reads the whole folder.
      room: () => this.sender.waiting <= QUEUE.traces / 4 && this.refill(),
    });
    const target = new URL(url);
    if (target.protocol === "http:" && !isLoopback(target.hostname)) {
      warn("insecure", "ATTEST_URL has http, so the key and the traces are sent without encryption");
    }
    this.openSpool(spool);
    this.watch();
  }

  /** Logs a trace. The trace is in the spool once this returns. Never throws. */
  log(content: () => JsonObject | undefined, mask?: Mask): void {
    try {
      const made = content();
      if (!made) return; // a failed call without the option `failures`
      const whole = { id: randomUUID(), ...made };
      const trace = mask ? this.masked(whole, mask) : whole;
      const id = typeof trace.id === "string" && trace.id ? trace.id : whole.id;
      const line = Buffer.from(print(trace.id === id ? trace : { ...trace, id }));
      this.counters.logged++;
      if (line.length > TRACE) this.reject({ id, line }, `it has ${line.length} bytes, more than ${TRACE}`);
      else this.keep(id, line);
    } catch (error) {
      if (error instanceof MaskFailed) {
        this.counters.unmasked++;
        // The error's message may quote the trace.
        warn("mask", `a trace was not logged because mask failed (${error.kind})`);
        return;
      }
      this.counters.lost++;
      warn("lost", `a trace was not logged: ${error instanceof QueueFull ? error.message : kindOf(error)}`);
    }
  }

  /** Sends all pending traces, including adopted and parked ones. Returns whether all were confirmed or rejected in time. */
  async flush(milliseconds: number): Promise<boolean> {
    const end = performance.now() + milliseconds;
    this.moreToAdopt = true;
    this.spool?.rejectAgain();
    do {
      this.refill();
      if (!(await this.sender.drain(Math.max(0, end - performance.now())))) return false;
      if (this.isLeft()) this.moreToAdopt = true; // another process has died in the meantime
    } while ((this.spool?.hasParked || this.moreToAdopt) && performance.now() < end && !this.spool?.hasUnsent);
    const before = this.reported;
    this.reported = this.counters.lost;
    return this.isReadable && !this.moreToAdopt && !this.spool?.hasParked && !this.spool?.hasUnsent && this.reported === before;
  }

  /** Returns whether dead processes have left files in the spool. */
  private isLeft(): boolean {
    try {
      return this.spool?.hasAbandoned() ?? false;
    } catch {
      this.isReadable = false;
      return false;
    }
  }

  private openSpool(folder: () => string): void {
    const consequence = "traces are sent from memory and do not survive the end of the process";
    let path: string;
    try {
      path = folder();
    } catch {
      return warn("spool", `there is no home folder for a spool, so ${consequence}: set ATTEST_SPOOL`);
    }
    try {
      this.spool = Spool.open(path, (count) => (this.counters.lost += count));
    } catch (error) {
      const problem = error instanceof NotPrivate ? error.message : kindOf(error);
      warn("spool", `the spool ${path} cannot be written, so ${consequence}: ${problem}`);
    }
  }

  private masked(trace: JsonObject, mask: Mask): JsonObject {
    let json: Json;
    try {
      json = toJson(mask(trace as Trace));
    } catch (error) {
      throw new MaskFailed(error instanceof Error ? error.name : typeof error);
    }
    if (!isObject(json)) throw new MaskFailed("it did not return an object");
    return json;
  }

  private keep(id: string, line: Buffer): void {
    this.ended = false;
    const isFull = this.sender.waiting >= QUEUE.traces || this.sender.waitingBytes >= QUEUE.bytes;
    if (this.spool) {
      try {
        if (isFull) return this.spool.park(line);
        return this.sender.add(this.spool.append(id, line));
      } catch (error) {
        warn("spool", `a trace could not be written to the spool and is sent from memory: ${kindOf(error)}`);
      }
    }
    if (isFull) throw new QueueFull(`${this.sender.waiting} traces wait in memory`);
    this.sender.add({ id, line });
  }

  /** Moves a trace to `rejected.jsonl`. Returns whether this succeeded. */
  private reject(entry: Entry, problem: string): boolean {
    const { line, segment } = entry;
    const id = entry.id.replace(/[^\x21-\x7e]/g, "?").slice(0, 64);
    this.counters.rejected++;
    try {
      if (!this.spool) throw new Error("there is no spool");
      this.spool.reject(line);
      warn(`rejected ${problem.slice(0, 10)}`, `trace ${id} was rejected and is in ${this.spool.rejectedPath}: ${problem}`);
      return true;
    } catch (error) {
      if (segment) this.spool?.unsent.add(entry);
      else this.counters.lost++;
      warn("unrejected", `trace ${id} was rejected and ${segment ? "stays in the spool" : "is lost"} (${kindOf(error)}): ${problem}`);
      return false;
    }
  }

  /** Queues parked traces, then those of dead processes, while the queue has room. */
  private refill(): void {
    if (!this.spool) this.moreToAdopt = false;
    if (!this.spool || this.adopting) return;
    const hasRoom = () => this.sender.waiting < QUEUE.traces / 2 && this.sender.waitingBytes < QUEUE.bytes / 2;
    const take = (entries: Entry[]) => entries.forEach((entry) => this.sender.add(entry));
    this.adopting = true;
    this.isReadable = true;
    try {
      while (this.spool.hasParked && hasRoom()) take(this.spool.unpark());
      if (this.moreToAdopt && hasRoom()) this.moreToAdopt = this.spool.adopt(hasRoom, take);
    } catch (error) {
      this.moreToAdopt = this.isReadable = false; // until the next search
      warn("adopt", `the spool ${this.spool.folder} cannot be read: ${kindOf(error)}`);
    } finally {
      this.adopting = false;
    }
  }

  private watch(): void {
    const adopt = () => {
      this.moreToAdopt = true;
      this.spool?.rejectAgain();
      this.refill();
    };
    if (this.spool) {
      setImmediate(adopt);
      setInterval(adopt, ADOPT).unref();
      setInterval(() => this.spool?.beat(), BEAT).unref();
    }
    // A process that ends by itself waits. process.exit() and signals do not wait, and leave the rest to the next process.
    process.on("beforeExit", async () => {
      if (this.ended || this.sender.waiting === 0 || (await this.flush(END))) return;
      this.ended = true;
      this.sender.pause();
    });
    process.on("exit", () => {
      if (!this.spool && this.sender.waiting > 0) {
        this.counters.lost += this.sender.waiting;
        warn("exit", `traces lost: ${this.sender.waiting}, which were in memory when the process ended`);
      }
    });
  }
}

class QueueFull extends Error {}

class MaskFailed extends Error {
  constructor(readonly kind: string) {
    super("mask failed");
  }
}
