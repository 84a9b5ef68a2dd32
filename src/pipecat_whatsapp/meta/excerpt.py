"""Parts of a webhook, in Meta's own form: what another process has to read of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipecat_whatsapp.meta import reading
from pipecat_whatsapp.meta.events import Raw
from pipecat_whatsapp.meta.reading import as_object, items, name_of

_FIELDS = ("calls", "messages")
_LISTS = ("calls", "messages", "statuses")
_SIDES = (("from", "from_user_id"), ("to", "to_user_id"), ("recipient_id", "recipient_user_id"))

_Lists = dict[str, list[Any]]


class Excerpts:
    """What a webhook says of single calls and messages, and of nobody else.

    Who reads an excerpt finds what `parse_webhook` found in the whole, with the number and the
    users that belong to it. Make one for each webhook: it is read once, however much is asked for.

    Args:
        body: A webhook that `parse_webhook` could read. It is not read before it is needed.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body

    def of(self, item_id: str) -> bytes:
        """Write out what the webhook says of one call or message.

        Args:
            item_id: The id of the call or message.

        Returns:
            A webhook, in ASCII. It tells nothing when the whole says nothing of the id.
        """
        entries = [change.cut(kept) for change, kept in self._told.get(item_id, {}).items()]
        excerpt = {**_only(self._payload, "object"), "entry": entries}
        return json.dumps(excerpt, separators=(",", ":")).encode()

    @cached_property
    def _payload(self) -> Raw:
        return as_object(json.loads(self._body, parse_int=reading.bounded_int))

    @cached_property
    def _told(self) -> Mapping[str, dict[_Change, _Lists]]:
        """For each id the changes that tell of it, and their items that do."""
        told: defaultdict[str, dict[_Change, _Lists]] = defaultdict(dict)
        for change in _changes(self._payload):
            for name, item in change.parts():
                if isinstance(item_id := as_object(item).get("id"), str):
                    told[item_id].setdefault(change, {}).setdefault(name, []).append(item)
        return told


@dataclass(frozen=True, eq=False)
class _Change:
    """A change that may tell of calls and messages, and the entry that it stands in."""

    entry: Raw
    field: str
    value: Raw

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Its calls, messages and statuses, each with the name of its list."""
        return ((name, item) for name in _LISTS for item in items(self.value, name))

    def cut(self, kept: _Lists) -> dict[str, Any]:
        """The entry with these items only, and with what is shared and concerns them."""
        value = {**_only(self.value, "messaging_product", "metadata"), **kept}
        value["contacts"] = self._contacts_of([item for name in kept for item in kept[name]])
        # Errors beside a call's end are told with it, others on their own.
        events = [name_of(call, "event") or "" for call in items(kept, "calls")]
        if "terminate" in map(str.lower, events):
            value["errors"] = items(self.value, "errors")[: reading.MAX_ERRORS]
        change = {"field": self.field, "value": value}
        return {**_only(self.entry, "id", "time"), "changes": [change]}

    def _contacts_of(self, kept: list[Any]) -> list[Any]:
        contacts = items(self.value, "contacts")
        if len(contacts) == 1 == sum(len(items(self.value, name)) for name in _LISTS):
            return contacts
        parties = {key for item in kept for side in _SIDES for key in _keys(item, *side)}
        places = sorted({self._places[key] for key in parties if key in self._places})
        # A single contact would be that of a single item, whoever that names.
        return [*(contacts[place] for place in places), None]

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where a user's contact stands: of several the last, as for who reads the whole."""
        contacts = enumerate(items(self.value, "contacts"))
        return {key: at for at, contact in contacts for key in _keys(contact, "wa_id", "user_id")}


def _changes(payload: Raw) -> Iterator[_Change]:
    for entry in map(as_object, items(payload, "entry")):
        for change in map(as_object, items(entry, "changes")):
            if (field := name_of(change, "field")) in _FIELDS:
                yield _Change(entry, field, reading.child(change, "value"))


def _keys(obj: Any, phone: str, user_id: str) -> set[str]:
    """What a user is known by in an object."""
    return {key for key in (reading.phone(obj, phone), reading.token(obj, user_id)) if key}


def _only(obj: Raw, *names: str) -> dict[str, Any]:
    return {name: obj[name] for name in names if name in obj}
