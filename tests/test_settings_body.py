"""What Meta refuses of calling settings, refused before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, time
from typing import Any

import pytest

from pipecat_whatsapp.errors import InvalidRequestError
from pipecat_whatsapp.meta import settings_body
from pipecat_whatsapp.meta.settings import (
    CallHours,
    Holiday,
    OpeningSpan,
    SipSettings,
    VoicemailSettings,
)

MORNING = OpeningSpan("MONDAY", time(9), time(12))
AFTERNOON = OpeningSpan("MONDAY", time(12), time(17))
HOURS = CallHours("ENABLED", "Europe/Berlin", (MORNING, AFTERNOON))
DAY = Holiday(date(2999, 12, 25), time(0), time(23, 59))
VOICEMAIL = VoicemailSettings("ENABLED", ("TIMEOUT",), "938884519013664", 30)


def hours(*spans: OpeningSpan) -> CallHours:
    return replace(HOURS, weekly_operating_hours=spans)


def holidays(*days: Holiday) -> CallHours:
    return replace(HOURS, holiday_schedule=days)


def mail(**changes: Any) -> VoicemailSettings:
    return replace(VOICEMAIL, **changes)


REFUSED: list[tuple[Callable[[Any], Any], Any, str]] = [
    (settings_body.status, "enabled", "ENABLED, DISABLED"),
    (settings_body.status, "", "ENABLED, DISABLED"),
    (settings_body.callback_permission, "ON", "ENABLED, DISABLED"),
    (settings_body.visibility, "HIDDEN", "DEFAULT, DISABLE_ALL, HIDE_IN_CHAT"),
    (settings_body.key_exchange, "ZRTP", "DTLS, SDES"),
    (settings_body.call_icons, ["DEU"], "'DEU' is not a country"),
    (settings_body.call_icons, "DE", "'D' is not a country"),
    (settings_body.audio, ["OPUS"], "PCMA, PCMU"),
    (settings_body.call_hours, replace(HOURS, status="OPEN"), "ENABLED, DISABLED"),
    (settings_body.call_hours, replace(HOURS, timezone_id=""), "no time zone"),
    (settings_body.call_hours, hours(), "no opening hours"),
    (settings_body.call_hours, hours(replace(MORNING, day_of_week="Monday")), "day of the week"),
    (settings_body.call_hours, hours(replace(MORNING, close_time=time(9))), "before it begins"),
    (
        settings_body.call_hours,
        hours(AFTERNOON, replace(MORNING, close_time=time(12, 1))),
        "spans of MONDAY overlap",
    ),
    (
        settings_body.call_hours,
        hours(MORNING, AFTERNOON, OpeningSpan("MONDAY", time(18), time(19))),
        "MONDAY has 3 spans",
    ),
    (settings_body.call_hours, holidays(replace(DAY, end_time=time(0))), "before it begins"),
    (settings_body.call_hours, holidays(DAY, DAY), "spans of 2999-12-25 overlap"),
    (
        settings_body.call_hours,
        holidays(*(replace(DAY, date=date(2999, 12, day)) for day in range(1, 22))),
        "21 holidays",
    ),
    (settings_body.sip, SipSettings("ON"), "ENABLED, DISABLED"),
    (settings_body.sip, SipSettings("ENABLED", "ON"), "ENABLED, DISABLED"),
    (settings_body.voicemail, mail(status="ON"), "ENABLED, DISABLED"),
    (settings_body.voicemail, mail(triggers=("BUSY",)), "REJECT, TIMEOUT"),
    (settings_body.voicemail, mail(triggers=()), "no triggers"),
    (settings_body.voicemail, mail(announcement_media_id=None), "no announcement"),
    (settings_body.voicemail, mail(announcement_media_id="x"), "not a number"),
    (settings_body.voicemail, mail(timeout_seconds=None), "no timeout"),
    (settings_body.voicemail, mail(timeout_seconds=31), "0 to 30"),
    (settings_body.voicemail, mail(timeout_seconds=-1), "0 to 30"),
]


@pytest.mark.parametrize(("checked", "value", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_meta_refuses_is_refused_here_with_a_reason(
    checked: Callable[[Any], Any], value: Any, words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        checked(value)


def test_two_spans_a_day_may_touch_and_come_in_any_order() -> None:
    body = settings_body.call_hours(hours(AFTERNOON, MORNING))
    assert [span["open_time"] for span in body["weekly_operating_hours"]] == ["1200", "0900"]


def test_twenty_holidays_are_allowed() -> None:
    days = [replace(DAY, date=date(2999, 12, day)) for day in range(1, 21)]
    assert len(settings_body.call_hours(holidays(*days))["holiday_schedule"]) == 20


def test_hours_and_voicemail_can_be_switched_off_without_more_ado() -> None:
    assert settings_body.call_hours(CallHours()) == {"status": "DISABLED"}
    assert settings_body.voicemail(VoicemailSettings()) == {"status": "DISABLED", "triggers": []}


def test_voicemail_on_rejection_needs_no_timeout() -> None:
    body = settings_body.voicemail(mail(triggers=("REJECT",), timeout_seconds=None))
    assert body["audio"] == {"default": {"announcement_media_id": 938884519013664}}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Europe/Atlantis", ""])
def test_holidays_that_are_over_are_left_out_because_meta_refuses_them(zone: str) -> None:
    over = replace(DAY, date=date(2001, 12, 25))
    given = replace(holidays(over, DAY), status="DISABLED", timezone_id=zone)
    (kept,) = settings_body.call_hours(given)["holiday_schedule"]
    assert kept["date"] == "2999-12-25"
    only = replace(given, holiday_schedule=(over,))
    assert "holiday_schedule" not in settings_body.call_hours(only)
