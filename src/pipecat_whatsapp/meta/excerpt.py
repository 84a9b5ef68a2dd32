"""A part of a webhook, in Meta's own form: what another process has to read of it."""

from __future__ import annotations

import functools
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from operator import itemgetter
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
    payload, places = _read(body), _places(body)
    wanted = sorted({place for item_id in ids for place in places.get(item_id, ())})
    entries = []
    for number, places_there in itertools.groupby(wanted, itemgetter(0)):
        entry = as_object(items(payload, "entry")[number])
        changes = items(entry, "changes")
        cut = [_cut(as_object(changes[place]), ids) for _, place in places_there]
        entries.append({**entry, "changes": cut})
    return json.dumps({**payload, "entry": entries}, separators=(",", ":")).encode()


# Of a batch of many calls both are asked for many times.


@functools.lru_cache(maxsize=1)
def _read(body: bytes) -> Raw:
    """The webhook as an object."""
    return as_object(json.loads(body, parse_int=bounded_int))


@functools.lru_cache(maxsize=1)
def _places(body: bytes) -> Mapping[str, list[tuple[int, int]]]:
    """For each id the changes that tell of it: their entry's number, and their own in it."""
    places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, entry in enumerate(items(_read(body), "entry")):
        for place, change in enumerate(map(as_object, items(as_object(entry), "changes"))):
            if name_of(change, "field") in _FIELDS:
                for item in _told(change):
                    places[_id(item)].append((number, place))
    return places


def _told(change: Raw) -> list[Any]:
    value = child(change, "value")
    return [item for name in _LISTS for item in items(value, name)]


def _cut(change: Raw, ids: Collection[str]) -> dict[str, Any]:
    value = child(change, "value")
    lists = {name: items(value, name) for name in _LISTS}
    kept = {name: [item for item in lists[name] if _id(item) in ids] for name in _LISTS}
    return {**change, "value": {**value, **kept, **_shared(value, lists, kept)}}


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
