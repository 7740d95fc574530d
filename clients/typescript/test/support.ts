/** The local endpoint, provider stand-ins, and processes that use the package. */

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, constants, existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

export type Json = Record<string, any>;

const ATTEST = process.env.ATTEST ?? "";
const ROOT = fileURLToPath(new URL("..", import.meta.url)); // programs resolve the package from here

/** The command `attest serve` with its own folder, on a free port that is kept across restarts. */
export class Endpoint {
  readonly home = mkdtempSync(join(tmpdir(), "attest-client-"));
  readonly spool = join(this.home, "spool");
  url = "";
  private port = "0";
  private process?: ChildProcess;

  async start(): Promise<this> {
    assert.ok(ATTEST, "ATTEST must name the command");
    const ready = join(this.home, "ready");
    rmSync(ready, { force: true });
    execFileSync("mkfifo", [ready]);
    const options = ["serve", "--port", this.port, "--s3-port", "0", "--folder", join(this.home, "traces"), "--ready-file", ready];
    this.process = spawn(ATTEST, options, { env: { ...process.env, ATTEST_API_KEY: "key" }, stdio: "ignore" });
    // If the process ends before it is ready, the reader must not wait forever.
    this.process.once("exit", () => existsSync(ready) && closeSync(openSync(ready, constants.O_RDWR | constants.O_NONBLOCK)));
    const text = await readFile(ready, "utf8");
    assert.ok(text, "the endpoint did not start");
    this.url = JSON.parse(text).url;
    this.port = new URL(this.url).port;
    return this;
  }

  async kill(): Promise<void> {
    await ended(this.process!, () => this.process!.kill("SIGKILL"));
  }

  get environment(): Json {
    return { ATTEST_URL: this.url, ATTEST_API_KEY: "key", ATTEST_SPOOL: this.spool };
  }

  /** Returns the stored traces, ordered by `created`. */
  traces(): Json[] {
    return this.texts().map((text) => JSON.parse(text)).sort((one, other) => one.created - other.created);
  }

  texts(): string[] {
    const files = readdirSync(this.home, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
    const stored = files.filter((file) => /traces\/[^~]/.test(`${file.parentPath}/`) && !file.name.startsWith("~"));
    return stored.map((file) => readFileSync(join(file.parentPath, file.name), "utf8"));
  }

  /** The file names in the spool folder. */
  get spooled(): string[] {
    return existsSync(this.spool) ? readdirSync(this.spool) : [];
  }

  /** The traces in the spool, except rejected ones. */
  get waiting(): Json[] {
    return this.spooled.filter((name) => name !== "rejected.jsonl").flatMap((name) => lines(join(this.spool, name)));
  }

  get rejected(): Json[] {
    return lines(join(this.spool, "rejected.jsonl"));
  }

  async import(...files: string[]): Promise<void> {
    const env = { ...process.env, ATTEST_API_KEY: "key" };
    const command = spawn(ATTEST, ["import", ...files, "--url", this.url, "--quiet"], { env, stdio: "ignore" });
    assert.equal(await ended(command), 0);
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

export async function endpoint(): Promise<Endpoint> {
  const endpoint = await new Endpoint().start();
  after(async () => {
    await endpoint.kill();
    endpoint.remove();
  });
  return endpoint;
}

export function lines(file: string): Json[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** Starts an HTTP server and returns its address. */
export async function listen(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Starts an HTTP server that responds with the result of `respond` for a request. */
export function serve(respond: (body: Json, request: IncomingMessage) => [status: number, headers: Json, body: string | Buffer]): Promise<string> {
  return listen(async (request, response) => {
    answer(response, respond(JSON.parse((await text(request)) || "{}"), request));
  });
}

export function answer(response: ServerResponse, [status, headers, body]: [number, Json, string | Buffer]): void {
  response.writeHead(status, headers).end(body);
}

/** Returns the endpoint's response to a stored trace. */
export function stored({ id }: Json): [number, Json, string] {
  const answer = { id, object: "chat.trace", system_fingerprint: "m", key: `m/${encodeURIComponent(id)}` };
  return [201, { "content-type": "application/json" }, JSON.stringify(answer)];
}

/** Formats server-sent events as OpenAI does (data only), or as Anthropic does (`named`). */
export function events(data: (Json | string)[], named = false): string {
  const text = (event: Json | string) => (typeof event === "string" ? event : JSON.stringify(event));
  return data.map((event) => `${named ? `event: ${(event as Json).type}\n` : ""}data: ${text(event)}\n\n`).join("");
}

/** A process that runs a program as a module. `output` contains each line that it prints. */
export class Program {
  readonly process: ChildProcess;
  readonly output: string[] = [];
  errors = "";
  private readonly waiting: (() => void)[] = [];

  constructor(source: string, env: Json, options: string[] = []) {
    const arguments_ = [...options, "--input-type=module", "--eval", source];
    const environment = Object.fromEntries(Object.entries({ ...process.env, ...env }).filter(([, value]) => value !== undefined));
    this.process = spawn(process.execPath, arguments_, { cwd: ROOT, env: environment, stdio: ["pipe", "pipe", "pipe"] });
    this.process.stdin!.on("error", () => {}); // the process may be gone
    this.process.stderr!.setEncoding("utf8").on("data", (text) => (this.errors += text));
    createInterface(this.process.stdout!).on("line", (line) => {
      this.output.push(line);
      this.waiting.splice(0).forEach((resolve) => resolve());
    });
    this.process.on("close", () => this.waiting.splice(0).forEach((resolve) => resolve()));
  }

  /** Waits until the process has printed the line. */
  async printed(line: string): Promise<void> {
    while (!this.output.includes(line)) {
      assert.equal(this.process.exitCode ?? this.process.signalCode, null, `${line} was not printed\n${this.errors}`);
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  /** Writes a line to the standard input of the process. */
  tell(line: string): void {
    this.process.stdin!.write(`${line}\n`);
  }

  /** Waits for the process to exit, and returns its status. */
  async end(): Promise<number | null> {
    return await ended(this.process);
  }

  async kill(): Promise<void> {
    await ended(this.process, () => this.process.kill("SIGKILL"));
  }
}

/** Runs a program to completion. */
export async function run(source: string, env: Json, options: string[] = []): Promise<Program> {
  const program = new Program(source, env, options);
  program.process.stdin!.end();
  assert.equal(await program.end(), 0, program.errors);
  return program;
}

/** Runs `act`, which may end the process, and waits for the process to exit. Returns its status. */
async function ended(process: ChildProcess, act = () => {}): Promise<number | null> {
  if (process.exitCode !== null || process.signalCode !== null) return process.exitCode;
  const end = new Promise<number | null>((resolve) => process.once("close", resolve));
  act();
  return await end;
}

/** Waits until a condition is true. Only the test's timeout limits it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Creates a folder that is removed after the tests. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "attest-client-"));
  mkdirSync(path, { recursive: true });
  after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
