/**
 * The receipt with which the endpoint confirms a stored trace.
 *
 * Captive portals, login pages and other services also respond with 200, so only a receipt for the sent trace confirms it.
 */

import { isObject, type JsonObject, parse } from "./json.js";

/** Returns whether a response is the receipt for a trace (docs/api.md). */
export function confirms(status: number, contentType: string | undefined, body: string, id: string): boolean {
  if (status !== 200 && status !== 201) return false;
  if (contentType?.split(";")[0]!.trim().toLowerCase() !== "application/json") return false;
  try {
    const receipt = parse(body);
    return isObject(receipt) && receipt.id === id && fits(receipt, id);
  } catch {
    return false;
  }
}

/** Returns whether the receipt's key matches its fingerprint and the id. */
function fits({ key, system_fingerprint: fingerprint }: JsonObject, id: string): boolean {
  if (typeof key !== "string") return false;
  const slash = key.lastIndexOf("/");
  if (slash <= 0 || decodeURIComponent(key.slice(slash + 1)) !== id) return false;
  return fingerprint === undefined || fingerprint === decodeURIComponent(key.slice(0, slash));
}
