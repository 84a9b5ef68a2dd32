"""Takes phone numbers and secrets out of JSON that is to be shown to others.

Ids of calls and messages stay, for they tell what belongs together; those of the simulator are
random, unlike Meta's, in which there may be a phone number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

HIDDEN = "***"

_NUMBER_FIELDS = frozenset(
    {
        *("from", "to", "wa_id", "user_wa_id", "recipient", "recipient_id", "input"),
        *("phone", "phone_number", "display_phone_number", "business_phone"),
    }
)
"""Fields of Meta's JSON and of ours that hold a phone number, or what was given for one."""

_SECRET_FIELDS = frozenset(
    {
        *("authorization", "access_token", "input_token", "verify_token", "hub.verify_token"),
        *("hash", "sip_user_password"),
    }
)
"""Fields, in lower case, that hold nothing but a secret."""

_LEAST_DIGITS = 5
"""The shortest number that the simulator takes for one."""

_ENDS_SHOWN_FROM = 9
"""Digits of the shortest number whose ends tell little about the rest."""

_START = r"(?:(?<![0-9])|(?<=%[0-9A-Fa-f]{2}))"
_GAP = r"(?:\(0\)|%[0-9A-Fa-f]{2}|\W){0,4}"
"""What people and addresses have between digits of a number, be it the zero of calls at home."""

_LIKE_A_NUMBER = re.compile(r"[\W0-9]+")

_VALUE = r"""(?:\\/|[^\s"'\\])+"""
"""A secret up to where it ends; JSON inside of JSON may write its slashes with a backslash."""

_PATTERNS = (
    re.compile(rf"(?i:(\bBearer\s+)){_VALUE}"),
    re.compile(rf"(\bsha256=){_VALUE}"),
    re.compile(rf"(\bice-pwd:){_VALUE}"),
    re.compile(rf"(\binline:){_VALUE}"),
    re.compile(r"""(\bhash=)[^\s"'\\&#]+"""),
    re.compile(r"((?<![\w./+]))EA[A-Za-z0-9]{20,}"),
)
"""What is secret by its form: after a bearer's "Bearer", signatures of webhooks, ICE passwords and
SRTP keys of an SDP, the key in a download address, and Meta's access tokens."""


class Mask:
    """Masks the phone numbers and the secrets that occur in some JSON, wherever they stand in it.

    A number keeps its ends, as with `User.__str__`, a secret nothing.

    Args:
        known: JSON in which numbers stand in the fields for them; "from" and so on.
        secrets: What nobody else may know; empty ones mask nothing.
    """

    def __init__(self, known: object, secrets: Iterable[str]) -> None:
        # A long one may begin with a short one.
        numbers = sorted(set(_numbers_in(known)), key=len, reverse=True)
        self._numbers = [(_spelt(number), _ends(number)) for number in numbers]
        self._secret = _any_of(spelling for secret in secrets for spelling in _spellings(secret))

    def text(self, text: str) -> str:
        """A text without them."""
        text = self._secret.sub(HIDDEN, text)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\1{HIDDEN}", text)
        for pattern, ends in self._numbers:
            text = pattern.sub(ends, text)
        return text

    def json(self, value: Any) -> Any:
        """A JSON value without them, be it in the names of its fields."""
        match value:
            case dict():
                return {self.text(name): self._field(name, one) for name, one in value.items()}
            case list():
                return [self.json(one) for one in value]
            case str():
                return self.text(value)
            case int() | float() if value % 1 == 0:
                shown = self.text(str(int(value)))
                return value if shown == str(int(value)) else shown
        return value

    def _field(self, name: str, value: Any) -> Any:
        is_secret = name.lower() in _SECRET_FIELDS and isinstance(value, str)
        return HIDDEN if is_secret else self.json(value)


def _numbers_in(value: object, field: str = "") -> Iterator[str]:
    """The phone numbers, in digits, in the fields of a JSON value that are there for them."""
    match value:
        case dict():
            for name, one in value.items():
                yield from _numbers_in(one, name)
        case list():
            for one in value:
                yield from _numbers_in(one, field)
        case str() | int() if field in _NUMBER_FIELDS and _LIKE_A_NUMBER.fullmatch(str(value)):
            digits = _digits(str(value))
            if len(digits) >= _LEAST_DIGITS:
                yield digits


def _digits(spelt: str) -> str:
    return re.sub(r"[^0-9]", "", spelt.replace("(0)", "")).removeprefix("00")


def _ends(number: str) -> str:
    return f"{number[:2]}…{number[-2:]}" if len(number) >= _ENDS_SHOWN_FROM else "…"


def _spelt(number: str) -> re.Pattern[str]:
    """A number in all usual spellings, where it is no part of a longer row of digits."""
    return re.compile(rf"{_START}(?:00{_GAP})?{_GAP.join(number)}(?![0-9])")


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it stands in a text, in JSON, in JSON as Meta writes it, and in an address."""
    in_json = json.dumps(secret)[1:-1]
    yield from (secret, in_json, in_json.replace("/", "\\/"), quote(secret, safe=""))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted({text for text in texts if text}, key=len, reverse=True)
    # Of nothing, a pattern that matches nowhere.
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
