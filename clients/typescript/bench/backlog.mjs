/**
 * Measures how long `flush` takes for the traces of dead processes.
 *
 *     [PYTHON=…] node bench/backlog.mjs [TRACES [FILES [LATENCY]]]
 *
 * By default, there are 10,000 traces of 1 KB in 100 files. The endpoint is a stand-in in another process, and responds after LATENCY
 * milliseconds (30). PYTHON is an interpreter with the Python client, which is then measured too.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const [TRACES = 10_000, FILES = 100, LATENCY = 30] = process.argv.slice(2).map(Number);
const HERE = fileURLToPath(new URL(".", import.meta.url)); // programs resolve the package from here

const ENDPOINT = `
  const server = require("node:http").createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk)).on("end", () => setTimeout(() => {
      const { id } = JSON.parse(Buffer.concat(chunks));
      response.writeHead(201, { "content-type": "application/json" });
      response.end(JSON.stringify({ id, object: "chat.trace", system_fingerprint: "m", key: "m/" + id }));
    }, ${LATENCY}));
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));`;
const FLUSHES = {
  "Node.js": [process.execPath, "--input-type=module", "--eval", `
    import { counters, flush } from "attest-client";
    const start = performance.now();
    const isWhole = await flush({ timeout: 120_000 });
    const { user, system } = process.cpuUsage();
    const seconds = [(performance.now() - start) / 1e3, (user + system) / 1e6].map((value) => value.toFixed(1));
    console.log(isWhole, counters().stored, seconds[0] + " s, of which " + seconds[1] + " s of CPU");
    process.exit();`],
  Python: [process.env.PYTHON, "-c", `
import time, attest_client
start = time.monotonic()
is_whole = attest_client.flush(120)
print(str(is_whole).lower(), attest_client.counters()["stored"], f"{time.monotonic() - start:.1f} s, of which {time.process_time():.1f} s of CPU")`],
};

async function firstLine(child) {
  for await (const line of createInterface(child.stdout)) return line;
}

const endpoint = spawn(process.execPath, ["--eval", ENDPOINT], { stdio: ["ignore", "pipe", "inherit"] });
const url = `http://127.0.0.1:${await firstLine(endpoint)}/`;
const content = "x".repeat(900);
for (const [name, [command, ...options]] of Object.entries(FLUSHES)) {
  if (!command) continue;
  const spool = mkdtempSync(join(tmpdir(), "backlog-"));
  const now = Math.floor(Date.now() / 1_000);
  for (let file = 0; file < FILES; file++) {
    const ids = Array.from({ length: Math.ceil(TRACES / FILES) }, (_, place) => `${String(file).padStart(8, "0")}-0000-4000-8000-${String(place).padStart(12, "0")}`);
    const lines = ids.map((id) => JSON.stringify({ id, model: "m", created: 1, messages: [{ role: "user", content }] }));
    const path = join(spool, `${now}.another-host.1.0.${String(file).padStart(16, "0")}.jsonl`);
    writeFileSync(path, lines.map((line) => `${line}\n`).join(""), { mode: 0o600 });
    utimesSync(path, now - 3_600, now - 3_600);
  }
  const env = { ...process.env, ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool };
  const child = spawn(command, options, { cwd: HERE, env, stdio: ["ignore", "pipe", "inherit"] });
  console.log(`${name}: ${await firstLine(child)}`);
}
endpoint.kill();
