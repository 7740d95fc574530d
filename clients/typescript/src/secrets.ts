/** Masks the members of a call that are known to hold credentials. docs/mapping.md lists them. */

import { isObject, type Json, type JsonObject, set } from "./json.js";

const SECRET = "[secret]";

const VALUES = new Set([
  "authorization",
  "authorization_token",
  "access_token",
  "api_key",
  "azure_ad_token",
  "aws_secret_access_key",
  "aws_session_token",
  "aws_web_identity_token",
  "client_secret",
  "connection_string",
  "encoded_api_key",
  "vertex_credentials",
]);
/** Members in which every value is a credential or may contain one. */
const HOLDERS = new Set(["headers", "extra_headers", "default_headers", "requester_custom_headers", "authentication", "domain_secrets", "extra_query"]);
/** Members of a holder that describe a credential but do not contain it. */
const KEPT = new Set(["type", "domain", "name"]);
const URLS = new Set(["server_url", "api_base", "base_url", "azure_endpoint"]);
/** Members whose `url` is that of a server. */
const SERVERS = new Set(["mcp_servers", "tools"]);
/** Text by people and models. Nothing in it is masked, because text may merely look like a credential. */
const CONTENT = new Set(["messages", "choices", "input", "output", "content", "instructions", "system", "prompt"]);
/** JSON Schemas, whose member names are those of the application's own arguments. */
const SCHEMAS = new Set(["input_schema", "json_schema", "output_schema", "properties", "schema"]);
const PUBLIC = ["api-version"];

/** Masks the credentials in a trace. Copies only the values that contain any. */
export function withoutSecrets(trace: JsonObject): JsonObject {
  return masked("", trace, false) as JsonObject;
}

function masked(name: string, value: Json, isServer: boolean): Json {
  if (CONTENT.has(name) || SCHEMAS.has(name) || (name === "parameters" && isServer)) return value;
  if (VALUES.has(name) || HOLDERS.has(name)) return all(value);
  if (typeof value === "string") return URLS.has(name) || (name === "url" && isServer) ? withoutQuery(value) : value;
  const isInside = isServer || SERVERS.has(name);
  if (Array.isArray(value)) {
    const items = value.map((inner) => masked("", inner, isInside));
    return items.some((item, place) => item !== value[place]) ? items : value;
  }
  if (!isObject(value)) return value;
  let changed: JsonObject | undefined;
  for (const key of Object.keys(value)) {
    const inner = value[key]!;
    const made = masked(key, inner, isInside);
    if (made !== inner) set((changed ??= { ...value }), key, made);
  }
  return changed ?? value;
}

function all(value: Json): Json {
  if (Array.isArray(value)) return value.map(all);
  if (isObject(value)) return objectOf(Object.entries(value).map(([key, inner]) => [key, KEPT.has(key) && typeof inner === "string" ? inner : all(inner)]));
  return value === null || value === "" || typeof value === "boolean" ? value : SECRET;
}

function objectOf(entries: [string, Json][]): JsonObject {
  const result: JsonObject = {};
  for (const [name, value] of entries) set(result, name, value);
  return result;
}

/** Masks a URL's user, query values and fragment. */
function withoutQuery(whole: string): string {
  const [url, fragment] = parted(whole, "#");
  const [address, query] = parted(url, "?");
  const user = address.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)[^/?#]*@/, `$1${SECRET}@`);
  const parameters = query === undefined ? "" : `?${query.split("&").map(parameter).join("&")}`;
  return user + parameters + (fragment === undefined ? "" : `#${fragment && SECRET}`);
}

function parted(text: string, separator: string): [string, string | undefined] {
  const place = text.indexOf(separator);
  return place < 0 ? [text, undefined] : [text.slice(0, place), text.slice(place + 1)];
}

function parameter(text: string): string {
  const [name, value] = parted(text, "=");
  if (value === undefined) return name && SECRET;
  return PUBLIC.includes(name.toLowerCase()) || !value ? text : `${name}=${SECRET}`;
}
