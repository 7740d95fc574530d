"""Merges the chunks of a stream by the rules of docs/mapping.md. No value is lost: one that cannot be merged is returned."""

from __future__ import annotations

from typing import Any, NamedTuple

from attest_client import values

Json = Any
Members = dict[str, Json]


class Rule(NamedTuple):
    """Defines how the strings and lists of a chunk continue the earlier ones."""

    texts: str
    """`append`: a piece. `extend`: the whole text so far, or a piece. `finish`: the whole text. `replace`: a value of its own."""
    lists: str
    """`append`: more elements. `extend`: the whole list so far, or more elements."""


PIECES = Rule("append", "append")
"""The members of a `delta`, which are pieces."""
WHOLE = Rule("extend", "extend")
"""A `message`, which some servers repeat as it grows."""
FINAL = Rule("finish", "extend")
CHOICE = Rule("replace", "append")
STATE = Rule("replace", "extend")
"""The members of a chunk. Some servers repeat their lists in each chunk."""

NOTHING: Json = object()
"""The remainder of a value that was merged completely. It is not `None`, because null is a JSON value."""

MAX_INDEX = 100_000
"""Greater indexes are rejected. No provider sends longer lists."""

_CONTENTS = ("content", "thinking")
_NAMES = frozenset(("id", "index", "type", "role", "format", "status"))
"""Members whose strings are never pieces of a text."""


def index_of(value: Json) -> int | None:
    """Returns a value that is a list index, or `None` for any other."""
    return value if type(value) is int and 0 <= value < MAX_INDEX else None


def is_empty(value: Json) -> bool:
    return value is None or value == "" or (isinstance(value, (list, dict)) and not value)


class _Text:
    """The pieces of a text, because Python copies a whole string whenever a dictionary member grows."""

    __slots__ = ("length", "pieces")

    def __init__(self, text: str):
        self.pieces, self.length = [text], len(text)

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)

    def __str__(self) -> str:
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0]


class Merger:
    """Merges chunks into objects, in time linear in their size."""

    def __init__(self) -> None:
        self.has_conflict = False
        """Whether two values of one member had contradictory types."""
        self._texts: dict[tuple[int, str], tuple[Members, str]] = {}
        """The members that hold a `_Text`."""
        self._places: dict[int, tuple[list[Json], dict[int | str, Members]]] = {}
        """The elements of each list by index and by id. The key is the identity of the list, which the value keeps alive."""

    def finish(self) -> None:
        """Joins the pieces of each text once, so that the work stays linear."""
        for holder, name in self._texts.values():
            if isinstance(text := holder.get(name), _Text):
                holder[name] = str(text)
        self._texts.clear()

    def merge(self, whole: Members, part: Members, rule: Rule) -> Json:
        """Merges the members of `part` into `whole`. Returns those that were replaced or have no place, or `NOTHING`."""
        lost = {}
        for name, value in part.items():
            if (rest := self.set(whole, name, value, rule)) is not NOTHING:
                lost[name] = rest
        return lost or NOTHING

    def set(self, whole: Members, name: str, value: Json, rule: Rule) -> Json:
        """Merges one member. Returns what was replaced or has no place, or `NOTHING`."""
        before = whole.get(name)
        if is_empty(value) and before is not None:
            return NOTHING
        if is_empty(before):
            whole[name] = value
            if isinstance(value, list):
                whole[name] = []
                return self._extend(whole[name], value, name, rule)
            return NOTHING
        if isinstance(before, list):
            return self._add_to_list(before, value, name, rule)
        if isinstance(before, dict) and isinstance(value, dict):
            if name == "usage":
                before.update({key: count for key, count in value.items() if count is not None or key not in before})
                return NOTHING
            return self.merge(before, value, rule)
        if isinstance(before, (str, _Text)) and isinstance(value, list):
            whole[name] = [_text_part(str(before))]
            return self._extend(whole[name], value, name, rule)
        is_piece = rule.texts != "replace" and name not in _NAMES
        if is_piece and isinstance(before, (str, _Text)) and isinstance(value, str):
            return self._add_text(whole, name, before, value, rule)
        if isinstance(before, dict) or isinstance(value, (dict, list)) or (is_piece and _are_texts_and_numbers(before, value)):
            self.has_conflict = True
            return value
        if name == "created" and _is_zero(value):
            return NOTHING
        whole[name] = value
        before = str(before) if isinstance(before, _Text) else before
        is_same = type(before) is type(value) and before == value
        return NOTHING if is_same or (name == "created" and _is_zero(before)) else before

    def _add_text(self, whole: Members, name: str, before: str | _Text, value: str, rule: Rule) -> Json:
        text = _Text(before) if isinstance(before, str) else before
        is_repeated = False
        # Texts are compared only if the new one is at least as long, so that the work stays linear.
        if rule.texts != "append":
            is_repeated = text.length <= len(value) and value.startswith(str(text))
        elif name == "name":
            is_repeated = text.length == len(value) and value == str(text)
        if is_repeated or rule.texts == "finish":
            whole[name] = value
            return NOTHING if is_repeated else str(text)
        text.add(value)
        whole[name] = text
        self._texts[id(whole), name] = whole, name
        return NOTHING

    def _add_to_list(self, before: list[Json], value: Json, name: str, rule: Rule) -> Json:
        if isinstance(value, str):
            value = [_text_part(value)]
        elif not isinstance(value, list):
            value = [value]
        elif rule.lists == "extend" and value[: len(before)] == before:
            value = value[len(before) :]
        return self._extend(before, value, name, rule)

    def _extend(self, whole: list[Json], added: list[Json], name: str, rule: Rule) -> Json:
        """Adds elements to a list, or merges them into those that they continue."""
        lost = []
        # A piece continues the last part. Parts that arrive together are separate.
        last = whole[-1] if whole and added and rule is PIECES and name in _CONTENTS and _is_piece(whole[-1], added[0]) else None
        for place, element in enumerate(added):
            same = self._continued(whole, element, name) if isinstance(element, dict) else None
            same = last if place == 0 and last is not None else same
            if same is None:
                whole.append(element)
            elif (rest := self.merge(same, element, rule)) is not NOTHING:
                lost.append(rest)
        return lost or NOTHING

    def _continued(self, whole: list[Json], part: Members, name: str) -> Members | None:
        """Returns the element that `part` continues, or `None` if it starts a new one."""
        _, places = self._places.setdefault(id(whole), (whole, {}))
        part_id = part["id"] if isinstance(part.get("id"), str) and part["id"] else None
        index = index_of(part.get("index"))
        if index is not None:
            same = places.get(index)
            if same is not None and part_id and same.get("id") and same["id"] != part_id:
                same = places.get(part_id)  # some servers send parallel calls with one index
            places[index] = part if same is None else same
        elif name == "tool_calls":  # some servers send calls without an index
            last = whole[-1] if whole and isinstance(whole[-1], dict) else None
            same = places.get(part_id) if part_id else last
        else:
            return None
        if part_id:
            places[part_id] = part if same is None else same
        return same


def _is_piece(last: Json, part: Json) -> bool:
    """Returns whether two content parts without an index are pieces of the same part."""
    if not isinstance(last, dict) or not isinstance(part, dict):
        return False
    kind = part.get("type")
    return kind in ("text", "thinking") and last.get("type") == kind and set(last) == set(part) == {"type", kind}


def _text_part(text: str) -> Members:
    return {"type": "text", "text": text}


def _are_texts_and_numbers(before: Json, value: Json) -> bool:
    return isinstance(before, (str, _Text)) != isinstance(value, str)


def _is_zero(value: Json) -> bool:
    return value == 0 if type(value) is int else isinstance(value, values.Number) and float(str(value)) == 0
