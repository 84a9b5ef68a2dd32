"""One change of a webhook in, its events out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipecat_whatsapp.meta.conversation import conversation
from pipecat_whatsapp.meta.events import AccountUpdate, Event, Raw, SettingsUpdate
from pipecat_whatsapp.meta.reading import (
    child,
    name_of,
    restrictions,
    text,
    timestamp,
    token,
    unknown,
)


def parse_change(field: str, value: Any, time: int | None = None) -> Iterator[Event]:
    """Read the events of one change.

    Args:
        field: The webhook field, such as "calls".
        value: What came with it.
        time: When Meta wrote the entry, for news that carries no time of its own.
    """
    read = _FIELDS.get(field)
    if read is None:
        yield unknown(field, value)
    elif not isinstance(value, dict):
        yield unknown(field, value, "its value is not an object")
    else:
        yield from read(field, value, time)


def _settings_update(field: str, value: Raw, time: int | None) -> Iterator[Event]:
    settings = child(value, "phone_number_settings")
    calling = child(settings, "calling")
    kind = name_of(value, "type")
    if not calling:
        yield unknown(f"{field}/{kind.lower()}" if kind else field, value, "no calling settings")
        return
    at = timestamp(value, "timestamp")
    yield SettingsUpdate(
        phone_number_id=token(settings, "phone_number_id"),
        timestamp=time if at is None else at,
        raw=value,
        calling=calling,
    )


def _account_update(field: str, value: Raw, time: int | None) -> Iterator[Event]:
    event = name_of(value, "event")
    if event is None:
        yield unknown(field, value, "the event is missing")
        return
    violation = child(value, "violation_info")
    yield AccountUpdate(
        timestamp=time,
        raw=value,
        event=event.upper(),
        restrictions=restrictions(value, "restriction_info", type_key="restriction_type"),
        violation=name_of(violation, "violation_type"),
        remediation=text(violation, "remediation", 2048),
    )


_FIELDS: dict[str, Callable[[str, Raw, int | None], Iterator[Event]]] = {
    "calls": conversation,
    "messages": conversation,
    "account_settings_update": _settings_update,
    "account_update": _account_update,
}
