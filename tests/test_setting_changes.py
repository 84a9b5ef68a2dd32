from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from pipecat_whatsapp.commands.setting_changes import changed, difference, words_of
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.calling_settings import (
    CallHours,
    CallingSettings,
    Holiday,
    OpeningSpan,
    SipServer,
    SipSettings,
    read_calling_settings,
)

SOME = CallingSettings(
    status="ENABLED",
    call_hours=CallHours(
        status="ENABLED",
        timezone_id="Europe/Berlin",
        weekly_operating_hours=(
            OpeningSpan("MONDAY", time(9), time(12)),
            OpeningSpan("MONDAY", time(13), time(17)),
            OpeningSpan("TUESDAY", time(9), time(17)),
        ),
        holiday_schedule=(
            Holiday(date(2026, 12, 25), time(0), time(23, 59)),
            Holiday(date(2026, 12, 31), time(12), time(23, 59)),
        ),
    ),
    sip=SipSettings("ENABLED", servers=(SipServer("sip.example.com", 5061),)),
)

EVERY_CHANGE: dict[str, tuple[str, Any]] = {
    "status=disabled": ("status", "DISABLED"),
    "call_icon_visibility=DISABLE_ALL": ("call_icon_visibility", "DISABLE_ALL"),
    "restrict_to_user_countries=de, at": ("restrict_to_user_countries", ("DE", "AT")),
    "callback_permission_status=ENABLED": ("callback_permission_status", "ENABLED"),
    "srtp_key_exchange_protocol=SDES": ("srtp_key_exchange_protocol", "SDES"),
    "additional_codecs=PCMA": ("additional_codecs", ("PCMA",)),
}


@pytest.mark.parametrize("change", EVERY_CHANGE)
def test_a_setting_is_read_in_meta_s_form(change: str) -> None:
    name, value = EVERY_CHANGE[change]
    after = changed(SOME, [change])
    assert difference(SOME, after) == {name: value}


def test_a_change_of_one_part_keeps_the_others() -> None:
    after = changed(SOME, ["sip.status=DISABLED", "voicemail.timeout_seconds=20"])
    assert after.sip == SipSettings("DISABLED", servers=SOME.sip.servers)
    assert after.voicemail.timeout_seconds == 20
    assert difference(SOME, after).keys() == {"sip", "voicemail"}


def test_a_day_gets_new_hours_and_the_other_days_keep_theirs() -> None:
    after = changed(SOME, ["call_hours.monday=10:00-14:30", "call_hours.sunday=0900-1000"])
    assert set(after.call_hours.weekly_operating_hours) == {
        OpeningSpan("MONDAY", time(10), time(14, 30)),
        OpeningSpan("TUESDAY", time(9), time(17)),
        OpeningSpan("SUNDAY", time(9), time(10)),
    }
    assert after.call_hours.holiday_schedule == SOME.call_hours.holiday_schedule


def test_a_day_may_be_closed() -> None:
    after = changed(SOME, ["call_hours.monday="])
    assert words_of(after)["call_hours.monday"] == ""


def test_what_is_shown_can_be_set_again() -> None:
    shown = words_of(SOME)
    again = changed(CallingSettings(), [f"{key}={words}" for key, words in shown.items() if words])
    assert words_of(again) == shown


def test_what_is_like_that_already_is_no_difference() -> None:
    assert difference(SOME, changed(SOME, ["status=ENABLED"])) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("status", "KEY=VALUE"),
        ("stauts=ENABLED", "KEY=VALUE"),
        ("call_hours.someday=0900-1000", "KEY=VALUE"),
        ("call_hours.monday=9-17", "0900-1200"),
        ("call_hours.monday=0900+02:00-1700", "0900-1200"),
        ("call_hours.holidays=25.12.2026", "write days as 2026-12-25"),
        ("voicemail.timeout_seconds=long", "write whole seconds"),
    ],
)
def test_a_change_that_cannot_be_read_is_refused(change: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        changed(SOME, [change])


def test_hours_may_have_one_digit_and_reach_to_the_end_of_the_day() -> None:
    after = changed(SOME, ["call_hours.monday=9:00-12:00,13:00-2400"])
    assert words_of(after)["call_hours.monday"] == "0900-1200,1300-2359"


@pytest.mark.parametrize(
    "hours",
    [
        {"weekly_operating_hours": [
            {"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1700"},
            {"day_of_week": "TUESDAY", "open_time": "nine", "close_time": "1700"},
        ]},
        {"holiday_schedule": [{"date": "Christmas", "start_time": "0000", "end_time": "2359"}]},
    ],
)  # fmt: skip
def test_hours_that_could_not_be_read_are_not_lost_by_changing_others(hours: Any) -> None:
    before = read_calling_settings({"call_hours": {"timezone_id": "Europe/Berlin", **hours}})
    with pytest.raises(ConfigError, match="WhatsApp Manager"):
        changed(before, ["call_hours.friday=0900-1000"])
    assert changed(before, ["status=ENABLED"]).status == "ENABLED"
