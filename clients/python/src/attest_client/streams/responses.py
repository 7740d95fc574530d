"""Assembles the events of the Responses API. The last event contains the whole response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from attest_client.streams.assembler import Assembler
from attest_client.streams.merge import FINAL, PIECES, STATE, Json, Members, index_of, is_empty


class _Place(NamedTuple):
    """The location of a text: in an item itself, or in a part from one of the item's lists."""

    item: str
    """The type of the item if no earlier event has added it."""
    member: str
    parts: str = ""
    index_member: str = ""
    """The event member with the index into the list."""


_TEXTS = {
    "response.output_text": _Place("message", "text", "content", "content_index"),
    "response.refusal": _Place("message", "refusal", "content", "content_index"),
    "response.reasoning_text": _Place("reasoning", "text", "content", "content_index"),
    "response.reasoning_summary_text": _Place("reasoning", "text", "summary", "summary_index"),
    "response.function_call_arguments": _Place("function_call", "arguments"),
    "response.mcp_call_arguments": _Place("mcp_call", "arguments"),
    "response.custom_tool_call_input": _Place("custom_tool_call", "input"),
    "response.code_interpreter_call_code": _Place("code_interpreter_call", "code"),
}
_PARTS = {
    "response.content_part": _Place("message", "part", "content", "content_index"),
    "response.reasoning_summary_part": _Place("reasoning", "part", "summary", "summary_index"),
}
_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_PLACES = frozenset(
    ("type", "sequence_number", "item_id", "output_index", "content_index", "summary_index", "annotation_index", "obfuscation")
)
"""Members that state where an event belongs. `obfuscation` is random padding."""
_MEMBERS = frozenset(place.member for place in _TEXTS.values() if not place.parts)
_PREVIEW = "response.image_generation_call.partial_image"


class Responses(Assembler):
    def __init__(self) -> None:
        super().__init__()
        self._items: list[tuple[int, Members]] = []
        self._current: dict[int | str, Members] = {}
        """The last item with each index and each id, because a delta may refer to either."""
        self._next = 0
        self._previews: dict[int, Members] = {}
        """The last preview of each image, by the identity of its item."""
        self._parts: dict[int, tuple[list[Json], dict[int, Members]]] = {}
        """Each list's parts by the provider's index. The key is the identity of the list, which the value keeps alive."""

    def add(self, event: Members) -> None:
        kind = event["type"] if isinstance(event.get("type"), str) else ""
        prefix, _, end = kind.rpartition(".")
        rest = dict(event)
        if isinstance(event.get("response"), dict):
            self._add_response(kind, rest.pop("response"))
        elif event.get("object") == "response":  # some servers send the whole response as one event
            self._add_response("response.completed", event)
            return
        elif kind == "error" or rest.get("error") is not None:
            self.fail({name: value for name, value in event.items() if name not in ("type", "sequence_number")})
            return
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._add_item(event, rest.pop("item", None))
        elif prefix in _PARTS and end in ("added", "done"):
            self._add_part(_PARTS[prefix], event, rest.pop("part", None))
        elif kind == "response.output_text.annotation.added" and rest.get("annotation") is not None:
            self._add_annotation(event, rest.pop("annotation"))
        elif prefix in _TEXTS and end in ("delta", "done"):
            place = _TEXTS[prefix]
            if isinstance(text := rest.get("delta" if end == "delta" else place.member), str):
                self._add_text(place, prefix, event, text)
                rest = {}
        elif kind == _PREVIEW:  # the finished item has the whole image
            preview = {name: value for name, value in event.items() if name not in _PLACES}
            self._previews[id(self._item(event, "image_generation_call"))] = preview
            rest = {}
        if any(not is_empty(value) and name not in _PLACES for name, value in rest.items()):
            self.keep(rest)

    def _add_response(self, kind: str, response: Members) -> None:
        if self.is_complete:
            self.keep({"response": response})
            return
        self.response |= {name: value for name, value in response.items() if value is not None or name not in self.response}
        self.is_complete = kind in _ENDS
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) and not self.is_complete else []):
            self._add_item({"output_index": index}, item)

    def _add_item(self, event: Members, item: Json) -> None:
        if not isinstance(item, dict):
            self.keep(item)
            return
        before = self._find(event, item)
        if before is None:
            self._register(event, item)
            return
        before["status"] = item.get("status") or before.get("status")
        if before["status"] is None:
            del before["status"]
        for name, value in item.items():
            if name in ("content", "summary") and isinstance(value, list) and not is_empty(before.get(name)):
                for place, part in enumerate(value):
                    self._put_part(before, name, place, part)
            elif name in ("content", "summary"):
                if is_empty(before.get(name)):
                    before[name] = value
                elif not is_empty(value):
                    self.keep({"output": [{name: value}]})
            elif name != "status":
                # A text that the finished item lacks may have arrived in deltas.
                self.merge(before, {name: value}, FINAL if name in _MEMBERS else STATE)

    def _find(self, event: Members, item: Members) -> Members | None:
        index, item_id = index_of(event.get("output_index")), item.get("id")
        same = self._current.get(index) if index is not None else None
        if isinstance(item_id, str) and item_id:
            if same is None or (same.get("id") and same["id"] != item_id):
                return self._current.get(item_id)
        return same

    def _register(self, event: Members, item: Members) -> None:
        index = index_of(event.get("output_index"))
        index = self._next if index is None else index
        self._next = max(self._next, index + 1)
        self._items.append((index, item))
        self._current[index] = item
        if isinstance(item.get("id"), str) and item["id"]:
            self._current[item["id"]] = item

    def _item(self, event: Members, kind: str) -> Members:
        """Returns the item of a delta. Creates one if the event that adds it is missing."""
        index, item_id = index_of(event.get("output_index")), event.get("item_id")
        item = self._current.get(index) if index is not None else None
        if item is None and isinstance(item_id, str):
            item = self._current.get(item_id)
        if item is None and event.get("output_index") is None and self._items and self._items[-1][1].get("type") == kind:
            item = self._items[-1][1]
        if item is None:
            item = {"type": kind} | ({"id": item_id} if isinstance(item_id, str) and item_id else {})
            item |= {"role": "assistant"} if kind == "message" else {}
            self._register(event, item)
        return item

    def _add_part(self, place: _Place, event: Members, part: Json) -> None:
        if isinstance(part, dict):
            self._put_part(self._item(event, place.item), place.parts, event.get(place.index_member), part)
        else:
            self.keep(part)

    def _put_part(self, item: Members, name: str, index: Json, part: Json) -> None:
        before = self._part(item, name, index)
        if before is None or not isinstance(part, dict):
            elements = _elements(item, name)
            if not elements or elements[-1] != part:
                elements.append(part)
                if isinstance(part, dict):
                    self._number(elements, index, part)
            return
        for member, value in part.items():
            if member in ("text", "refusal"):
                self.merge(before, {member: value}, FINAL)
            else:
                self.merge(before, {member: value}, STATE)

    def _part(self, item: Members, name: str, index: Json) -> Members | None:
        """Returns a part by its index, or the last one for an event without an index."""
        elements = _elements(item, name)
        parts, place = self._parts_of(elements), index_of(index)
        if place is not None:
            return parts.get(place)
        return elements[-1] if index is None and elements and isinstance(elements[-1], dict) else None

    def _parts_of(self, elements: list[Json]) -> dict[int, Members]:
        if id(elements) not in self._parts:
            self._parts[id(elements)] = elements, {place: part for place, part in enumerate(elements) if isinstance(part, dict)}
        return self._parts[id(elements)][1]

    def _number(self, elements: list[Json], index: Json, part: Members) -> None:
        """Records the provider's index of an appended part."""
        place = index_of(index)
        self._parts_of(elements)[len(elements) - 1 if place is None else place] = part

    def _holder(self, place: _Place, prefix: str, event: Members) -> Members:
        """Returns the object that contains a text: the item, or one of its parts, which is created if necessary."""
        item = self._item(event, place.item)
        if not place.parts:
            return item
        index = event.get(place.index_member)
        part = self._part(item, place.parts, index)
        if part is None or (index is None and place.member not in part):
            part = {"type": prefix.partition(".")[2].replace("reasoning_summary_text", "summary_text"), place.member: ""}
            elements = _elements(item, place.parts)
            elements.append(part)
            self._number(elements, index, part)
        return part

    def _add_text(self, place: _Place, prefix: str, event: Members, text: str) -> None:
        holder = self._holder(place, prefix, event)
        is_delta = "delta" in event
        self.merge(holder, {place.member: text}, PIECES if is_delta else FINAL)
        if is_delta and isinstance(logprobs := event.get("logprobs"), list) and logprobs:
            self.merge(holder, {"logprobs": logprobs}, PIECES)

    def _add_annotation(self, event: Members, annotation: Json) -> None:
        annotations = _elements(self._holder(_TEXTS["response.output_text"], "response.output_text", event), "annotations")
        place = index_of(event.get("annotation_index"))
        if place is None or place >= len(annotations) or annotations[place] != annotation:
            annotations.append(annotation)

    def finish(self) -> None:
        super().finish()
        output = self.response.get("output")
        if not (self.is_complete and isinstance(output, list) and output):  # some servers leave it empty
            for _, item in self._items:
                if not item.get("result"):
                    self.merge(item, self._previews.get(id(item), {}), STATE)
            if self._items:
                self.response["output"] = [item for _, item in sorted(self._items, key=lambda placed: placed[0])]
            return
        self.is_contradictory = False
        texts = set(_strings(output))
        for _, item in self._items:
            if any(text not in texts for text in _texts(item)):
                self.unmerged.append({"output": [item]})


def _elements(members: Members, name: str) -> list[Json]:
    """Returns the list in a member of the object, and creates it if necessary."""
    if not isinstance(members.get(name), list):
        before = members.get(name)
        members[name] = [] if is_empty(before) else [{"type": "output_text", "text": before}]
    elements: list[Json] = members[name]
    return elements


def _texts(item: Members) -> Iterator[str]:
    """Yields the id of an item and the texts that may have arrived in deltas."""
    for name in ("id", *_MEMBERS):
        if isinstance(item.get(name), str) and item[name]:
            yield item[name]
    for name in ("content", "summary"):
        for part in item[name] if isinstance(item.get(name), list) else []:
            for member in ("text", "refusal"):
                if isinstance(part, dict) and isinstance(part.get(member), str) and part[member]:
                    yield part[member]


def _strings(value: Json) -> Iterator[str]:
    """Yields every string in a value."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        else:
            pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
