"""A part of a webhook, in Meta's own form: what another process has to read of it."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from pipecat_whatsapp.meta.reading import as_object, bounded_int, child, items

_LISTS = ("calls", "statuses", "messages")


def excerpt(body: bytes, ids: Collection[str]) -> bytes:
    """Leave out of a webhook what is not about certain calls or messages.

    Who reads it finds what `parse_webhook` found in the whole, with the number and the users that
    belong to it.

    Args:
        body: A webhook that `parse_webhook` could read.
        ids: The ids of calls or messages.
    """
    payload = as_object(json.loads(body, parse_int=bounded_int))
    entries = [
        {**as_object(entry), "changes": changes}
        for entry in items(payload, "entry")
        if (changes := _changes(entry, ids))
    ]
    return json.dumps({**payload, "entry": entries}, separators=(",", ":")).encode()


def _changes(entry: Any, ids: Collection[str]) -> list[dict[str, Any]]:
    cut = []
    for change in items(as_object(entry), "changes"):
        value = child(change, "value")
        kept = {
            name: [item for item in items(value, name) if as_object(item).get("id") in ids]
            for name in _LISTS
            if name in value
        }
        if any(kept.values()):
            cut.append({**as_object(change), "value": {**value, **kept}})
    return cut
