"""Careful reads of JSON that somebody else wrote.

Every reader gives None (or something empty) instead of raising, and bounds what it gives. Only
`identifier` insists: without the id of a call or message there is nothing to tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipecat_whatsapp.meta.events import MetaErrorInfo, Raw, Restriction, UnknownEvent

MAX_ID_CHARS = 512
MAX_INTEGER = 10**15
MAX_ERRORS = 32
LAST_SECOND = 253_402_128_000
"""Unix time at the end of the year 9999, beyond which there is no `datetime`."""

_NAME = re.compile(r"[A-Za-z][\w.-]{0,63}", re.ASCII)
_PHONE = re.compile(r"[0-9]{1,20}")
_PHONE_DECORATION = str.maketrans("", "", "+ -().")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class UnreadableError(ValueError):
    """A part of a webhook cannot be read; the message is the reason, without user data."""


def bounded_int(digits: str) -> int | None:
    """Read a JSON integer; None for one that is absurdly long, which `int` may refuse."""
    return int(digits) if len(digits) <= 20 else None


def as_object(value: Any) -> Raw:
    """The value itself when it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def child(obj: Any, key: str) -> Raw:
    """The object under a key, or an empty one."""
    return as_object(as_object(obj).get(key))


def items(obj: Raw, key: str) -> list[Any]:
    """The list under a key. What should be a list but is not counts as its only item."""
    value = obj.get(key)
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def text(obj: Any, key: str, limit: int = MAX_ID_CHARS) -> str | None:
    """A string of at most `limit` characters; what is beyond is cut off."""
    value = as_object(obj).get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        return None
    # JSON can smuggle in half a character, on which every later encode() would fail.
    return _SURROGATE.sub("\ufffd", value[:limit])


def token(obj: Any, key: str, limit: int = MAX_ID_CHARS) -> str | None:
    """A string that means nothing once it is cut: None when it is overlong or unprintable."""
    value = text(obj, key, limit + 1)
    return value if value and len(value) <= limit and value.isprintable() else None


def identifier(obj: Raw, key: str = "id") -> str:
    """The id of a call or a message.

    Raises:
        UnreadableError: There is none, or it cannot be one.
    """
    value = obj.get(key)
    if not isinstance(value, str) or not value:
        raise UnreadableError("the id is missing")
    if len(value) > MAX_ID_CHARS:
        raise UnreadableError(f"the id is longer than {MAX_ID_CHARS} characters")
    if not value.isprintable():
        raise UnreadableError("the id has unprintable characters")
    return value


def name_of(obj: Any, key: str) -> str | None:
    """A name out of Meta's own vocabulary, such as a field, an event or a type."""
    values = items(as_object(obj), key)
    value = values[0] if values else None
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def phone(obj: Any, key: str) -> str | None:
    """A phone number in digits."""
    value = (text(obj, key) or "").translate(_PHONE_DECORATION)
    return value if _PHONE.fullmatch(value) else None


def integer(obj: Any, key: str) -> int | None:
    """A whole number that is not negative, also one that came as a string."""
    value = as_object(obj).get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = bounded_int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < MAX_INTEGER else None


def timestamp(obj: Any, key: str) -> int | None:
    """A time in Unix seconds, also one that came in milliseconds."""
    value = integer(obj, key)
    if value is not None and value > LAST_SECOND:
        value //= 1000
    return value if value is None or value <= LAST_SECOND else None


def unknown(
    kind: str, raw: Any, reason: str = "", phone_number_id: str | None = None
) -> UnknownEvent:
    """The event for something that is not known or cannot be read."""
    return UnknownEvent(
        kind=kind,
        reason=reason,
        phone_number_id=phone_number_id,
        timestamp=timestamp(raw, "timestamp"),
        raw=as_object(raw),
    )


def restrictions(obj: Raw, key: str, *, type_key: str) -> tuple[Restriction, ...]:
    """The restrictions in a list; their type has another name in every place."""
    return tuple(
        Restriction(
            type=name.upper(),
            reason=text(item, "reason", 2048),
            expires_at=timestamp(item, "expiration"),
        )
        for item in items(obj, key)
        if (name := name_of(item, type_key)) is not None
    )


def errors(obj: Raw) -> tuple[MetaErrorInfo, ...]:
    """The errors listed in an object; every part of an error may be missing."""
    found = (_error(item) for item in items(obj, "errors")[:MAX_ERRORS])
    return tuple(error for error in found if error != MetaErrorInfo())


def merged(found: tuple[MetaErrorInfo, ...]) -> tuple[MetaErrorInfo, ...]:
    """Join the errors that tell of the same thing, one perhaps shorter than the other."""
    result: list[MetaErrorInfo] = []
    for error in found:
        for index, known in enumerate(result):
            if _same(known, error):
                result[index] = _joined(known, error)
                break
        else:
            result.append(error)
    return tuple(result)


def _error(item: Any) -> MetaErrorInfo:
    return MetaErrorInfo(
        code=integer(item, "code"),
        title=text(item, "title"),
        message=text(item, "message"),
        details=text(child(item, "error_data"), "details", 2048),
    )


def _parts(error: MetaErrorInfo) -> tuple[int | str | None, ...]:
    return error.code, error.title, error.message, error.details


def _same(one: MetaErrorInfo, other: MetaErrorInfo) -> bool:
    told = [(a, b) for a, b in zip(_parts(one), _parts(other), strict=True) if None not in (a, b)]
    return bool(told) and all(a == b for a, b in told)


def _joined(one: MetaErrorInfo, other: MetaErrorInfo) -> MetaErrorInfo:
    return MetaErrorInfo(
        code=other.code if one.code is None else one.code,
        title=one.title or other.title,
        message=one.message or other.message,
        details=one.details or other.details,
    )
