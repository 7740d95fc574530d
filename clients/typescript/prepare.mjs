/**
 * Builds `dist` when npm installs this folder, packs it, or clones it.
 *
 * npm runs `prepare` but does not install the dependencies of a folder that it links (`npm install ../clients/typescript`) or packs
 * (`--install-links`), so this script installs them first if they are missing.
 */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const cwd = fileURLToPath(new URL(".", import.meta.url));
// The options of the outer command, such as --global or --install-links, are not meant for this folder.
const kept = /^npm_config_(cache|registry|userconfig|globalconfig|proxy|https_proxy|noproxy|cafile|offline|prefer_offline)$/;
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) || kept.test(name.toLowerCase())));
const npm = process.env.npm_execpath;

/** Runs a command. Its output goes to standard error, because `npm pack` prints the tarball's name on standard output. */
function run(command, ...options) {
  execFileSync(command, options, { cwd, env, stdio: ["ignore", 2, 2] });
}

if (!existsSync(new URL("node_modules/.bin/tsc", import.meta.url))) {
  const install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  if (npm) run(process.execPath, npm, ...install);
  else run("npm", ...install);
}
if (npm) run(process.execPath, npm, "run", "--silent", "build");
else run("npm", "run", "--silent", "build");
