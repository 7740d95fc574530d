/** Tests which responses confirm a trace, and what `flush` returns. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { answer, endpoint, folder, type Json, listen, run, serve, stored } from "./support.js";

const LOG = `import { counters, flush, logTrace } from "attest-client";
  const log = (created, options) => logTrace({ model: "m", messages: [] }, { created }, {}, options);`;
const JSON_TYPE = { "content-type": "application/json" };

const changed = (trace: Json, members: Json): [Json, string] => [JSON_TYPE, JSON.stringify({ ...JSON.parse(stored(trace)[2]), ...members })];

const WRONG: Record<string, (trace: Json) => [Json, string]> = {
  "a login page": () => [{ "content-type": "text/html" }, "<html>Sign in</html>"],
  "a receipt that is labelled as a page": (trace) => [{ "content-type": "text/html" }, stored(trace)[2]],
  "a receipt without a label": (trace) => [{}, stored(trace)[2]],
  "another service": () => [JSON_TYPE, '{"ok":true}'],
  "an empty answer": () => [JSON_TYPE, ""],
  "a list": (trace) => [JSON_TYPE, `[${stored(trace)[2]}]`],
  "deeply nested JSON": () => [JSON_TYPE, "[".repeat(30_000)],
  "the trace itself": (trace) => [JSON_TYPE, JSON.stringify(trace)],
  "another id": (trace) => changed(trace, { id: "other" }),
  "another key": (trace) => changed(trace, { key: "m/other" }),
  "a longer key": (trace) => changed(trace, { key: `m/${trace.id}x` }),
  "a key without a fingerprint": (trace) => changed(trace, { key: trace.id }),
  "a key of another fingerprint": (trace) => changed(trace, { system_fingerprint: "other" }),
  "a key that is not encoded": (trace) => changed(trace, { key: "m/%zz" }),
  "a key that is no text": (trace) => changed(trace, { key: 7 }),
  "a receipt behind many bytes": (trace) => [JSON_TYPE, " ".repeat(70_000) + stored(trace)[2]],
};

for (const status of [200, 201]) {
  test(`only a receipt for the trace confirms it with status ${status}`, async () => {
    const cases = Object.keys(WRONG);
    const attempts = cases.map(() => 0);
    const url = await serve((trace) => {
      if (attempts[trace.created]!++ > 0) return stored(trace);
      return [status, ...WRONG[cases[trace.created]!]!(trace)];
    });
    const source = `${LOG} for (let n = 0; n < ${cases.length}; n++) log(n); console.log(await flush({ timeout: 60_000 }), counters().stored);`;
    const program = await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: folder() });
    assert.deepEqual(program.output, [`true ${cases.length}`]);
    assert.deepEqual(cases.filter((_, place) => attempts[place] !== 2), [], "each is sent again");
    assert.match(program.errors, /without the receipt of the trace; check ATTEST_URL/);
  });
}

test("the receipt of the endpoint confirms any fingerprint and id", async () => {
  const attest = await endpoint();
  const names = ["m", "a/b", "ä b", "50%"];
  const source = `${LOG} for (const name of ${JSON.stringify(names)})
    log(1, { mask: (trace) => ({ ...trace, id: name + "/ü~(1)", system_fingerprint: name }) });
    console.log(await flush({ timeout: 60_000 }), counters().stored);`;
  assert.deepEqual((await run(source, attest.environment)).output, ["true 4"]);
  assert.deepEqual(attest.traces().map(({ id }) => id).toSorted(), names.map((name) => `${name}/ü~(1)`).toSorted());
});

for (const [what, start] of Object.entries<(response: ServerResponse) => void>({
  "a body that drips": (response) => void response.writeHead(201, JSON_TYPE).write("{"),
  "headers that drip": (response) => void response.socket!.write("HTTP/1.1 201 Created\r\nx-long: x"),
})) {
  test(`${what} confirms nothing`, async () => {
    const url = await listen((request, response) => {
      start(response);
      const timer = setInterval(() => response.socket?.write(" "), 50);
      request.socket.on("close", () => clearInterval(timer));
    });
    const spool = folder();
    const program = await run(`${LOG} log(1); console.log(await flush({ timeout: 1_500 }), counters().stored); process.exit(0);`, {
      ATTEST_URL: url,
      ATTEST_API_KEY: "key",
      ATTEST_SPOOL: spool,
    });
    assert.deepEqual(program.output, ["false 0"]);
    assert.equal(readdirSync(spool).length, 1);
  });
}

test("an id that no header can have is sent in the trace", async () => {
  const ids = ["order\n17", "ü", " x", "x".repeat(2_000)];
  const came: [unknown, string][] = [];
  const url = await serve((trace, { headers }) => {
    came.push([headers["idempotency-key"], trace.id]);
    return stored(trace);
  });
  const source = `${LOG} for (const id of ${JSON.stringify(ids)}) log(1, { mask: (trace) => ({ ...trace, id }) }); console.log(await flush());`;
  assert.deepEqual((await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: folder() })).output, ["true"]);
  assert.deepEqual(came.toSorted(), ids.map((id) => [undefined, id]).toSorted());
});

/** Writes spool files as dead processes leave them. */
function dead(spool: string, files: number, lines: number, more = ""): void {
  mkdirSync(spool, { recursive: true, mode: 0o700 });
  for (let file = 0; file < files; file++) {
    const path = join(spool, `${Math.floor(Date.now() / 1000)}.other.1.1.${String(file).padStart(16, "0")}.jsonl`);
    const traces = Array.from({ length: lines }, (_, line) => `${JSON.stringify({ id: `${file}-${line}`, model: "m", created: 1, messages: [] })}\n`);
    writeFileSync(path, more + traces.join(""), { mode: 0o600 });
    utimesSync(path, new Date(Date.now() - 61_000), new Date(Date.now() - 61_000));
  }
}

test("flush in a process that has logged nothing sends every trace of dead processes", async () => {
  const spool = join(folder(), "spool");
  dead(spool, 30, 100);
  const url = await serve((trace) => stored(trace));
  const source = `${LOG} console.log(await flush({ timeout: 60_000 }), counters().stored);`;
  assert.deepEqual((await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool })).output, ["true 3000"]);
  assert.deepEqual(readdirSync(spool), []);
});

test("flush is false while a trace of a dead process is unsent", async () => {
  const spool = join(folder(), "spool");
  dead(spool, 2, 10);
  const url = await serve(() => [503, {}, ""]);
  const source = `${LOG} console.log(await flush({ timeout: 500 })); process.exit(0);`;
  assert.deepEqual((await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool })).output, ["false"]);
});

test("flush is false once after a trace was lost", async () => {
  const spool = join(folder(), "spool");
  const source = `${LOG} const circular = new Proxy({}, { ownKeys() { throw new Error("SECRET"); } });
    logTrace(circular, {}); logTrace({ get model() { throw new Error("SECRET"); } });
    console.log(counters().lost > 0, await flush(), await flush());`;
  const url = await serve((trace) => stored(trace));
  const program = await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool });
  assert.ok(["true false true", "false true true"].includes(program.output[0]!), program.output[0]);
  assert.doesNotMatch(program.errors, /SECRET/);
});

test("a line that is no trace does not hold up the others of its file", async () => {
  const spool = join(folder(), "spool");
  const deep = `{"id":"deep","x":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  dead(spool, 1, 2, `${deep}\nno trace\n`);
  const ids: string[] = [];
  const url = await serve((trace) => (ids.push(trace.id), stored(trace)));
  const source = `${LOG} console.log(await flush({ timeout: 20_000 }));`;
  assert.deepEqual((await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool })).output, ["true"]);
  assert.deepEqual(ids.filter((id) => id !== "deep"), ["0-0", "0-1"]);
  assert.deepEqual(readdirSync(spool), ["rejected.jsonl"]);
  assert.match(readFileSync(join(spool, "rejected.jsonl"), "utf8"), /no trace\n$/);
});

test("a file whose name says 1970 is sent, because it was written just now", async () => {
  const spool = join(folder(), "spool");
  dead(spool, 1, 1);
  const [name] = readdirSync(spool);
  execFileSync("mv", [join(spool, name!), join(spool, name!.replace(/^\d+/, "1000"))]);
  const url = await serve((trace) => stored(trace));
  const source = `${LOG} console.log(await flush({ timeout: 20_000 }), counters().stored);`;
  assert.deepEqual((await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool })).output, ["true 1"]);
});

test("a folder that was deleted is created again", async () => {
  const spool = join(folder(), "spool");
  const source = `import { rmSync } from "node:fs"; ${LOG} log(1); rmSync(${JSON.stringify(spool)}, { recursive: true });
    for (let n = 2; n <= 5; n++) log(n); process.kill(process.pid, "SIGKILL");`;
  await assert.rejects(run(source, { ATTEST_URL: "http://127.0.0.1:1", ATTEST_API_KEY: "key", ATTEST_SPOOL: spool }));
  const lines = readdirSync(spool).flatMap((name) => readFileSync(join(spool, name), "utf8").trim().split("\n"));
  assert.deepEqual(lines.map((line) => JSON.parse(line).created), [2, 3, 4, 5]);
});

test("a refused trace is on a line of its own, also after a partial one", async () => {
  const spool = join(folder(), "spool");
  mkdirSync(spool, { mode: 0o700 });
  writeFileSync(join(spool, "rejected.jsonl"), '{"id":"a"}\n{"id":"b', { mode: 0o600 });
  const url = await serve(() => [400, {}, "{}"]);
  await run(`${LOG} log(7); await flush({ timeout: 20_000 });`, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool });
  const lines = readFileSync(join(spool, "rejected.jsonl"), "utf8").split("\n");
  assert.equal(JSON.parse(lines[2]!).created, 7);
});

test("traces go through the proxy of the environment, but not those for this machine", async () => {
  const hosts: string[] = [];
  const proxy = await listen((request, response) => {
    hosts.push(String(request.url));
    void text(request).then((body) => answer(response, stored(JSON.parse(body))));
  });
  const direct = await serve((trace) => stored(trace));
  const source = `${LOG} log(1); console.log(await flush({ timeout: 5_000 })); process.exit(0);`;
  const env = { http_proxy: proxy, HTTP_PROXY: proxy, ATTEST_API_KEY: "key", no_proxy: undefined, NO_PROXY: undefined };
  const program = await run(source, { ...env, ATTEST_URL: "http://attest.invalid/prod", ATTEST_SPOOL: folder() });
  assert.deepEqual(program.output, ["true"]);
  assert.match(program.errors, /without encryption/);
  for (const host of ["127.0.0.1", "localhost", "127.9.9.9", "[::ffff:127.0.0.1]"]) {
    const url = direct.replace("127.0.0.1", host);
    await run(source, { ...env, ATTEST_URL: url, ATTEST_SPOOL: folder() });
  }
  assert.deepEqual(hosts, ["http://attest.invalid/prod"]);
});

test("an endpoint that the variable no_proxy names is reached directly", async () => {
  const proxy = await serve(() => [502, {}, ""]);
  const url = await serve((trace) => stored(trace));
  const env = { http_proxy: proxy, no_proxy: "127.0.0.1", ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: folder() };
  assert.deepEqual((await run(`${LOG} log(1); console.log(await flush());`, env)).output, ["true"]);
});

test("a warning that throws does not break the call", async () => {
  const source = `${LOG} console.warn = () => { throw new Error("forbidden"); }; log(1); console.log(await flush());`;
  const program = await run(source, { ATTEST_URL: undefined, ATTEST_API_KEY: undefined });
  assert.deepEqual(program.output, ["true"]);
});
