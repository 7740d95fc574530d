/** Tests that a kill of the Python client never leaves both a trace that it holds for LiteLLM and the replacement. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { endpoint, run } from "./support.js";

const [PYTHON, HELD] = [process.env.PYTHON!, process.env.HELD!];

test("a kill of the Python client at any step leaves one of the two traces", async () => {
  const attest = await endpoint();
  const expected: number[][][] = [];
  for (let step = 1, isKilled = true; isKilled; step++) {
    const env = { ...process.env, ...attest.environment };
    const program = spawnSync(PYTHON, [HELD, `${step}`, `${10 * step}`], { env, encoding: "utf8" });
    isKilled = program.signal === "SIGKILL";
    assert.ok(isKilled || program.status === 0, program.stderr);
    const last = program.stdout.trim().split("\n").at(-1);
    expected[step] = last === "put" ? [[1]] : last === "held" ? [[0], [1]] : [[], [0]];
  }
  await run(`import { flush } from "attest-client"; if (!(await flush({ timeout: 60_000 }))) process.exit(1);`, attest.environment);
  const stored = expected.map((): number[] => []);
  for (const { created } of attest.traces()) stored[Math.floor(created / 10)]!.push(created % 10);
  const isExpected = (places: number[], step: number) => expected[step]!.some((either) => `${either}` === `${places}`);
  assert.ok(stored.every(isExpected), JSON.stringify(stored));
  assert.ok(stored.some((places) => places[0] === 0) && stored.some((places) => places[0] === 1), "both outcomes occur");
  assert.deepEqual(attest.spooled, [], "no trace was rejected, and no temporary file is left");
});
