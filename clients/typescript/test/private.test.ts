/** Tests the spool folder on a host with other users. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { folder, type Json, run, serve, stored } from "./support.js";

const LOG = `import { counters, flush, logTrace } from "attest-client";
  const log = (created) => logTrace({ model: "m", messages: [] }, { created });`;
const FORGED = '{"id":"forged","model":"m","created":1,"messages":[]}\n';
const NAME = `1.other.1.1.${"0".repeat(16)}.jsonl`;

/** Logs a trace to an endpoint that stores everything. Returns the program and the stored traces. */
async function sent(spool: string | undefined, env: Json = {}) {
  const traces: Json[] = [];
  const url = await serve((trace) => {
    traces.push(trace);
    return stored(trace);
  });
  const source = `${LOG} log(1); console.log(await flush({ timeout: 20_000 }));`;
  const program = await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool, ...env });
  return { program, traces };
}

for (const [what, make] of Object.entries<(path: string) => void>({
  "that a group can write": (path) => (mkdirSync(path), chmodSync(path, 0o770)),
  "that everyone can write": (path) => (mkdirSync(path), chmodSync(path, 0o1777)),
  "that is a link": (path) => (mkdirSync(`${path}-elsewhere`, { mode: 0o700 }), symlinkSync(`${path}-elsewhere`, path)),
})) {
  test(`a folder ${what} is not used`, async () => {
    const spool = join(folder(), "spool");
    make(spool);
    writeFileSync(join(spool, NAME), FORGED);
    utimesSync(join(spool, NAME), 1, 1);
    symlinkSync(join(spool, "..", "profile"), join(spool, "rejected.jsonl"));
    const { program, traces } = await sent(spool);
    assert.deepEqual(program.output, ["true"]);
    assert.deepEqual(traces.map(({ created }) => created), [1]);
    assert.notEqual(traces[0]!.id, "forged");
    assert.deepEqual(readdirSync(spool).toSorted(), [NAME, "rejected.jsonl"]);
    assert.match(program.errors, /traces are sent from memory/);
  });
}

test("a folder of another user is not used", async () => {
  const spool = folder();
  chmodSync(spool, 0o700);
  const source = `process.geteuid = () => ${process.geteuid!() + 1};`;
  const traces: Json[] = [];
  const url = await serve((trace) => (traces.push(trace), stored(trace)));
  const program = await run(`${LOG} ${source} log(1); console.log(await flush());`, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool });
  assert.deepEqual(program.output, ["true"]);
  assert.equal(traces.length, 1);
  assert.match(program.errors, /it belongs to another user/);
});

test("folders and files are private whatever the umask", async () => {
  const top = folder();
  const spool = join(top, "deep", "spool");
  const source = `${LOG} process.umask(0); log(1); process.exit(0);`;
  await run(source, { ATTEST_URL: "http://127.0.0.1:1", ATTEST_API_KEY: "key", ATTEST_SPOOL: spool });
  const paths = [join(top, "deep"), spool, join(spool, readdirSync(spool)[0]!)];
  assert.deepEqual(paths.map((path) => statSync(path).mode & 0o777), [0o700, 0o700, 0o600]);
});

test("an own folder that others can read becomes private", async () => {
  const spool = folder();
  chmodSync(spool, 0o755);
  assert.equal((await sent(spool)).traces.length, 1);
  assert.equal(statSync(spool).mode & 0o777, 0o700);
});

/** Creates a `kind` of entry under the name of a dead process's spool file. Returns a private file that must stay unchanged. */
function trap(spool: string, kind: string): string {
  mkdirSync(spool, { mode: 0o700 });
  const secret = `${spool}-secret`;
  writeFileSync(secret, FORGED, { mode: 0o600 });
  utimesSync(secret, 1, 1);
  const path = join(spool, NAME);
  if (kind === "link") symlinkSync(secret, path);
  if (kind === "hard link") linkSync(secret, path);
  if (kind === "pipe") execFileSync("mkfifo", [path]);
  if (kind === "folder") mkdirSync(path);
  if (kind === "writable file") {
    writeFileSync(path, FORGED);
    chmodSync(path, 0o666);
  }
  if (kind !== "link") utimesSync(path, 1, 1);
  return secret;
}

for (const kind of ["link", "hard link", "pipe", "folder", "writable file"]) {
  test(`a ${kind} with the name of a spool file is not adopted`, async () => {
    const spool = join(folder(), "spool");
    const secret = trap(spool, kind);
    const { program, traces } = await sent(spool);
    assert.equal(traces.length, 1);
    assert.notEqual(traces[0]!.id, "forged");
    assert.equal(readFileSync(secret, "utf8"), FORGED);
    assert.ok(lstatSync(join(spool, NAME)));
    assert.match(program.errors, /is left alone/);
  });
}

for (const kind of ["link", "hard link", "pipe"]) {
  test(`refused traces are not appended to a ${kind}`, async () => {
    const spool = join(folder(), "spool");
    const secret = trap(spool, kind);
    renameSync(join(spool, NAME), join(spool, "rejected.jsonl"));
    const url = await serve(() => [400, {}, "{}"]);
    const env = { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool };
    const program = await run(`${LOG} log(1); console.log(await flush({ timeout: 10_000 })); process.exit(0);`, env);
    assert.deepEqual(program.output, ["false"]);
    assert.equal(readFileSync(secret, "utf8"), FORGED);
    assert.equal(readdirSync(spool).length, 2, "the trace stays in its file");
  });
}

for (const [what, home] of Object.entries({ missing: "/dev/null/home", "not absolute": "home" })) {
  test(`with a home folder that is ${what}, traces are sent from memory`, async () => {
    const { program, traces } = await sent(undefined, { HOME: home, XDG_STATE_HOME: "relative" });
    assert.deepEqual(program.output, ["true"]);
    assert.equal(traces.length, 1);
    assert.match(program.errors, /traces are sent from memory/);
  });
}

test("traces in memory are counted as lost if they cannot be sent", async () => {
  const source = `${LOG} log(1); process.on("exit", () => console.log(counters().lost)); process.exit(0);`;
  const program = await run(source, { ATTEST_URL: "http://127.0.0.1:1", ATTEST_API_KEY: "key", ATTEST_SPOOL: "/dev/null/spool" });
  assert.deepEqual(program.output, ["1"]);
  assert.match(program.errors, /traces lost: 1,/);
});
