/**
 * Counts the calls that SIGKILL loses: processes call a model through OpenAI's SDK, and are killed at random times.
 *
 *     ATTEST=../../target/debug/attest ROUNDS=200 node bench/kills.mjs
 *
 * Half of the calls are streams. A call counts once it has returned, or its stream has ended. Every call that counts must be stored, and
 * none twice.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { json } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { startEndpoint, storedTraces } from "./endpoint.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 200);
const LONGEST = 400; // the latest kill, in milliseconds after a process's first call
const SLOTS = 2; // processes at the same time
const HERE = fileURLToPath(new URL(".", import.meta.url)); // programs resolve the packages from here

const CALLS = `
  import { writeSync } from "node:fs";
  import { loggedFetch } from "attest-client";
  import OpenAI from "openai";
  const client = new OpenAI({ baseURL: process.env.PROVIDER, apiKey: "x", fetch: loggedFetch() });
  const messages = [{ role: "user", content: "Hi" }];
  for (let number = 1; ; number++) {
    const user = process.env.NAME + "-" + number;
    const answer = await client.chat.completions.create({ model: "gpt-4o", messages, user, ...(number % 2 ? { stream: true } : {}) });
    if (number % 2) for await (const _ of answer);
    writeSync(1, user + "\\n");
  }`;
const FLUSH = `import { flush } from "attest-client"; process.exit((await flush({ timeout: 120_000 })) ? 0 : 1);`;

function start(program, env) {
  return spawn(process.execPath, ["--input-type=module", "--eval", program], { cwd: HERE, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
}

function ended(child) {
  return new Promise((resolve) => child.on("close", (code, signal) => resolve(signal ?? code)));
}

const choice = { index: 0, finish_reason: "stop" };
const answer = { id: "c", object: "chat.completion", created: 1, model: "gpt-4o", choices: [{ ...choice, message: { role: "assistant", content: "Hello." } }] };
const chunk = { ...answer, object: "chat.completion.chunk", choices: [{ ...choice, delta: { role: "assistant", content: "Hello." } }] };
const provider = createServer(async (request, response) => {
  const { stream } = await json(request);
  response.setHeader("content-type", stream ? "text/event-stream" : "application/json");
  response.end(stream ? `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n` : JSON.stringify(answer));
});
await new Promise((resolve) => provider.listen(0, "127.0.0.1", resolve));

const folder = mkdtempSync(join(tmpdir(), "kills-"));
const endpoint = await startEndpoint(join(folder, "traces"));
const spool = join(folder, "spool");
const env = { ATTEST_URL: endpoint.url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool, PROVIDER: `http://127.0.0.1:${provider.address().port}` };
const returned = [];
let round = 0;

async function slot() {
  while (round < ROUNDS) {
    const child = start(CALLS, { ...env, NAME: `r${++round}` });
    const end = ended(child);
    createInterface(child.stdout).on("line", (line) => returned.push(line)).once("line", () => {
      setTimeout(() => child.kill("SIGKILL"), Math.random() * LONGEST);
    });
    const how = await end;
    if (how !== "SIGKILL") throw new Error(`a process ended by itself: ${how}`);
  }
}

await Promise.all(Array.from({ length: SLOTS }, slot));
const flushed = await ended(start(FLUSH, env));
const stored = storedTraces(join(folder, "traces")).map((trace) => trace.request.user);
const found = new Set(stored);
const lost = returned.filter((user) => !found.has(user)).length;
const left = readdirSync(spool).length;
console.log(`${ROUNDS} kills, ${returned.length} calls returned, ${lost} lost; ${stored.length} stored, ${left} files in the spool`);
endpoint.child.kill();
process.exit(flushed === 0 && lost === 0 && left === 0 && found.size === stored.length ? 0 : 1);
