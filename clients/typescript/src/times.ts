/** Converts providers' times to whole seconds since 1970. */

import { type Json, LosslessNumber } from "./json.js";

const RFC_3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))?$/;

/**
 * Returns the whole seconds of a number, a numeric string or an RFC 3339 string, or `undefined` for any other value. A time without
 * an offset is in UTC.
 */
export function seconds(value: Json | undefined): number | LosslessNumber | undefined {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value || 0; // `|| 0` turns -0 into 0
  if (typeof value === "number" || value instanceof LosslessNumber) value = String(value);
  if (typeof value !== "string") return undefined;
  if (/^-?[0-9]{1,19}$/.test(value)) {
    const digits = BigInt(value).toString();
    if (BigInt.asIntN(64, BigInt(digits)).toString() !== digits) return undefined; // the endpoint accepts 64 bits
    return String(Number(digits)) === digits ? Number(digits) : new LosslessNumber(digits);
  }
  if (/^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(value)) {
    const number = Number(value);
    return Math.abs(number) < 2 ** 53 ? Math.floor(number) || 0 : undefined;
  }
  const parts = RFC_3339.exec(value);
  return parts ? moment(parts) : undefined;
}

function moment([, date, time, sign, hours = "00", minutes = "00"]: RegExpExecArray): number | undefined {
  const local = `${date}T${time}`;
  const milliseconds = Date.parse(`${local}Z`);
  // `Date` parses 30 February as 2 March.
  if (Number.isNaN(milliseconds) || !new Date(milliseconds).toISOString().startsWith(local) || date!.startsWith("0000")) return undefined;
  if (Number(hours) > 23 || Number(minutes) > 59) return undefined;
  const offset = (Number(hours) * 60 + Number(minutes)) * 60;
  return milliseconds / 1_000 - (sign === "-" ? -offset : offset);
}
