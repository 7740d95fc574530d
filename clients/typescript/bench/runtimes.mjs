/**
 * Runs the package, and bundles of it, in each runtime that npm can install: versions of Node.js, Bun, and an edge runtime.
 *
 *     ATTEST=../../target/debug/attest node bench/runtimes.mjs FOLDER
 *
 * Each table cell is the outcome of a program that logs a call to the local endpoint: `yes` if the trace was stored, otherwise the first
 * line of the error. The exit status is 1 if any program fails. An edge runtime has neither files nor `node:http`, so the package must
 * fail there with that reason. The packages are installed into FOLDER.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { startEndpoint } from "./endpoint.mjs";

const NODES = ["20", "22", "24"];
const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const folder = resolve(process.argv[2]);
mkdirSync(folder, { recursive: true });

const run = (cwd, command, ...options) => execFileSync(command, options, { cwd, encoding: "utf8" }).trim();
const install = (cwd, ...packages) => run(cwd, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error", ...packages);
const bin = (name) => join(folder, "node_modules", ".bin", name);

const PROGRAM = `import { counters, flush, logTrace } from "attest-client";
logTrace({ model: "m", messages: [] }, { created: 1 });
flush().then((isWhole) => console.log(isWhole && counters().stored === 1 ? "yes" : "no"));
`;
writeFileSync(join(folder, "package.json"), '{"private": true}');
writeFileSync(join(folder, "program.mjs"), PROGRAM);
const tarball = join(folder, run(PACKAGE, "npm", "pack", "--silent", "--pack-destination", folder));
const bundlers = ["esbuild", "webpack", "webpack-cli", "rollup", "@rollup/plugin-node-resolve", "@rollup/plugin-commonjs", "@rollup/plugin-json"];
install(folder, tarball, ...bundlers, "bun", "edge-runtime");

/** The command that builds each bundle. */
const BUNDLES = {
  "esbuild.cjs": ["esbuild", "program.mjs", "--bundle", "--platform=node", "--format=cjs", "--log-level=error", "--outfile=esbuild.cjs"],
  "esbuild.mjs": ["esbuild", "program.mjs", "--bundle", "--platform=node", "--format=esm", "--log-level=error", "--outfile=esbuild.mjs"],
  "edge.js": ["esbuild", "program.mjs", "--bundle", "--conditions=edge-light", "--log-level=error", "--outfile=edge.js"],
  "webpack.cjs": ["webpack", "--mode=production", "--target=node20", "--entry=./program.mjs", "--output-path=.", "--output-filename=webpack.cjs"],
  "rollup.mjs": ["rollup", "program.mjs", "--file=rollup.mjs", "--format=es", "--silent", ...plugins()],
  "rollup.cjs": ["rollup", "program.mjs", "--file=rollup.cjs", "--format=cjs", "--silent", ...plugins()],
};
function plugins() {
  return ["--inlineDynamicImports", "--plugin=@rollup/plugin-node-resolve={preferBuiltins:true}", "--plugin=@rollup/plugin-commonjs", "--plugin=@rollup/plugin-json"];
}
for (const [name, [command, ...options]] of Object.entries(BUNDLES)) {
  const { status, stderr, stdout } = spawnSync(bin(command), options, { cwd: folder, encoding: "utf8" });
  if (status !== 0) console.error(`${name}: ${stderr}${stdout}`);
}

const RUNTIMES = {};
for (const version of NODES) {
  const place = join(folder, `node-${version}`);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, "package.json"), '{"private": true}');
  install(place, `node@${version}`);
  const command = join(place, "node_modules", "node", "bin", "node");
  RUNTIMES[`Node.js ${run(place, command, "--version").slice(1)}`] = [command];
}
RUNTIMES[`Bun ${run(folder, bin("bun"), "--version")}`] = [bin("bun"), "run"];

const endpoint = await startEndpoint(join(mkdtempSync(join(tmpdir(), "runtimes-")), "traces"));

/** Returns "yes", or the first line of the error. */
function outcome([command, ...options], file) {
  const spool = mkdtempSync(join(tmpdir(), "runtimes-"));
  const env = { ...process.env, ATTEST_URL: endpoint.url, ATTEST_API_KEY: "key", ATTEST_SPOOL: spool };
  const { stdout, stderr } = spawnSync(command, [...options, file], { cwd: folder, env, encoding: "utf8", timeout: 60_000 });
  if (stdout.trim() === "yes") return readdirSync(spool).length === 0 ? "yes" : "no: the spool is not empty";
  return `no: ${`${stderr}\n${stdout}`.split("\n").find((line) => /error|require|module|import/i.test(line))?.trim() ?? "no output"}`;
}

const files = ["program.mjs", ...Object.keys(BUNDLES).filter((name) => name !== "edge.js")];
let isGood = true;
console.log(`| runtime | ${files.join(" | ")} |\n|${"---|".repeat(files.length + 1)}`);
for (const [name, command] of Object.entries(RUNTIMES)) {
  const cells = files.map((file) => outcome(command, file));
  isGood &&= cells.every((cell) => cell === "yes");
  console.log(`| ${name} | ${cells.join(" | ")} |`);
}
const EDGE = `import { EdgeRuntime } from "edge-runtime"; import { readFileSync } from "node:fs";
  try { new EdgeRuntime().evaluate(readFileSync("edge.js", "utf8")); } catch (error) { console.log(error.message); }`;
const message = run(folder, process.execPath, "--input-type=module", "--eval", EDGE);
isGood &&= /no file system/.test(message);
console.log(`\nedge-runtime: ${message}`);
endpoint.child.kill();
process.exitCode = isGood ? 0 : 1;
