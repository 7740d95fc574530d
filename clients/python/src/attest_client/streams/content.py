"""Detects the first event of a stream that contains generated content."""

from __future__ import annotations

from attest_client.streams.merge import Json, Members, is_empty


def has_content(event: Members) -> bool:
    kind = event.get("type")
    if kind == "content_block_start":
        return _has_other(event.get("content_block"), "type")
    if kind == "content_block_delta":
        return _has_other(event.get("delta"), "type")
    if isinstance(kind, str) and kind.endswith(".delta"):
        return not is_empty(event.get("delta"))
    if isinstance(event.get("choices"), list):
        choices = [choice for choice in event["choices"] if isinstance(choice, dict)]
        return any(_has_other(choice.get(name), "role") for choice in choices for name in ("delta", "message"))
    # Some servers send the whole response as one event.
    whole = event["response"] if isinstance(event.get("response"), dict) else event
    return not is_empty(whole.get("output")) or (kind == "message" and not is_empty(event.get("content")))


def _has_other(part: Json, label: str) -> bool:
    """Returns whether a part of an event has a value besides its label."""
    return isinstance(part, dict) and any(name != label and not is_empty(value) for name, value in part.items())
