"""The endpoint's answer to a stored trace.

Captive portals, login pages and other services answer 200 too. Only a receipt for what was sent confirms a trace.
"""

from __future__ import annotations

import urllib.parse

import simplejson


def confirms(status: int, content_type: str, body: bytes, trace_id: str) -> bool:
    """Returns whether an answer is the receipt for a trace (docs/api.md)."""
    if status not in (200, 201) or content_type.partition(";")[0].strip().lower() != "application/json":
        return False
    try:
        receipt = simplejson.loads(body)
        return isinstance(receipt, dict) and receipt.get("id") == trace_id and _fits(receipt, trace_id)
    except (ValueError, RecursionError):
        return False


def _fits(receipt: dict[str, object], trace_id: str) -> bool:
    """Returns whether the key is the one of this fingerprint and id."""
    key, fingerprint = receipt.get("key"), receipt.get("system_fingerprint")
    if not isinstance(key, str):
        return False
    folder, _, name = key.rpartition("/")
    decoded, decoded_folder = (urllib.parse.unquote(part, errors="strict") for part in (name, folder))
    return decoded == trace_id and bool(folder) and fingerprint in (None, decoded_folder)
