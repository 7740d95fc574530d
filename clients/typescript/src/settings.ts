/** Reads the endpoint, its API key and the spool folder from the environment. */

import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";

export interface Settings {
  url: string;
  apiKey: string;
  /** Returns the spool folder. Throws if neither `ATTEST_SPOOL` nor a home folder determines one. */
  spool: () => string;
}

/** A variable is missing or invalid. The message names the variable but never contains its value, which may be a key. */
export class NotConfigured extends Error {}

/** Validates the variables. Trims whitespace, such as a line break from a key file. Throws {@link NotConfigured}. */
export function readSettings(env = process.env): Settings {
  const value = (name: string) => (env[name] ?? "").trim();
  const [url, apiKey, spool] = [value("ATTEST_URL"), value("ATTEST_API_KEY"), value("ATTEST_SPOOL")];
  const missing = Object.entries({ ATTEST_URL: url, ATTEST_API_KEY: apiKey }).flatMap(([name, text]) => (text ? [] : [name]));
  if (missing.length > 0) throw new NotConfigured(`${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} not set`);
  if (!isHttp(url)) throw new NotConfigured("ATTEST_URL is not a URL with http or https");
  // A header can contain only these characters (RFC 9110, section 5.5).
  if (!/^[\x20-\x7e]+$/.test(apiKey)) throw new NotConfigured("ATTEST_API_KEY has characters that no key has");
  const folder = spool ? resolve(spool) : undefined; // the working directory may change
  return { url, apiKey, spool: () => folder ?? defaultFolder(url, env) };
}

/** Returns the default folder for an endpoint's traces. Two endpoints never share a default folder. */
function defaultFolder(url: string, env: NodeJS.ProcessEnv): string {
  // The XDG specification requires relative paths to be ignored.
  const state = env.XDG_STATE_HOME && isAbsolute(env.XDG_STATE_HOME) ? env.XDG_STATE_HOME : join(homedir(), ".local", "state");
  if (!isAbsolute(state)) throw new Error("the user has no home folder");
  return join(state, "attest", "spool", createHash("sha256").update(url).digest("hex").slice(0, 16));
}

function isHttp(url: string): boolean {
  try {
    return ["http:", "https:"].includes(new URL(url).protocol);
  } catch {
    return false;
  }
}

/** Returns whether a host is this machine. `host` comes from a `URL`, which normalizes addresses. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").replace(/\.$/, "").toLowerCase();
  if (name === "localhost" || name.endsWith(".localhost")) return true; // RFC 6761, section 6.3
  if (isIP(name) === 4) return name.startsWith("127.") || name === "0.0.0.0";
  // A `URL` writes IPv4-mapped addresses in 127.0.0.0/8 as ::ffff:7f00:0 to ::ffff:7fff:ffff.
  return isIP(name) === 6 && (name === "::1" || name === "::" || /^::ffff:7f[0-9a-f]{2}:/.test(name) || name === "::ffff:0:0");
}
