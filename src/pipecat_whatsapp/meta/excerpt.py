"""A part of a webhook, in Meta's own form: what another process has to read of it."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection
from typing import Any

from pipecat_whatsapp.meta.events import Raw
from pipecat_whatsapp.meta.reading import as_object, bounded_int, child, items, name_of

_FIELDS = ("calls", "messages")
_LISTS = ("calls", "statuses", "messages")

_Lists = dict[str, list[Any]]


def excerpt(body: bytes, ids: Collection[str]) -> bytes:
    """Leave out of a webhook what is not about certain calls or messages.

    Who reads it finds what `parse_webhook` found in the whole, with the number and the users that
    belong to it.

    Args:
        body: A webhook that `parse_webhook` could read.
        ids: The ids of calls or messages.
    """
    payload = _read(body)
    entries = [
        {**as_object(entry), "changes": changes}
        for entry in items(payload, "entry")
        if (changes := _changes(entry, ids))
    ]
    return json.dumps({**payload, "entry": entries}, separators=(",", ":")).encode()


@functools.lru_cache(maxsize=1)
def _read(body: bytes) -> Raw:
    """The webhook as an object; of a batch of many calls it is asked for many times."""
    return as_object(json.loads(body, parse_int=bounded_int))


def _changes(entry: Any, ids: Collection[str]) -> list[dict[str, Any]]:
    cut = []
    for change in map(as_object, items(as_object(entry), "changes")):
        value = child(change, "value")
        lists = {name: items(value, name) for name in _LISTS}
        kept = {name: [item for item in lists[name] if _id(item) in ids] for name in _LISTS}
        if name_of(change, "field") in _FIELDS and any(kept.values()):
            cut.append({**change, "value": {**value, **kept, **_shared(value, lists, kept)}})
    return cut


def _shared(value: Raw, lists: _Lists, kept: _Lists) -> dict[str, Any]:
    """What is read in another way once something beside it has gone."""
    # Errors beside a call's end are told with it, others on their own.
    has_end = any((name_of(call, "event") or "").lower() == "terminate" for call in kept["calls"])
    shared = {"errors": items(value, "errors") if has_end else []}
    if kept != lists:
        # A single contact is that of the single part; of several parts it must be said.
        shared["contacts"] = [*items(value, "contacts"), None]
    return shared


def _id(item: Any) -> str:
    item_id = as_object(item).get("id")
    return item_id if isinstance(item_id, str) else ""
