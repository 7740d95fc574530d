/** Detects the first event of a stream that contains generated content. */

import { isEmpty, isObject, type Json, type JsonObject } from "../json.js";

export function hasContent(event: JsonObject): boolean {
  const { type, choices, response } = event;
  if (type === "content_block_start") return hasOther(event.content_block, "type");
  if (type === "content_block_delta") return hasOther(event.delta, "type");
  if (typeof type === "string" && type.endsWith(".delta")) return !isEmpty(event.delta);
  if (Array.isArray(choices)) return choices.filter(isObject).some(({ delta, message }) => hasOther(delta, "role") || hasOther(message, "role"));
  // Some servers send the whole response as one event.
  const whole = isObject(response) ? response : event;
  return !isEmpty(whole.output) || (type === "message" && !isEmpty(event.content));
}

/** Returns whether a part of an event has a value besides its label. */
function hasOther(part: Json | undefined, label: string): boolean {
  return isObject(part) && Object.entries(part).some(([name, value]) => name !== label && !isEmpty(value));
}
