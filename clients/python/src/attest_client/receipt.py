"""The receipt with which the endpoint confirms a stored trace.

Captive portals, login pages and other services also respond with 200, so only a receipt for the sent trace confirms it.
"""

from __future__ import annotations

import urllib.parse

import simplejson


def confirms(status: int, content_type: str, body: bytes, trace_id: str) -> bool:
    """Returns whether a response is the receipt for a trace (docs/api.md)."""
    if status not in (200, 201) or content_type.partition(";")[0].strip().lower() != "application/json":
        return False
    try:
        receipt = simplejson.loads(body)
        return isinstance(receipt, dict) and receipt.get("id") == trace_id and _fits(receipt, trace_id)
    except (ValueError, RecursionError):
        return False


def _fits(receipt: dict[str, object], trace_id: str) -> bool:
    """Returns whether the receipt's key matches its fingerprint and the id."""
    key, fingerprint = receipt.get("key"), receipt.get("system_fingerprint")
    if not isinstance(key, str):
        return False
    folder, _, name = key.rpartition("/")
    decoded, decoded_folder = (urllib.parse.unquote(part, errors="strict") for part in (name, folder))
    return decoded == trace_id and bool(folder) and fingerprint in (None, decoded_folder)
