from __future__ import annotations

from typing import Any

import pytest

from pipecat_whatsapp.simulator.calling_settings import CallingSettings, Voicemail
from simulated_account import WEEK, Clock, refused

SIP = {"status": "ENABLED", "servers": [{"hostname": "sip.example.com", "port": 5061}]}
HOURS = {
    "status": "ENABLED",
    "timezone_id": "UTC",
    "weekly_operating_hours": [
        {"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1700"}
    ],
}
HOLIDAY = {"date": "2027-01-01", "start_time": "0000", "end_time": "2359"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def updates() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def settings(clock: Clock, updates: list[dict[str, Any]]) -> CallingSettings:
    return CallingSettings(clock=clock, announcements={"7"}, app_id="300", on_update=updates.append)


def voicemail(*triggers: str, **default: int) -> dict[str, Any]:
    audio = {"default": {"announcement_media_id": 7, **default}}
    return {"status": "ENABLED", "triggers": list(triggers), "audio": audio}


def test_what_was_never_set_is_not_told(settings: CallingSettings) -> None:
    assert settings.read() == {
        "status": "ENABLED",
        "call_icon_visibility": "DEFAULT",
        "callback_permission_status": "DISABLED",
    }


def test_what_is_not_named_stays(settings: CallingSettings) -> None:
    settings.write({"call_hours": HOURS, "srtp_key_exchange_protocol": "SDES"})
    settings.write({"call_icon_visibility": "DISABLE_ALL"})
    read = settings.read()
    assert read["call_hours"] == HOURS
    assert read["srtp_key_exchange_protocol"] == "SDES"
    assert read["call_icon_visibility"] == "DISABLE_ALL"


def test_call_hours_are_replaced_as_a_whole(settings: CallingSettings) -> None:
    settings.write({"call_hours": {**HOURS, "holiday_schedule": [HOLIDAY]}})
    assert settings.read()["call_hours"]["holiday_schedule"] == [HOLIDAY]
    settings.write({"call_hours": HOURS})
    assert "holiday_schedule" not in settings.read()["call_hours"]


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"status": "enabled"}, "status must be"),
        ({"status": True}, "status must be"),
        ({"call_icon_visibility": "HIDDEN"}, "call_icon_visibility"),
        ({"srtp_key_exchange_protocol": "ZRTP"}, "srtp_key_exchange_protocol"),
        ({"callback_permission_status": "Enabled"}, "callback_permission_status"),
        ({"restrictions": {"restrictions_list": []}}, "can only be read"),
        ({"video": {"status": "ENABLED"}}, "does not know video"),
        ({"sip": "ENABLED"}, "sip must be an object"),
        ({"call_hours": {"status": "ENABLED"}}, "time zone"),
        ({"voicemail": voicemail("REJECT", announcement_media_id=8)}, "announcement_media_id"),
        ({"audio": {"additional_codecs": ["G722"]}}, "PCMA"),
        ({"call_icons": {"restrict_to_user_countries": ["de"]}}, "country codes"),
    ],
)
def test_all_or_nothing_is_written(
    settings: CallingSettings,
    updates: list[dict[str, Any]],
    changes: dict[str, Any],
    details: str,
) -> None:
    before = settings.read()
    refusal = refused(lambda: settings.write({"call_icon_visibility": "DISABLE_ALL", **changes}))
    assert details in refusal.details
    assert settings.read() == before
    assert updates == []


def test_what_is_read_is_a_copy(settings: CallingSettings) -> None:
    settings.write({"audio": {"additional_codecs": ["PCMA"]}})
    settings.read()["audio"]["additional_codecs"].clear()
    assert settings.read()["audio"] == {"additional_codecs": ["PCMA"]}


def test_enabling_needs_a_messaging_limit() -> None:
    settings = CallingSettings(enabled=False)
    settings.messaging_limit = 1999
    refused(lambda: settings.write({"status": "ENABLED"}), 138015)
    settings.messaging_limit = 2000
    settings.write({"status": "ENABLED"})
    settings.check_calls()


def test_a_test_number_needs_no_messaging_limit() -> None:
    settings = CallingSettings(enabled=False, test_number=True)
    settings.messaging_limit = 250
    settings.write({"status": "ENABLED"})
    assert settings.calling_enabled


def test_enabling_needs_a_subscription_or_a_sip_server() -> None:
    settings = CallingSettings(enabled=False, is_subscribed=lambda: False)
    refused(lambda: settings.write({"status": "ENABLED"}), 138018)
    assert not settings.calling_enabled
    settings.write({"status": "ENABLED", "sip": SIP})
    assert settings.calling_enabled


def test_what_is_enabled_already_needs_nothing() -> None:
    settings = CallingSettings(is_subscribed=lambda: False)
    settings.write({"status": "ENABLED"})


def test_calls_while_calling_is_off() -> None:
    settings = CallingSettings(enabled=False)
    assert refused(settings.check_calls, 138000).status == 401
    assert refused(settings.check_asking, 138000).status == 401
    assert not settings.takes_calls


def test_sip_mode(settings: CallingSettings) -> None:
    settings.write({"sip": SIP})
    assert settings.sip_enabled
    refused(settings.check_calls, 131055)
    settings.check_asking()


def test_sip_needs_a_server(settings: CallingSettings) -> None:
    refused(lambda: settings.write({"sip": {"status": "ENABLED"}}), 138018)
    assert "sip" not in settings.read()


def test_a_sip_server_outlives_the_sip_mode(settings: CallingSettings) -> None:
    settings.write({"sip": SIP})
    settings.write({"sip": {"status": "DISABLED"}})
    settings.check_calls()
    server = {"hostname": "sip.example.com", "port": 5061, "app_id": "300"}
    assert settings.read()["sip"] == {"status": "DISABLED", "servers": [server]}
    settings.write({"sip": {"status": "ENABLED"}})
    assert settings.sip_enabled
    refused(lambda: settings.write({"sip": {"servers": []}}), 138018)


def test_sip_credentials_only_when_asked(settings: CallingSettings) -> None:
    settings.write({"sip": SIP})
    assert "sip_user_password" not in settings.read()["sip"]["servers"][0]
    [server] = settings.read(with_credentials=True)["sip"]["servers"]
    assert len(server["sip_user_password"]) > 8
    assert "sip_user_password" not in settings.read()["sip"]["servers"][0]


def test_the_effects_of_settings(settings: CallingSettings, clock: Clock) -> None:
    assert (settings.uses_sdes, settings.gives_call_back) == (False, False)
    settings.write({"srtp_key_exchange_protocol": "SDES", "callback_permission_status": "ENABLED"})
    assert (settings.uses_sdes, settings.gives_call_back) == (True, True)
    # 2026-09-21 was a Monday.
    clock.now = 1789981200.0
    settings.write({"call_hours": HOURS})
    assert settings.takes_calls
    clock.advance(8 * 3600)
    assert not settings.takes_calls


def test_when_voicemail_takes_a_call(settings: CallingSettings) -> None:
    assert settings.voicemail is None
    settings.write({"voicemail": voicemail("REJECT", "TIMEOUT", timeout_seconds=20)})
    assert settings.voicemail == Voicemail(on_reject=True, timeout=20)
    settings.write({"voicemail": voicemail("TIMEOUT", timeout_seconds=0)})
    assert settings.voicemail == Voicemail(on_reject=False, timeout=0)
    settings.write({"voicemail": voicemail("REJECT", "TIMEOUT")})
    assert settings.voicemail == Voicemail(on_reject=True, timeout=None)
    settings.write({"voicemail": {"status": "DISABLED"}})
    assert settings.voicemail is None


def test_restrictions_are_shown_and_felt_until_they_end(
    settings: CallingSettings, clock: Clock
) -> None:
    ends = int(clock()) + WEEK
    settings.restrict("RESTRICTED_BUSINESS_INITIATED_CALLING", "Complaints", ends)
    shown = {
        "type": "RESTRICTED_BUSINESS_INITIATED_CALLING",
        "reason": "Complaints",
        "expiration": ends,
    }
    assert settings.read()["restrictions"] == {"restrictions_list": [shown]}
    refused(settings.check_placing, 138014)
    refused(settings.check_asking, 138014)
    assert settings.takes_calls
    settings.restrict("RESTRICTED_USER_INITIATED_CALLING", "Complaints", ends)
    assert not settings.takes_calls
    clock.advance(WEEK)
    settings.check_asking()
    assert settings.takes_calls
    assert "restrictions" not in settings.read()


def test_a_number_of_a_country_that_cannot_call() -> None:
    settings = CallingSettings(calls_users=False)
    refused(settings.check_placing, 138013)
    refused(settings.check_asking, 138013)
    settings.check_calls()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "DISABLED"},
        {"call_icon_visibility": "DISABLE_ALL"},
        {"callback_permission_status": "ENABLED"},
        {"srtp_key_exchange_protocol": "DTLS"},
        {"sip": SIP},
    ],
)
def test_changes_that_are_told(
    settings: CallingSettings, updates: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    settings.write(changes)
    settings.write(changes)
    assert updates == [settings.read()]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "ENABLED"},
        {"call_hours": HOURS},
        {"audio": {"additional_codecs": ["PCMA"]}},
        {"voicemail": {"status": "DISABLED"}},
    ],
)
def test_changes_that_are_not_told(
    settings: CallingSettings, updates: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    settings.write(changes)
    assert updates == []


def test_setting_a_number_up_is_not_told(updates: list[dict[str, Any]]) -> None:
    settings = CallingSettings(enabled=False, on_update=updates.append)
    settings.enable()
    settings.check_calls()
    assert updates == []
