"""Assembles Chat Completions chunks."""

from __future__ import annotations

from attest_client.streams.assembler import Assembler
from attest_client.streams.merge import CHOICE, NOTHING, PIECES, STATE, WHOLE, Json, Members, Rule, index_of, is_empty


class Chat(Assembler):
    def __init__(self) -> None:
        super().__init__()
        self._is_started = False
        self._choices: dict[int, Members] = {}

    def add(self, chunk: Members) -> None:
        if chunk.get("error") is not None:
            self.fail(chunk.pop("error"))
            if not chunk:
                return
        self._is_started = True
        chunk.pop("obfuscation", None)  # random padding
        choices = chunk.pop("choices", None)
        lost = self.merger.merge(self.response, chunk, STATE)
        if isinstance(choices, list):
            for place, choice in enumerate(choices):
                self._add_choice(choice, place)
        else:
            self.keep(None if is_empty(choices) else {"choices": choices})
        if lost is not NOTHING:
            self.unmerged.append(lost)

    def _add_choice(self, choice: Json, place: int) -> None:
        if not isinstance(choice, dict):
            self.keep(None if is_empty(choice) else {"choices": [choice]})
            return
        index = index_of(choice.get("index"))
        if index is None:
            index = place
            if choice.get("index") is not None:
                self.keep({"choices": [{"index": choice["index"]}]})
        choice.pop("index", None)
        whole = self._choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
        lost = {}
        for name, rule in (("delta", PIECES), ("message", WHOLE)):
            part = choice.pop(name, None)
            if isinstance(part, dict):
                rest = self._add_message(whole["message"], part, rule)
                if rest is not NOTHING:
                    lost[name] = rest
            elif part:
                self.merger.has_conflict = True
                lost[name] = part
        rest = self.merger.merge(whole, choice, CHOICE)
        lost |= {} if rest is NOTHING else rest
        if lost:
            self.unmerged.append({"choices": [{"index": index, **lost}]})

    def _add_message(self, message: Members, part: Members, rule: Rule) -> Json:
        calls = part.pop("tool_calls", None)
        rest = self.merger.merge(message, part, rule)
        if calls is None or (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
            more = NOTHING if calls is None else self.merger.set(message, "tool_calls", calls, rule)
        else:
            self.merger.has_conflict = bool(calls) or self.merger.has_conflict
            more = calls or NOTHING
        return rest if more is NOTHING else {**({} if rest is NOTHING else rest), "tool_calls": more}

    def finish(self) -> None:
        super().finish()
        if not self._is_started:
            return
        choices = [self._choices[index] for index in sorted(self._choices)]
        # Some servers do not send `[DONE]`, and some applications stop reading before it.
        self.is_complete = bool(choices) and all(choice["finish_reason"] for choice in choices)
        usage = {"usage": self.response.pop("usage")} if "usage" in self.response else {}
        self.response["object"] = "chat.completion"
        self.response |= {"choices": [_whole_choice(choice) for choice in choices], **usage}


def _whole_choice(choice: Members) -> Members:
    """Gives a choice the members that it would have without streaming."""
    choice = dict(choice)
    message = choice.pop("message")
    whole: Members = {"role": message.pop("role", None) or "assistant", "content": message.pop("content", None)}
    whole |= {name: message.pop(name) for name in ("refusal", "tool_calls") if name in message}
    if calls := whole.get("tool_calls"):
        calls.sort(key=lambda call: index_of(call.get("index")) or 0)
        whole["tool_calls"] = [{name: value for name, value in call.items() if name != "index"} for call in calls]
    logprobs = {"logprobs": choice.pop("logprobs")} if "logprobs" in choice else {}
    first = {"index": choice.pop("index"), "message": whole | message, **logprobs}
    return {**first, "finish_reason": choice.pop("finish_reason"), **choice}
