from __future__ import annotations

from pipecat_whatsapp.meta.events import AccountUpdate, Restriction, SettingsUpdate
from pipecat_whatsapp.meta.parsing import parse_change
from pipecat_whatsapp.simulator import account_payloads
from pipecat_whatsapp.simulator.settings import Account

ACCOUNT = Account()


def test_changed_settings() -> None:
    value = account_payloads.settings_update(ACCOUNT, {"status": "ENABLED"}, timestamp=1790000000)
    [event] = parse_change("account_settings_update", value)
    assert isinstance(event, SettingsUpdate)
    assert event.calling == {"status": "ENABLED"}
    assert event.phone_number_id == ACCOUNT.phone_number_id
    assert event.timestamp == 1790000000
    assert value["timestamp"] == "1790000000"


def test_a_violation() -> None:
    value = account_payloads.violation(ACCOUNT, "LOW_USER_INITIATED_CALLING_QUALITY")
    assert value["phone_number"] == ACCOUNT.display_phone_number
    [event] = parse_change("account_update", value)
    assert isinstance(event, AccountUpdate)
    assert event.event == "ACCOUNT_VIOLATION"
    assert event.violation == "LOW_USER_INITIATED_CALLING_QUALITY"


def test_a_restriction() -> None:
    value = account_payloads.restriction(ACCOUNT, "RESTRICTED_USER_INITIATED_CALLING", 1790604800)
    [event] = parse_change("account_update", value)
    assert isinstance(event, AccountUpdate)
    assert event.event == "ACCOUNT_RESTRICTION"
    [found] = event.restrictions
    assert found == Restriction("RESTRICTED_USER_INITIATED_CALLING", expires_at=1790604800)


def test_a_restriction_without_end() -> None:
    value = account_payloads.restriction(ACCOUNT, "RESTRICTED_SOMETHING", None)
    assert value["restriction_info"] == [{"restriction_type": "RESTRICTED_SOMETHING"}]
