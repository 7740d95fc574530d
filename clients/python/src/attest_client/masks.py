"""Ready-made masks for personal data and keys, for the `mask` option.

    mask = masks.texts(masks.EMAIL, masks.CARD, masks.PHONE, masks.KEY)

`texts` changes every string of a trace, at any depth: messages and their `original`, tools, arguments and `log`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

Json = Any
Trace = dict[str, Any]
Mask = Callable[[Trace], Trace]


class Pattern(NamedTuple):
    """A regular expression and the replacement for its matches."""

    expression: re.Pattern[str]
    replacement: str
    is_meant: Callable[[str], bool] = bool
    """Decides whether to replace a match, because other text may look alike."""


def _is_card(text: str) -> bool:
    digits = [int(digit) for digit in text if digit.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _is_phone(text: str) -> bool:
    return 8 <= sum(character.isdecimal() for character in text) <= 15


EMAIL = Pattern(re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+"), "[email]")
CARD = Pattern(re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])"), "[card]", _is_card)
"""A card number: 13 to 19 digits with a correct check digit (ISO/IEC 7812)."""
PHONE = Pattern(re.compile(r"(?<![0-9A-Za-z])(?:\+|00)[1-9](?:[ ()./-]{0,2}[0-9]){7,13}(?![0-9])"), "[phone]", _is_phone)
"""An international phone number (E.164)."""
KEY = Pattern(
    re.compile(
        r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}"
        r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{30,}|xai-[A-Za-z0-9]{30,}"
        r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
    ),
    "[key]",
)
"""Keys of OpenAI, Anthropic, AWS, GitHub, Slack, Google, Hugging Face, Groq and xAI, and JSON Web Tokens."""

_KEPT = frozenset(("id", "model", "created", "api", "request_messages", "incomplete"))
"""Members that programs fill in. They contain no personal data, but an id may look like a card number."""


def texts(*patterns: Pattern) -> Mask:
    """Returns a mask that replaces what the patterns match in every string of a trace. Does not change member names."""

    def mask(trace: Trace) -> Trace:
        return {name: value if name in _KEPT else _replaced(value, patterns) for name, value in trace.items()}

    return mask


def all_of(*masks: Mask) -> Mask:
    """Returns a mask that applies the masks one after another."""

    def mask(trace: Trace) -> Trace:
        for change in masks:
            trace = change(trace)
        return trace

    return mask


def _replaced(value: Json, patterns: tuple[Pattern, ...]) -> Json:
    if isinstance(value, str):
        for expression, replacement, is_meant in patterns:
            value = expression.sub(lambda found: replacement if is_meant(found[0]) else found[0], value)  # noqa: B023
        return value
    if isinstance(value, dict):
        return {name: _replaced(inner, patterns) for name, inner in value.items()}
    return [_replaced(inner, patterns) for inner in value] if isinstance(value, list) else value
