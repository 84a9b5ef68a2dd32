from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from pipecat_whatsapp.doctor import account
from pipecat_whatsapp.doctor.finding import Verdict
from pipecat_whatsapp.meta.account import PhoneNumber, TokenInfo
from pipecat_whatsapp.meta.calling_settings import (
    CallHours,
    CallingSettings,
    Holiday,
    OpeningSpan,
    VoicemailSettings,
)
from pipecat_whatsapp.meta.graph import GraphClient
from scripted_graph import ScriptedGraph, Step, error, hang_up

BERLIN = ZoneInfo("Europe/Berlin")
HOURS = CallHours(
    status="ENABLED",
    timezone_id="Europe/Berlin",
    weekly_operating_hours=(
        OpeningSpan("FRIDAY", time(9), time(12)),
        OpeningSpan("FRIDAY", time(13), time(17)),
    ),
    holiday_schedule=(Holiday(date(2026, 12, 25), time(0), time(23, 59)),),
)


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        (datetime(2026, 7, 3, 9, 0, tzinfo=BERLIN), True),  # a Friday in summer
        (datetime(2026, 12, 4, 9, 0, tzinfo=BERLIN), True),  # a Friday in winter
        (datetime(2026, 12, 4, 8, 59, tzinfo=BERLIN), False),
        (datetime(2026, 12, 4, 12, 0, tzinfo=BERLIN), False),
        (datetime(2026, 12, 4, 13, 0, tzinfo=BERLIN), True),
        (datetime(2026, 12, 4, 17, 0, tzinfo=BERLIN), False),
        (datetime(2026, 12, 5, 10, 0, tzinfo=BERLIN), False),  # a Saturday
        (datetime(2026, 12, 25, 10, 0, tzinfo=BERLIN), False),  # a Friday, but a holiday
    ],
)
def test_call_hours_are_read_in_their_own_time_zone(when: datetime, is_open: bool) -> None:
    finding = account.check_hours(HOURS, when.timestamp())
    assert finding.verdict is (Verdict.OK if is_open else Verdict.WARNING)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "../etc", ""])
def test_an_unknown_time_zone_is_no_verdict(zone: str) -> None:
    hours = CallHours(status="ENABLED", timezone_id=zone)
    assert account.check_hours(hours, 0).verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    ("voicemail", "verdict"),
    [
        (VoicemailSettings("ENABLED", ("TIMEOUT",), "1", 5), Verdict.BROKEN),
        (VoicemailSettings("ENABLED", ("TIMEOUT",), "1", 6), Verdict.OK),
        (VoicemailSettings("ENABLED", ("REJECT",), "1", 0), Verdict.OK),
        (VoicemailSettings("ENABLED", ("TIMEOUT",), "1", None), Verdict.OK),
        (VoicemailSettings("DISABLED", ("TIMEOUT",), "1", 0), Verdict.OK),
    ],
)
def test_voicemail_must_wait_longer_than_the_bot_needs(
    voicemail: VoicemailSettings, verdict: Verdict
) -> None:
    settings = CallingSettings(voicemail=voicemail)
    assert account.check_voicemail(settings, 5.0).verdict is verdict


@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        (error(400, 190, "Error validating application."), Verdict.BROKEN),
        (error(400, 4, "Application request limit reached"), Verdict.SKIPPED),
        (error(500, 2, "Service temporarily unavailable"), Verdict.SKIPPED),
        (error(429, 0), Verdict.SKIPPED),
        (hang_up, Verdict.SKIPPED),
    ],
)
async def test_the_secret_is_not_blamed_for_what_meta_cannot_do_now(
    scripted: ScriptedGraph, graph: GraphClient, step: Step, verdict: Verdict
) -> None:
    scripted.steps = [step]
    found = await account.check_app_secret(graph, "300", "a secret")
    assert found.verdict is verdict


async def test_an_app_that_cannot_be_asked_for_is_broken(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    found = await account.check_app_secret(graph, "an app", "a secret")
    assert found.verdict is Verdict.BROKEN
    assert "app id" in found.what
    assert scripted.heard == []


def test_a_number_of_the_whatsapp_business_app_cannot_be_called() -> None:
    found = account.check_number(PhoneNumber("200", "+1 555", platform_type="ON_PREMISE"))
    assert found.verdict is Verdict.BROKEN


def test_a_token_that_meta_calls_invalid_is_broken_in_meta_s_words() -> None:
    info = TokenInfo("1", "USER", False, None, account.SCOPES, {}, "The user logged out")
    found = account.check_token(info, 0)
    assert found.verdict is Verdict.BROKEN
    assert "The user logged out" in found.what
