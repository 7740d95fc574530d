/** The local endpoint for the benchmarks. */

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";

/** Starts `attest serve` with a folder, and returns its process and its address. Its API key is `key`. */
export async function startEndpoint(folder, port = "0") {
  const options = ["serve", "--port", port, "--s3-port", "0", "--folder", folder];
  const child = spawn(process.env.ATTEST, options, { env: { ...process.env, ATTEST_API_KEY: "key" }, stdio: ["ignore", "pipe", "ignore"] });
  for await (const line of createInterface(child.stdout)) {
    const url = /^Listening on (\S+?)\.? /.exec(line)?.[1];
    if (!url) continue;
    child.stdout.resume();
    return { child, url };
  }
  throw new Error("the endpoint did not start");
}

/** Returns the traces that the endpoint has stored in a folder. Skips its own files and folders, whose names start with `~`. */
export function storedTraces(folder) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  const paths = files.map((file) => join(file.parentPath, file.name));
  const isTrace = (path) => !relative(folder, path).split("/").some((name) => name.startsWith("~"));
  return paths.filter(isTrace).map((path) => JSON.parse(readFileSync(path, "utf8")));
}
