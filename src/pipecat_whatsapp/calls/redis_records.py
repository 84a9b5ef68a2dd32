"""What the directory writes into Redis, and how it reads what others have written. Pure.

Processes of other versions write there, too: what cannot be read hides nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pipecat_whatsapp.calls.directory import Holding, Letter, Peer, Standing
from pipecat_whatsapp.meta.events import Direction
from pipecat_whatsapp.meta.reading import integer, text


def written(holding: Holding) -> str:
    """Write what others must know of a call."""
    return f"{holding.direction.value} {holding.phone_number_id}"


def _read_holding(told: str) -> Holding | None:
    """Read what is known of a call; None when it is of another version altogether."""
    direction, _, number = told.partition(" ")
    try:
        return Holding(number, Direction(direction))
    except ValueError:
        return None


def holdings_of(records: Iterable[tuple[str, str]]) -> dict[str, Holding]:
    """Read what is known of several calls."""
    holdings = ((call_id, _read_holding(told)) for call_id, told in records)
    return {call_id: holding for call_id, holding in holdings if holding is not None}


def peer_of(name: str, told: str, now: int) -> Peer | None:
    """Read what a process told of itself; None when it is of another version altogether.

    Args:
        name: Its name.
        told: How often, what, and when, ms.
        now: When this is, ms.
    """
    try:
        beats, standing, when = json.loads(told)
        age = max(0, now - when) / 1000
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    if type(beats) is not int or type(when) is not int or not isinstance(standing, dict):
        return None
    return Peer(name, beats, _standing(standing), age)


def _standing(told: dict[str, Any]) -> Standing:
    has_limit = told.get("room", 0) is not None
    return Standing(
        calls=integer(told, "calls") or 0,
        room=(integer(told, "room") or 0) if has_limit else None,
        region=text(told, "region") or "",
        host=text(told, "host") or "",
    )


def pairs(items: list[str]) -> list[tuple[str, str]]:
    """Read a list in which every second item belongs to the one before."""
    return list(zip(items[::2], items[1::2], strict=True))


def flat(entries: list[Any]) -> list[Any]:
    """Entries of a stream, which RESP 3 wraps once more."""
    is_wrapped = bool(entries) and bool(entries[0]) and not isinstance(entries[0][0], str)
    return list(entries[0]) if is_wrapped else entries


def letters_of(entries: list[Any]) -> list[Letter]:
    """Read entries of a stream; of one that is no letter comes an empty letter."""
    found = []
    for entry_id, fields in entries:
        values = fields if isinstance(fields, dict) else dict(pairs(fields or []))
        found.append(Letter(entry_id, values.get("text", "")))
    return found
