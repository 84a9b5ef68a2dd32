"""Calling settings as a request carries them, checked by Meta's rules.

Every function raises `InvalidRequestError` for what Meta would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipecat_whatsapp.meta.calling_settings import (
    DAYS,
    CallHours,
    Holiday,
    OpeningSpan,
    SipServer,
    SipSettings,
    VoicemailSettings,
)
from pipecat_whatsapp.meta.checks import check_choice, check_range, invalid

MAX_SPANS_PER_DAY = 2
MAX_HOLIDAYS = 20
MAX_TIMEOUT_SECONDS = 30

SWITCH = ("ENABLED", "DISABLED")
VISIBILITIES = ("DEFAULT", "DISABLE_ALL", "HIDE_IN_CHAT")
KEY_EXCHANGES = ("DTLS", "SDES")
CODECS = ("PCMA", "PCMU")
TRIGGERS = ("REJECT", "TIMEOUT")

_COUNTRY = re.compile(r"[A-Z]{2}")


def status(value: str) -> str:
    """Whether the number can be called."""
    return switch("status", value)


def callback_permission(value: str) -> str:
    """Whether who calls may be called back."""
    return switch("callback permission status", value)


def switch(name: str, value: str) -> str:
    """A setting that is on or off."""
    check_choice(name, value, SWITCH)
    return value


def visibility(value: str) -> str:
    """Where the call icon shows."""
    check_choice("call icon visibility", value, VISIBILITIES)
    return value


def key_exchange(value: str) -> str:
    """How SRTP keys are agreed upon."""
    check_choice("key exchange protocol", value, KEY_EXCHANGES)
    return value


def call_icons(countries: Sequence[str]) -> dict[str, Any]:
    """In which countries the call icon shows."""
    for country in countries:
        if not _COUNTRY.fullmatch(country):
            raise invalid(f"{country!r} is not a country", 'use two letters, such as "DE"')
    return {"restrict_to_user_countries": list(countries)}


def audio(codecs: Sequence[str]) -> dict[str, Any]:
    """Which codecs Meta offers beside Opus."""
    for codec in codecs:
        check_choice("codec", codec, CODECS)
    return {"additional_codecs": list(codecs)}


def call_hours(hours: CallHours) -> dict[str, Any]:
    """When the number can be called. Meta refuses holidays that are over: they are left out."""
    switch("status of the call hours", hours.status)
    if hours.status == "ENABLED" and not hours.timezone_id:
        raise invalid("the call hours have no time zone", 'name one, such as "Europe/Berlin"')
    if hours.status == "ENABLED" and not hours.weekly_operating_hours:
        raise invalid("the call hours have no opening hours", "name at least one span of a day")
    body = {
        "status": hours.status,
        "timezone_id": hours.timezone_id,
        "weekly_operating_hours": _weekly(hours.weekly_operating_hours),
        "holiday_schedule": _holidays(_to_come(hours)),
    }
    return {name: value for name, value in body.items() if value}


def _weekly(spans: Sequence[OpeningSpan]) -> list[dict[str, str]]:
    for span in spans:
        check_choice("day of the week", span.day_of_week, DAYS)
    _check_spans((span.day_of_week, span.open_time, span.close_time) for span in spans)
    return [
        {
            "day_of_week": span.day_of_week,
            "open_time": f"{span.open_time:%H%M}",
            "close_time": f"{span.close_time:%H%M}",
        }
        for span in spans
    ]


def _to_come(hours: CallHours) -> list[Holiday]:
    try:
        today = datetime.now(ZoneInfo(hours.timezone_id)).date()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        today = datetime.now(UTC).date()
    return [day for day in hours.holiday_schedule if day.date >= today]


def _holidays(holidays: Sequence[Holiday]) -> list[dict[str, str]]:
    if len(holidays) > MAX_HOLIDAYS:
        raise invalid(f"there are {len(holidays)} holidays", f"{MAX_HOLIDAYS} are the most")
    _check_spans((day.date.isoformat(), day.start_time, day.end_time) for day in holidays)
    return [
        {
            "date": day.date.isoformat(),
            "start_time": f"{day.start_time:%H%M}",
            "end_time": f"{day.end_time:%H%M}",
        }
        for day in holidays
    ]


def sip(settings: SipSettings) -> dict[str, Any]:
    """Whether calls go over SIP, and where to."""
    return {
        "status": switch("SIP status", settings.status),
        "webhook_delivery": switch("webhook delivery", settings.webhook_delivery),
        "servers": [_sip_server(server) for server in settings.servers],
    }


def voicemail(settings: VoicemailSettings) -> dict[str, Any]:
    """What happens to calls that nobody takes."""
    switch("voicemail status", settings.status)
    for trigger in settings.triggers:
        check_choice("voicemail trigger", trigger, TRIGGERS)
    if settings.status == "ENABLED":
        _check_voicemail(settings)
    default: dict[str, Any] = {}
    if settings.announcement_media_id is not None:
        default["announcement_media_id"] = _media_id(settings.announcement_media_id)
    if settings.timeout_seconds is not None:
        check_range("timeout in seconds", settings.timeout_seconds, 0, MAX_TIMEOUT_SECONDS)
        default["timeout_seconds"] = settings.timeout_seconds
    body: dict[str, Any] = {"status": settings.status, "triggers": list(settings.triggers)}
    return {**body, "audio": {"default": default}} if default else body


def _check_voicemail(settings: VoicemailSettings) -> None:
    if not settings.triggers:
        raise invalid("the voicemail has no triggers", 'name "REJECT", "TIMEOUT" or both')
    if settings.announcement_media_id is None:
        raise invalid("the voicemail has no announcement", "upload one, and give its id")
    if "TIMEOUT" in settings.triggers and settings.timeout_seconds is None:
        raise invalid("the voicemail's trigger TIMEOUT has no timeout", "give its seconds")


def _check_spans(spans: Iterable[tuple[str, time, time]]) -> None:
    for day, group in groupby(sorted(spans), key=itemgetter(0)):
        of_day = list(group)
        if len(of_day) > MAX_SPANS_PER_DAY:
            raise invalid(f"{day} has {len(of_day)} spans", f"{MAX_SPANS_PER_DAY} are the most")
        if any(begin >= end for _, begin, end in of_day):
            raise invalid(f"a span of {day} ends before it begins", "end it later on the same day")
        if any(begin < end for (_, _, end), (_, begin, _) in pairwise(of_day)):
            raise invalid(f"the spans of {day} overlap", "keep them apart, or make them one")


def _media_id(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise invalid("the announcement's id is not a number", "use the one that `upload` returned")
    return int(value)


def _sip_server(server: SipServer) -> dict[str, Any]:
    # The password is Meta's to give.
    body: dict[str, Any] = {"hostname": server.hostname}
    if server.port is not None:
        body["port"] = server.port
    if server.request_uri_user_params:
        body["request_uri_user_params"] = dict(server.request_uri_user_params)
    return body
