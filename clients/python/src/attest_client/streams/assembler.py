from __future__ import annotations

import abc

from attest_client.streams.merge import NOTHING, Json, Members, Merger, Rule, is_empty


class Assembler(abc.ABC):
    """Assembles the received part of a response."""

    def __init__(self) -> None:
        self.response: Members = {}
        """The response so far. It is empty before the first event."""
        self.is_complete = False
        """Whether the last event of the stream arrived."""
        self.error: Json = None
        """The error that the provider sent instead of the rest."""
        self.unmerged: list[Json] = []
        """Values that a later one replaced, and events without a place in the response."""
        self.is_contradictory = False
        """Whether an event has no place in the response, or values of one member have contradictory types."""
        self.merger = Merger()

    @abc.abstractmethod
    def add(self, event: Members) -> None: ...

    def finish(self) -> None:
        """Completes `response` after the last event."""
        self.merger.finish()
        self.is_contradictory |= self.merger.has_conflict

    def incomplete(self, reason: str = "ended") -> str | None:
        """Returns the reason why the response is incomplete, if it is.

        `reason` applies if the last event is missing, or if it is `truncated`.
        """
        if self.error is not None:
            return "error"
        if reason == "truncated" or not self.is_complete:
            return reason
        return "unmerged" if self.is_contradictory else None

    def keep(self, event: Json) -> None:
        """Keeps an event, or a part of one, that has no place in the response."""
        if not is_empty(event):
            self.unmerged.append(event)
            self.is_contradictory = True

    def merge(self, whole: Members, part: Members, rule: Rule) -> Json:
        """Merges a part of an event into `whole`. Appends replaced values to `unmerged`."""
        rest = self.merger.merge(whole, part, rule)
        if rest is not NOTHING:
            self.unmerged.append(rest)

    def fail(self, error: Json) -> None:
        if self.error is None:
            self.error = error
        else:
            self.unmerged.append({"error": error})
