/**
 * Compares the trace of every stream prefix with the Python client's trace, byte for byte. `PYTHON` is an interpreter with the package
 * `attest-client`, and `PREFIXES` is the path of that client's `prefixes.py`.
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Api, assemble, print, toTrace } from "attest-client/mapping";

const { PYTHON, PREFIXES, RECORDED_STREAMS } = process.env;
const STREAMS = process.env.STREAMS ?? fileURLToPath(new URL("../../streams/", import.meta.url));
const folders = [STREAMS, join(STREAMS, "servers"), join(STREAMS, "hostile"), ...(RECORDED_STREAMS ? [RECORDED_STREAMS] : [])];

for (const folder of folders) {
  const paths = readdirSync(folder).filter((name) => /^(openai|anthropic).*\.(sse|txt)$/.test(name)).map((name) => join(folder, name));
  assert.ok(paths.length > 0, `${folder} contains no streams`);

  test(`every prefix of the streams in ${basename(folder)} has the trace of the Python client`, { skip: PYTHON && PREFIXES ? false : "PYTHON is not set" }, async () => {
    const options = { maxBuffer: 2 ** 30, encoding: "utf8" } as const;
    const theirs = promisify(execFile)(PYTHON!, [PREFIXES!, ...paths], options);
    const ours = paths.flatMap(traces);
    const expected = (await theirs).stdout.trimEnd().split("\n");
    for (const [place, line] of ours.entries()) assert.equal(line, expected[place]);
    assert.equal(ours.length, expected.length);
  });
}

/** Returns the trace of each prefix of a file, unless it equals that of the previous prefix. */
function traces(path: string): string[] {
  const api = basename(path).split(".")[0] as Api;
  const body = readFileSync(path);
  const lines: string[] = [];
  let last = "";
  for (let end = 0; end <= body.length; end++) {
    const { response, incomplete, error, unmerged } = assemble(api, new TextDecoder().decode(body.subarray(0, end)));
    const request = { model: "requested", messages: [{ role: "user", content: "a" }] };
    const trace = print(toTrace({ api, request, response, created: 1, incomplete: incomplete === "ended" ? "broken" : incomplete, error, unmerged }));
    if (trace !== last) lines.push(`${basename(path)} ${end} ${trace}`);
    last = trace;
  }
  return lines;
}
