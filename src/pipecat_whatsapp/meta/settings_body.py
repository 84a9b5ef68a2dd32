"""Calling settings as a request carries them, checked by Meta's rules.

Every function raises `InvalidRequestError` for what Meta would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from pipecat_whatsapp.meta.calling_settings import (
    CallHours,
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
DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")

_COUNTRY = re.compile(r"[A-Z]{2}")


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


def call_icons(countries: Sequence[str] | None) -> dict[str, Any] | None:
    """In which countries the call icon shows."""
    if countries is None:
        return None
    for country in countries:
        if not _COUNTRY.fullmatch(country):
            raise invalid(f"{country!r} is not a country", 'use two letters, such as "DE"')
    return {"restrict_to_user_countries": list(countries)}


def audio(codecs: Sequence[str] | None) -> dict[str, Any] | None:
    """Which codecs Meta offers beside Opus."""
    if codecs is None:
        return None
    for codec in codecs:
        check_choice("codec", codec, CODECS)
    return {"additional_codecs": list(codecs)}


def call_hours(hours: CallHours) -> dict[str, Any]:
    """When the number can be called."""
    if not hours.timezone_id:
        raise invalid("the call hours have no time zone", 'name one, such as "Europe/Berlin"')
    if len(hours.holiday_schedule) > MAX_HOLIDAYS:
        raise invalid(
            f"there are {len(hours.holiday_schedule)} holidays", f"{MAX_HOLIDAYS} are the most"
        )
    for holiday in hours.holiday_schedule:
        _check_order(str(holiday.date), holiday.start_time < holiday.end_time)
    spans = sorted(hours.weekly_operating_hours, key=_day_and_time)
    for day, of_day in groupby(spans, key=lambda span: span.day_of_week):
        _check_day(day, list(of_day))
    return {
        "status": switch("status of the call hours", hours.status),
        "timezone_id": hours.timezone_id,
        "weekly_operating_hours": [
            {
                "day_of_week": span.day_of_week,
                "open_time": f"{span.open_time:%H%M}",
                "close_time": f"{span.close_time:%H%M}",
            }
            for span in spans
        ],
        "holiday_schedule": [
            {
                "date": holiday.date.isoformat(),
                "start_time": f"{holiday.start_time:%H%M}",
                "end_time": f"{holiday.end_time:%H%M}",
            }
            for holiday in hours.holiday_schedule
        ],
    }


def sip(settings: SipSettings) -> dict[str, Any]:
    """Whether calls go over SIP, and where to."""
    return {
        "status": switch("SIP status", settings.status),
        "webhook_delivery": switch("webhook delivery", settings.webhook_delivery),
        "servers": [_sip_server(server) for server in settings.servers],
    }


def voicemail(settings: VoicemailSettings) -> dict[str, Any]:
    """What happens to calls that nobody takes."""
    for trigger in settings.triggers:
        check_choice("voicemail trigger", trigger, TRIGGERS)
    default: dict[str, Any] = {}
    if settings.announcement_media_id is not None:
        default["announcement_media_id"] = _media_id(settings.announcement_media_id)
    if settings.timeout_seconds is not None:
        check_range("timeout in seconds", settings.timeout_seconds, 0, MAX_TIMEOUT_SECONDS)
        default["timeout_seconds"] = settings.timeout_seconds
    return {
        "status": switch("voicemail status", settings.status),
        "triggers": list(settings.triggers),
        **({"audio": {"default": default}} if default else {}),
    }


def _day_and_time(span: OpeningSpan) -> tuple[int, Any]:
    check_choice("day of the week", span.day_of_week, DAYS)
    return DAYS.index(span.day_of_week), span.open_time


def _check_day(day: str, spans: Sequence[OpeningSpan]) -> None:
    if len(spans) > MAX_SPANS_PER_DAY:
        raise invalid(f"{day} has {len(spans)} spans", f"{MAX_SPANS_PER_DAY} are the most")
    for span in spans:
        _check_order(day, span.open_time < span.close_time)
    if any(later.open_time < earlier.close_time for earlier, later in pairwise(spans)):
        raise invalid(f"the spans of {day} overlap", "keep them apart, or make them one")


def _check_order(day: str, ordered: bool) -> None:
    if not ordered:
        raise invalid(f"a span of {day} ends before it begins", "end it later on the same day")


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
