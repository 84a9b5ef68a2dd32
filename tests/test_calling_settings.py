"""Calling settings, read as tolerantly as Meta writes them."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from pipecat_whatsapp.meta.calling_settings import (
    CallingSettings,
    Holiday,
    OpeningSpan,
    SipServer,
    VoicemailSettings,
    read_calling_settings,
)
from pipecat_whatsapp.meta.events import Restriction


def span(**changes: Any) -> dict[str, Any]:
    return {"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1700", **changes}


def read_spans(*items: Any) -> tuple[OpeningSpan, ...]:
    hours = {"weekly_operating_hours": list(items)}
    return read_calling_settings({"call_hours": hours}).call_hours.weekly_operating_hours


def test_words_may_come_in_any_case() -> None:
    settings = read_calling_settings(
        {
            "status": "Enabled",
            "call_icon_visibility": "disable_all",
            "srtp_key_exchange_protocol": "sdes",
            "sip": {"status": "enabled"},
            "voicemail": {"triggers": ["reject"]},
        }
    )
    assert (settings.status, settings.call_icon_visibility) == ("ENABLED", "DISABLE_ALL")
    assert (settings.srtp_key_exchange_protocol, settings.sip.status) == ("SDES", "ENABLED")
    assert settings.voicemail == VoicemailSettings(triggers=("REJECT",))


@pytest.mark.parametrize(
    ("opens", "read"),
    [
        ("0900", time(9)),
        ("09:30", time(9, 30)),
        ("09:30:00", time(9, 30)),
        ("0000", time(0)),
        ("2400", time(23, 59)),
    ],
)
def test_times_may_be_written_with_and_without_a_colon(opens: str, read: time) -> None:
    (found,) = read_spans(span(open_time=opens))
    assert found == OpeningSpan("MONDAY", read, time(17))


@pytest.mark.parametrize(
    "changes",
    [
        {"open_time": "2500"},
        {"open_time": "0960"},
        {"open_time": "9"},
        {"close_time": None},
        {"day_of_week": 1},
    ],
)
def test_a_span_that_cannot_be_read_is_left_out_but_not_lost(changes: dict[str, Any]) -> None:
    broken = span(**changes)
    assert read_spans(broken, None, span()) == (OpeningSpan("MONDAY", time(9), time(17)),)
    hours = {"weekly_operating_hours": [broken]}
    assert read_calling_settings({"call_hours": hours}).raw == {"call_hours": hours}


def test_holidays() -> None:
    good = {"date": "2026-12-25", "start_time": "0000", "end_time": "2359"}
    broken = [good | {"date": "soon"}, good | {"end_time": ""}, 7]
    settings = read_calling_settings({"call_hours": {"holiday_schedule": [*broken, good]}})
    assert settings.call_hours.holiday_schedule == (
        Holiday(date(2026, 12, 25), time(0), time(23, 59)),
    )


def test_restrictions_tell_what_until_when_and_why() -> None:
    listed = [
        {"type": "RESTRICTED_BUSINESS_INITIATED_CALLING", "reason": "No", "expiration": 1754072386},
        {"type": "restricted_user_initiated_calling"},
        {},
    ]
    settings = read_calling_settings({"restrictions": {"restrictions_list": listed}})
    assert settings.restrictions == (
        Restriction("RESTRICTED_BUSINESS_INITIATED_CALLING", "No", 1754072386),
        Restriction("RESTRICTED_USER_INITIATED_CALLING"),
    )


def test_sip_servers() -> None:
    servers = [{"hostname": "sip.example.com", "port": 5061}, {"port": 5061}]
    settings = read_calling_settings({"sip": {"servers": servers}})
    assert settings.sip.servers == (SipServer("sip.example.com", 5061),)


@pytest.mark.parametrize("number", [938884519013664, "938884519013664"])
def test_an_announcement_may_be_named_by_number_or_by_text(number: int | str) -> None:
    audio = {"default": {"announcement_media_id": number, "timeout_seconds": 20}}
    settings = read_calling_settings({"voicemail": {"audio": audio}})
    assert settings.voicemail.announcement_media_id == "938884519013664"
    assert settings.voicemail.timeout_seconds == 20


JUNK: list[Any] = [None, 7, "x", [], [None], {"status": 7}, {"sip": []}, {"call_hours": "always"}]


@pytest.mark.parametrize("calling", [*JUNK, {"video": {"status": "ENABLED"}}])
def test_what_is_unknown_or_broken_changes_nothing(calling: Any) -> None:
    assert read_calling_settings(calling) == CallingSettings()
