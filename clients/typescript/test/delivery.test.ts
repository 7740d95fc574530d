/** Tests delivery to the endpoint. Each case runs in a separate process. */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { text } from "node:stream/consumers";
import { answer, endpoint, folder, type Json, listen, Program, run, serve, stored } from "./support.js";

const LOG = `import { counters, flush, logTrace } from "attest-client";
  const log = (created, extra) => logTrace({ model: "m", messages: [] }, { created }, extra);`;
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, place) => from + place);

test("nothing is logged without the environment, with one warning", async () => {
  const program = await run(`${LOG} log(1); log(2); console.log(await flush(), JSON.stringify(counters()));`, {
    ATTEST_URL: undefined,
    ATTEST_API_KEY: undefined,
  });
  assert.deepEqual(program.output, [`true {"logged":0,"stored":0,"rejected":0,"unmasked":0,"lost":0,"truncated":0,"unparsed":0,"unmerged":0}`]);
  assert.equal(program.errors, "attest: nothing is logged because ATTEST_URL and ATTEST_API_KEY are not set\n");
});

test("the environment is read when the first call is logged, not at import", async () => {
  const attest = await endpoint();
  const program = `${LOG} log(1); Object.assign(process.env, ${JSON.stringify(attest.environment)}); log(2); await flush({ timeout: 120_000 });`;
  await run(program, { ATTEST_URL: undefined, ATTEST_API_KEY: undefined });
  assert.deepEqual(attest.traces().map(({ created }) => created), [2]);
});

test("a process that ends by itself delivers its traces and leaves an empty spool", async () => {
  const attest = await endpoint();
  await run(`${LOG} for (let n = 1; n <= 20; n++) log(n);`, attest.environment);
  assert.deepEqual(attest.traces().map(({ created }) => created), numbers(1, 20));
  assert.deepEqual(attest.spooled, []);
});

test("the spool is private, and holds a trace as soon as the call returns", async () => {
  const attest = await endpoint();
  await attest.kill();
  const program = new Program(`${LOG} log(1, { user: "u-1" }); console.log("logged"); setInterval(() => {}, 1000);`, attest.environment);
  await program.printed("logged");
  await program.kill();
  const [name, ...others] = attest.spooled;
  assert.equal(others.length, 0);
  assert.match(name!, /^\d+\.[A-Za-z0-9_-]+\.\d+\.\d+\.[0-9a-f]{16}\.jsonl$/);
  assert.equal(statSync(attest.spool).mode & 0o777, 0o700);
  assert.equal(statSync(join(attest.spool, name!)).mode & 0o777, 0o600);
  const [trace] = attest.waiting;
  assert.deepEqual(trace!.log, { user: "u-1" });
  await attest.start();
  await attest.import(join(attest.spool, name!));
  assert.deepEqual(attest.traces()[0]!.id, trace!.id);
});

for (const [how, end] of Object.entries({
  "process.exit": "process.exit(0)",
  "an uncaught exception": "setImmediate(() => { throw new Error() }); process.on('uncaughtException', () => process.exit(0))",
  "an unhandled rejection": "process.on('unhandledRejection', () => process.exit(0)); Promise.reject(new Error())",
})) {
  test(`the next process delivers what ${how} left`, async () => {
    const attest = await endpoint();
    await attest.kill();
    await run(`${LOG} for (let n = 1; n <= 300; n++) log(n); ${end};`, attest.environment);
    assert.equal(attest.waiting.length, 300);
    await attest.start();
    await run(`${LOG} log(301); await flush({ timeout: 60_000 });`, attest.environment);
    assert.deepEqual(attest.traces().map(({ created }) => created), numbers(1, 301));
    assert.deepEqual(attest.spooled, []);
  });
}

for (const [what, { stream, program }] of Object.entries({
  "a stream that is never read": { stream: true, program: "process.exit(0)" },
  "a stream that is partly read": { stream: true, program: "for await (const _ of response.body) process.exit(0)" },
  "a body that is never read": { stream: false, program: "" },
  "a body that is being read": { stream: false, program: "response.json().catch(() => {}); setTimeout(() => process.exit(0), 100)" },
})) {
  test(`${what} when the process ends is logged as far as it came`, async () => {
    const attest = await endpoint();
    const url = await listen((_, response) => {
      response.writeHead(200, { "content-type": stream ? "text/event-stream" : "application/json" });
      response.write(stream ? 'data: {"id":"c","created":1,"choices":[]}\n\n' : '{"id":"c"');
      if (!program) response.end("}");
    });
    const call = `import { loggedFetch } from "attest-client"; const response = await loggedFetch()("${url}/v1/chat/completions", { method: "POST", body: "{}" });`;
    await run(`${call} ${program}`, attest.environment);
    const [trace] = attest.waiting;
    assert.equal(trace!.incomplete, "closed");
    assert.equal(attest.waiting.length, 1);
  });
}

test("several processes adopt what a dead one left exactly once", async () => {
  const attest = await endpoint();
  await attest.kill();
  await run(`${LOG} for (let n = 1; n <= 500; n++) log(n, { text: "x".repeat(10_000) }); process.exit(0);`, attest.environment);
  assert.ok(attest.spooled.length > 3, "several files");
  const ids: string[] = [];
  const url = await serve((trace) => {
    ids.push(trace.id);
    return stored(trace);
  });
  const adopt = () => run(`${LOG} log(0); await flush({ timeout: 120_000 });`, { ...attest.environment, ATTEST_URL: url });
  await Promise.all([adopt(), adopt(), adopt(), adopt()]);
  assert.equal(ids.length, 504);
  assert.equal(new Set(ids).size, 504);
  assert.deepEqual(attest.spooled, []);
});

test("files of another host are adopted once their heartbeat is a minute old", async () => {
  const attest = await endpoint();
  mkdirSync(attest.spool);
  const file = (name: string, created: number) => {
    const path = join(attest.spool, name);
    writeFileSync(path, `${JSON.stringify({ id: `id-${created}`, model: "m", created, messages: [] })}\n`);
    return path;
  };
  const now = Math.floor(Date.now() / 1000);
  const old = file(`${now}.another-host.1.0.0123456789abcdef.jsonl`, 1);
  file(`${now}.another-host.2.0.0123456789abcdef.jsonl`, 2);
  const mine = file(`${now}.${attest.spool.length}.3.0.0123456789abcdef.jsonl`, 3);
  file("another-name.jsonl", 4);
  const past = new Date(Date.now() - 61_000);
  utimesSync(old, past, past);
  utimesSync(mine, past, past);
  await run(`${LOG} log(5);`, attest.environment);
  assert.deepEqual(attest.traces().map(({ created }) => created), [1, 3, 5]);
  assert.deepEqual(attest.spooled.toSorted(), [`${now}.another-host.2.0.0123456789abcdef.jsonl`, "another-name.jsonl"]);
});

test("a line that was cut off is ignored, and a whole one without line feed is sent", async () => {
  const attest = await endpoint();
  mkdirSync(attest.spool);
  const past = new Date(Date.now() - 61_000);
  const whole = JSON.stringify({ id: "a", model: "m", created: 1, messages: [] });
  for (const [place, content] of [`${whole}\n{"id":"b","mod`, whole.replace('"a"', '"c"'), `no trace\n[]\n{"id":7}\n${whole.replace('"a"', '"d"')}\n`].entries()) {
    const path = join(attest.spool, `${Math.floor(Date.now() / 1000)}.h.1.0.000000000000000${place}.jsonl`);
    writeFileSync(path, content);
    utimesSync(path, past, past);
  }
  const program = await run(`${LOG} log(2);`, attest.environment);
  assert.deepEqual(attest.traces().map(({ id, created }) => (created === 1 ? id : created)).toSorted(), [2, "a", "c", "d"]);
  assert.deepEqual(attest.spooled, ["rejected.jsonl"]);
  assert.equal(readFileSync(join(attest.spool, "rejected.jsonl"), "utf8"), 'no trace\n[]\n{"id":7}\n');
  assert.match(program.errors, /not a trace with an id/);
});

test("an owner whose file was adopted by mistake loses nothing", async () => {
  const attest = await endpoint();
  await attest.kill();
  const source = `${LOG} import { createInterface } from "node:readline";
    log(1); console.log("one");
    createInterface(process.stdin).once("line", () => { log(2); console.log("two"); });`;
  const program = new Program(source, attest.environment);
  await program.printed("one");
  const [name] = attest.spooled;
  const path = join(attest.spool, name!);
  const past = new Date(Date.now() - 61_000);
  utimesSync(path, past, past); // simulates a process that was frozen for a minute
  await attest.start();
  await run(`${LOG} log(3);`, attest.environment);
  program.tell("go on");
  await program.printed("two");
  program.process.stdin!.end();
  assert.equal(await program.end(), 0);
  assert.deepEqual(attest.traces().map(({ created }) => created), [1, 2, 3]);
  assert.deepEqual(attest.spooled, []);
});

test("abandoned files older than 30 days are deleted with a warning", async () => {
  const attest = await endpoint();
  mkdirSync(attest.spool);
  const path = join(attest.spool, `${Math.floor(Date.now() / 1000) - 31 * 24 * 3600}.h.1.0.0123456789abcdef.jsonl`);
  writeFileSync(path, '{"id":"a"}\n{"id":"b"}\n');
  const past = new Date(Date.now() - 31 * 24 * 3600 * 1000);
  utimesSync(path, past, past);
  const program = await run(`${LOG} log(1); console.log(await flush({ timeout: 60_000 }), counters().lost);`, attest.environment);
  assert.deepEqual(program.output, ["false 2"]);
  assert.match(program.errors, /2 traces in \S+ were deleted: they are older than 30 days/);
  assert.deepEqual(attest.spooled, []);
});

test("a full spool is a warning, and traces are sent from memory", async () => {
  const attest = await endpoint();
  mkdirSync(attest.spool);
  writeFileSync(join(attest.spool, "rejected.jsonl"), "");
  truncateSync(join(attest.spool, "rejected.jsonl"), 1024 ** 3); // a sparse file
  const program = await run(`${LOG} log(1); log(2);`, attest.environment);
  assert.match(program.errors, /has reached 1073741824 bytes; traces are sent from memory/);
  assert.equal(attest.traces().length, 2);
});

for (const [what, make] of Object.entries<(path: string) => string>({
  "a file in place of the folder": (path) => (writeFileSync(path, ""), path),
  "a folder that cannot be created": (path) => (writeFileSync(path, ""), join(path, "spool")),
  "a read-only file system": () => "/proc/attest",
})) {
  test(`${what} is a warning, and traces are sent from memory`, async () => {
    const attest = await endpoint();
    const program = await run(`${LOG} for (let n = 1; n <= 20; n++) log(n);`, { ...attest.environment, ATTEST_SPOOL: make(join(folder(), "spool")) });
    assert.match(program.errors, /cannot be written, so traces are sent from memory/);
    assert.equal(attest.traces().length, 20);
  });
}

test("a disk that fills up is a warning, and traces are sent from memory", async () => {
  const attest = await endpoint();
  // With a file size limit, writes fail as on a full disk.
  const limited = `ulimit -f 8; exec "$0" "$@"`;
  const source = `${LOG} process.on("SIGXFSZ", () => {}); for (let n = 1; n <= 20; n++) log(n, { text: "x".repeat(5_000) });`;
  const program = await run(
    `import { spawnSync } from "node:child_process";
     const { status, stderr } = spawnSync("bash", ["-c", ${JSON.stringify(limited)}, process.execPath, "--input-type=module", "--eval", ${JSON.stringify(source)}]);
     process.stderr.write(stderr); process.exitCode = status;`,
    attest.environment,
  );
  assert.match(program.errors, /could not be written to the spool and is sent from memory: EFBIG/);
  assert.deepEqual(attest.traces().map(({ created }) => created), numbers(1, 20));
  assert.deepEqual(attest.spooled, []);
});

test("transient answers are retried with the same idempotency key, not before Retry-After", async () => {
  const answers: [number, Json, string][] = [
    [429, { "retry-after": "1" }, ""],
    [408, {}, ""],
    [502, {}, ""],
    [503, { "retry-after": "Thu, 01 Jan 2026 00:00:00 GMT" }, ""],
    [504, {}, ""],
    [500, { "content-type": "application/problem+json" }, '{"type":"urn:attest:problem:gateway","status":500}'],
    [200, { "content-type": "text/html" }, "<html>a captive portal</html>"],
  ];
  const attempts = answers.map((): { at: number; trace: Json; headers: Json }[] => []);
  const url = await serve((trace, { headers }) => {
    const count = attempts[trace.created]!.push({ at: performance.now(), trace, headers });
    return count === 1 ? answers[trace.created]! : stored(trace);
  });
  const source = `${LOG} for (let n = 0; n < ${answers.length}; n++) log(n); console.log(await flush({ timeout: 120_000 }));`;
  const program = await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: folder() });
  assert.deepEqual(program.output, ["true"]);
  for (const [first, second, ...others] of attempts) {
    assert.deepEqual(others, []);
    assert.deepEqual(second!.trace, first!.trace);
    assert.equal(first!.headers["idempotency-key"], first!.trace.id);
    assert.equal(second!.headers["idempotency-key"], first!.trace.id);
    assert.equal(second!.headers["x-api-key"], "key");
  }
  const [first, second] = attempts[0]!;
  assert.ok(second!.at - first!.at >= 1000, "Retry-After is waited for");
});

test("broken connections are retried", async () => {
  const ids: string[] = [];
  const url = await listen((request, response) => {
    ids.push(String(request.headers["idempotency-key"]));
    if (ids.length === 1) request.socket.destroy();
    else if (ids.length === 2) response.writeHead(400, { "content-length": "100" }).write("{", () => request.socket.destroy());
    else void text(request).then((body) => answer(response, stored(JSON.parse(body))));
  });
  const spool = folder();
  const program = await run(`${LOG} log(1); console.log(await flush({ timeout: 120_000 }));`, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool });
  assert.deepEqual(program.output, ["true"]);
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 1);
});

for (const status of [301, 400, 403, 409, 413, 500]) {
  test(`status ${status} is not retried: the trace is in the file of rejected traces, which import takes`, async () => {
    const attest = await endpoint();
    const came: Json[] = [];
    const problem = { type: "urn:attest:problem:invalid", title: "Invalid", detail: "2 violations.", errors: [{ pointer: "/model", detail: "too odd" }] };
    const url = await serve((trace) => [came.push(trace) && status, { location: "/elsewhere" }, JSON.stringify(problem)]);
    const program = await run(`${LOG} log(3); console.log(await flush({ timeout: 120_000 }), counters().rejected);`, { ...attest.environment, ATTEST_URL: url });
    assert.deepEqual(program.output, ["true 1"]);
    assert.match(program.errors, new RegExp(`${came[0]!.id} was rejected and is in \\S+rejected.jsonl: status ${status}, Invalid, 2 violations., /model too odd\n`));
    assert.equal(came.length, 1);
    assert.deepEqual(attest.rejected, came);
    assert.deepEqual(attest.spooled, ["rejected.jsonl"]);
    assert.equal(statSync(join(attest.spool, "rejected.jsonl")).mode & 0o777, 0o600);
    await attest.import(join(attest.spool, "rejected.jsonl"));
    assert.deepEqual(attest.traces(), [{ ...came[0], object: "chat.trace", system_fingerprint: "m" }]);
  });
}

test("a rejected trace that cannot be moved stays in the spool", async () => {
  const attest = await endpoint();
  mkdirSync(join(attest.spool, "rejected.jsonl"), { recursive: true });
  const url = await serve(() => [400, {}, ""]);
  const program = await run(`${LOG} log(1); console.log(await flush({ timeout: 120_000 }));`, { ...attest.environment, ATTEST_URL: url });
  assert.deepEqual(program.output, ["false"], "it is neither stored nor in the file of rejected traces");
  assert.match(program.errors, /was rejected and stays in the spool \(EISDIR/);
  await run(`${LOG} log(2); await flush({ timeout: 120_000 });`, attest.environment);
  assert.deepEqual(attest.traces().map(({ created }) => created), [1, 2]);
});

test("a trace over 4 MiB is rejected without being sent", async () => {
  const attest = await endpoint();
  const source = `${LOG} log(1, { text: "x".repeat(4 * 1024 * 1024) }); log(2); await flush({ timeout: 120_000 });`;
  const program = await run(source, attest.environment);
  assert.match(program.errors, /was rejected and is in \S+rejected.jsonl: it has 4194\d{3} bytes, more than 4194304\n/);
  assert.deepEqual(attest.traces().map(({ created }) => created), [2]);
  assert.deepEqual(attest.rejected.map(({ created }) => created), [1]);
});

test("the end of the process waits for a bounded time, also for an answer that comes byte by byte", async () => {
  const url = await listen((_, response) => {
    response.writeHead(503, { "content-type": "application/json" });
    const timer = setInterval(() => response.write(" "), 100);
    response.on("close", () => clearInterval(timer));
  });
  const spool = folder();
  const program = await run(
    `${LOG} log(1); const start = performance.now(); process.on("exit", () => console.log(performance.now() - start < 15_000));`,
    { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool },
  );
  assert.deepEqual(program.output, ["true"]);
  const attest = await endpoint();
  await run(`${LOG} log(2);`, { ...attest.environment, ATTEST_SPOOL: spool });
  assert.deepEqual(attest.traces().map(({ created }) => created), [1, 2]);
});

test("flush keeps its deadline, and tells whether it was enough", async () => {
  const url = await listen(() => {}); // never responds
  const source = `${LOG} log(1); const start = performance.now();
    console.log(await flush({ timeout: 300 }), performance.now() - start < 5_000); process.exit(0);`;
  const program = await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: folder() });
  assert.deepEqual(program.output, ["false true"]);
});

test("a process that was frozen in the middle of a request delivers when it thaws", async () => {
  const attest = await endpoint();
  let requests = 0;
  let arrived = (_: () => void) => {};
  const first = new Promise<() => void>((resolve) => (arrived = resolve));
  const url = await listen((request, response) => {
    if (requests++ === 0) return arrived(() => request.destroy());
    void text(request).then((body) => answer(response, stored(JSON.parse(body))));
  });
  const source = `${LOG} log(1); console.log(await flush({ timeout: 60_000 })); `;
  const program = new Program(source, { ...attest.environment, ATTEST_URL: url });
  const breakConnection = await first;
  program.process.kill("SIGSTOP");
  assert.equal(attest.waiting.length, 1, "the frozen trace is in the spool");
  breakConnection(); // while the host is frozen, like an idle connection of a frozen function
  program.process.kill("SIGCONT");
  await program.printed("true");
  program.process.stdin!.end();
  assert.equal(await program.end(), 0);
  assert.deepEqual(attest.spooled, []);
});

test("a warning never holds content, and the same warning is not repeated for each trace", async () => {
  const url = await serve(() => [503, {}, "SECRET"]);
  const source = `${LOG} for (let n = 1; n <= 50; n++) log(n, { text: "SECRET" }); await flush({ timeout: 2_000 }); process.exit(0);`;
  const program = await run(source, { ATTEST_URL: url, ATTEST_API_KEY: "key", ATTEST_SPOOL: folder() });
  assert.doesNotMatch(program.errors, /SECRET/);
  assert.equal(program.errors.split("\n").length, 2);
});

test("more traces than the queue holds wait on disk, in order, with bounded memory", async () => {
  const attest = await endpoint();
  await attest.kill();
  const source = `${LOG} import { createInterface } from "node:readline";
    for (let n = 1; n <= 1100; n++) log(n); console.log("logged");
    createInterface(process.stdin).once("line", async () => { console.log(await flush({ timeout: 120_000 })); });`;
  const program = new Program(source, attest.environment);
  await program.printed("logged");
  assert.equal(attest.waiting.length, 1100);
  await attest.start();
  program.tell("flush");
  await program.printed("true");
  program.process.stdin!.end();
  assert.equal(await program.end(), 0);
  assert.deepEqual(attest.traces().map(({ created }) => created), numbers(1, 1100));
  assert.deepEqual(attest.spooled, []);
});

test("cluster workers and worker threads lose nothing", async () => {
  const attest = await endpoint();
  const worker = join(attest.home, "worker.mjs");
  const source = `${LOG} for (let n = 0; n < 100; n++) log(Number(process.env.FIRST) + n); process.exit(0);`;
  writeFileSync(worker, source.replace('"attest-client"', JSON.stringify(import.meta.resolve("attest-client"))));
  const primary = `import cluster from "node:cluster"; cluster.setupPrimary({ exec: ${JSON.stringify(worker)}, execArgv: [] });
    cluster.on("exit", (_, status) => (process.exitCode ||= status));
    for (const first of [1, 101, 201]) cluster.fork({ FIRST: String(first) });`;
  await run(primary, attest.environment);
  const threads = `import { Worker } from "node:worker_threads"; ${LOG}
    const client = ${JSON.stringify(import.meta.resolve("attest-client"))};
    const start = (first, end) => new Worker(
      'import(' + JSON.stringify(client) + ').then(({ logTrace }) => { for (let n = 0; n < 100; n++) logTrace({ model: "m", messages: [] }, { created: ' + first + ' + n }); ' + end + ' })',
      { eval: true },
    );
    for (const [first, end] of [[301, ""], [401, "process.exit(0)"], [501, "setInterval(() => {}, 1000); import('node:worker_threads').then(({ parentPort }) => parentPort.postMessage(0))"]]) {
      const worker = start(first, end);
      worker.on("message", () => worker.terminate());
      await new Promise((resolve) => worker.once("exit", resolve));
    }
    process.exit(0);`;
  await run(threads, attest.environment);
  await run(`${LOG} log(601); await flush({ timeout: 60_000 });`, attest.environment);
  assert.deepEqual(attest.traces().map(({ created }) => created), numbers(1, 601));
  assert.deepEqual(attest.spooled, []);
});

for (const [what, env] of Object.entries<Json>({
  ATTEST_URL: { ATTEST_URL: "no url", ATTEST_API_KEY: "key" },
  ATTEST_API_KEY: { ATTEST_URL: "http://127.0.0.1:1", ATTEST_API_KEY: "sk-SECRET\nX" },
})) {
  test(`an invalid ${what} is a warning that does not show it, and flush is false`, async () => {
    const source = `${LOG} log(1); console.log(await flush({ timeout: 1_000 })); process.exit(0);`;
    const program = await run(source, { ...env, ATTEST_SPOOL: folder() });
    assert.deepEqual(program.output, ["false"]);
    assert.match(program.errors, new RegExp(`^attest: nothing is logged because ${what} [^\n]+\n$`));
    assert.doesNotMatch(program.errors, /no url|SECRET/);
  });
}

test("white space around the key and the URL is not sent", async () => {
  const keys: unknown[] = [];
  const url = await serve((trace, { headers }) => {
    keys.push(headers["x-api-key"]);
    return stored(trace);
  });
  const env = { ATTEST_URL: ` ${url}\n`, ATTEST_API_KEY: "key\n", ATTEST_SPOOL: folder() };
  assert.deepEqual((await run(`${LOG} log(1); console.log(await flush());`, env)).output, ["true"]);
  assert.deepEqual(keys, ["key"]);
});
