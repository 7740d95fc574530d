"""Background responses of the Responses API, whose output a later request retrieves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_RETRIEVAL = re.compile(r"/responses/([^/]+)/?$")
_CANCELLATION = re.compile(r"/responses/([^/]+)/cancel/?$")
_PENDING = ("queued", "in_progress")
_MAX_REQUESTS = 1_000
"""The most requests kept until their responses are retrieved. The oldest is dropped first."""
_MAX_ANSWERS = 100_000
"""The most ids of logged responses that are remembered, so that a second retrieval logs nothing."""


class Background:
    """The requests of this process whose responses are pending. A response is logged once, however often it is retrieved."""

    def __init__(self) -> None:
        self._requests: dict[str, Mapping[str, Any]] = {}
        self._logged: dict[str, None] = {}

    def response_of(self, method: str, path: str) -> str | None:
        """Returns the id of the response that a request retrieves or cancels, unless that response is already logged."""
        pattern = _RETRIEVAL if method == "GET" else _CANCELLATION if method == "POST" else None
        found = pattern.search(path) if pattern else None
        return found[1] if found and found[1] not in self._logged else None

    def is_pending(self, request: Mapping[str, Any], response: Any) -> bool:
        """Returns whether the response is still pending. If so, keeps the request, because the retrieval does not repeat it."""
        if not isinstance(response, dict) or response.get("status") not in _PENDING or not isinstance(response.get("id"), str):
            return False
        self._requests[response["id"]] = request
        _forget(self._requests, _MAX_REQUESTS)
        return True

    def retrieved(self, response_id: str, response: Any) -> Mapping[str, Any] | None:
        """Returns the request of a retrieved response, or `None` if it is unfinished, already logged, or not a background response.

        The members of another process's request are unknown, so only `background` is returned.
        """
        if not isinstance(response, dict) or response.get("id") != response_id or response.get("status") in (None, *_PENDING):
            return None
        if response_id in self._logged or not (response_id in self._requests or response.get("background") is True):
            return None
        self._logged[response_id] = None
        _forget(self._logged, _MAX_ANSWERS)
        return self._requests.pop(response_id, {"background": True})


def _forget(entries: dict[str, Any], limit: int) -> None:
    while len(entries) > limit:
        entries.pop(next(iter(entries)), None)


BACKGROUND = Background()
