/**
 * Eight processes log traces. Each is killed with SIGKILL at a random time and replaced. The endpoint is killed five times.
 *
 * `KILL_TRACES` is the number of traces, 800 by default.
 */

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test } from "node:test";
import { endpoint, Program, run } from "./support.js";

const TRACES = Number(process.env.KILL_TRACES ?? 800);
const PROCESSES = 8;
const ENDPOINT_KILLS = 5;

/** Logs traces with increasing numbers, and prints each number after its call has returned. */
const PROGRAM = `import { writeSync } from "node:fs";
  import { logTrace } from "attest-client";
  for (let n = Number(process.env.FIRST); ; n++) {
    logTrace({ model: "m", messages: [{ role: "user", content: "x".repeat(1_000) }] }, { created: n });
    writeSync(1, n + "\\n");
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 10));
  }`;

test(`${TRACES} traces survive SIGKILL of their processes and of the endpoint, each stored once`, async (t) => {
  const attest = await endpoint();
  const logged = new Set<number>();
  let kills = 0;
  let block = 0;

  /** Runs processes, one after the other, until there are enough traces. */
  const slot = async () => {
    while (logged.size < TRACES) {
      // Numbers are not reused, because a trace may be stored although the process died before it printed the number.
      const first = 1_000_000 * ++block;
      const program = new Program(PROGRAM, { ...attest.environment, FIRST: String(first) });
      const last = String(first + randomInt(1, 200));
      let isOver = false;
      const enough = program.process.stdout!.on("data", () => {
        if (isOver || logged.size + program.output.length < TRACES) return;
        isOver = true;
        program.process.kill("SIGKILL");
      });
      await program.printed(last).catch((error) => assert.ok(isOver, error));
      await program.kill();
      enough.removeAllListeners("data");
      kills++;
      for (const line of program.output) logged.add(Number(line));
    }
  };

  let endpointKills = 0;
  const disturb = async () => {
    for (let place = 1; place <= ENDPOINT_KILLS; place++) {
      while (logged.size < (TRACES * place) / (ENDPOINT_KILLS + 1)) await new Promise((resolve) => setTimeout(resolve, 20));
      await attest.kill();
      endpointKills++;
      await new Promise((resolve) => setTimeout(resolve, randomInt(100, 1_000)));
      await attest.start();
    }
  };
  await Promise.all([disturb(), ...Array.from({ length: PROCESSES }, slot)]);

  const left = attest.waiting.length;
  const source = `import { flush, logTrace } from "attest-client";
    logTrace({ model: "m", messages: [] }, { created: 1 }); console.log(await flush({ timeout: 600_000 }));`;
  assert.deepEqual((await run(source, attest.environment)).output, ["true"]);
  const counts = new Map<number, number>();
  for (const { created } of attest.traces()) counts.set(created, (counts.get(created) ?? 0) + 1);
  assert.deepEqual([...logged].filter((n) => counts.get(n) !== 1), [], "every logged trace is stored once");
  assert.deepEqual([...counts.values()].filter((count) => count !== 1), [], "no trace is stored twice");
  assert.deepEqual(attest.spooled, []);
  t.diagnostic(`${logged.size} traces logged, ${counts.size - 1} stored, ${kills} processes and ${endpointKills} endpoints killed, ${left} lines adopted at the end`);
});
