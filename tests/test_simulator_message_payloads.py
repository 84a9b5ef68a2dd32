from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipecat_whatsapp.meta.events import (
    CallPermissionReply,
    Event,
    MessageReceived,
    MessageStatus,
    MetaErrorInfo,
    User,
    UserChanged,
)
from pipecat_whatsapp.meta.parsing import parse_change
from pipecat_whatsapp.simulator import message_payloads
from pipecat_whatsapp.simulator.permissions import Permission
from pipecat_whatsapp.simulator.settings import Account
from simulated_business import ADA

ACCOUNT = Account()
NAMELESS = User(user_id="DE.1", username="ada")


def parsed(value: Mapping[str, Any]) -> Event:
    [event] = parse_change("messages", value)
    return event


def reply(
    permission: Permission, *, automatic: bool = False, context_id: str | None = "wamid.1"
) -> dict[str, Any]:
    return message_payloads.permission_reply(
        ACCOUNT,
        "wamid.2",
        ADA,
        permission,
        timestamp=1790000000,
        automatic=automatic,
        context_id=context_id,
    )


def inner(value: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = value["messages"][0]["interactive"]["call_permission_reply"]
    return fields


def test_a_changed_number_comes_without_contacts() -> None:
    after = User(phone="4915550007777", user_id="DE.2", name="Ada Exämple")
    value = message_payloads.user_changed(ACCOUNT, "wamid.1", ADA, after, timestamp=1790000000)
    assert "contacts" not in value
    assert value["messages"] == [
        {
            "from": ADA.phone,
            "from_user_id": ADA.user_id,
            "id": "wamid.1",
            "timestamp": "1790000000",
            "type": "system",
            "system": {
                "body": "User Ada Exämple changed from 4915550002222 to 4915550007777",
                "type": "user_changed_number",
                "wa_id": "4915550007777",
                "user_id": "DE.2",
                "previous_user_id": ADA.user_id,
            },
        }
    ]


def test_a_changed_user_id() -> None:
    after = User(user_id="DE.2", parent_user_id="DE.ENT.2", username="ada")
    value = message_payloads.user_changed(ACCOUNT, "wamid.1", NAMELESS, after, timestamp=7)
    event = parsed(value)
    assert isinstance(event, UserChanged)
    assert event.raw["system"]["type"] == "user_changed_user_id"
    assert event.user == User(user_id="DE.2", parent_user_id="DE.ENT.2")
    assert (event.previous_user_id, event.previous_phone) == ("DE.1", None)


def test_a_text() -> None:
    value = message_payloads.text(ACCOUNT, "wamid.1", ADA, "Hi", timestamp=1790000000)
    assert value["messages"] == [
        {
            "from": "4915550002222",
            "from_user_id": "DE.900000000000000001",
            "id": "wamid.1",
            "timestamp": "1790000000",
            "type": "text",
            "text": {"body": "Hi"},
        }
    ]
    event = parsed(value)
    assert isinstance(event, MessageReceived)
    assert (event.text, event.user, event.timestamp) == ("Hi", ADA, 1790000000)
    assert event.phone_number_id == ACCOUNT.phone_number_id


def test_a_user_without_a_phone_number() -> None:
    value = message_payloads.text(ACCOUNT, "wamid.1", NAMELESS, "Hi", timestamp=1)
    assert "from" not in value["messages"][0]
    assert "wa_id" not in value["contacts"][0]
    event = parsed(value)
    assert isinstance(event, MessageReceived)
    assert event.user == NAMELESS


def test_a_status() -> None:
    value = message_payloads.status(ACCOUNT, "wamid.1", ADA, "delivered", timestamp=1790000000)
    assert "errors" not in value["statuses"][0]
    event = parsed(value)
    assert isinstance(event, MessageStatus)
    assert (event.message_id, event.status) == ("wamid.1", "delivered")
    assert event.user.phone == ADA.phone


def test_a_failed_message() -> None:
    error = MetaErrorInfo(code=131026, title="Message undeliverable")
    value = message_payloads.status(
        ACCOUNT, "wamid.1", NAMELESS, "failed", timestamp=1, error=error
    )
    assert "recipient_id" not in value["statuses"][0]
    event = parsed(value)
    assert isinstance(event, MessageStatus)
    assert event.errors == (error,)
    assert event.user.user_id == "DE.1"


def test_a_temporary_permission() -> None:
    value = reply(Permission("temporary", 1790604800))
    assert inner(value) == {
        "response": "accept",
        "is_permanent": False,
        "expiration_timestamp": "1790604800",
        "response_source": "user_action",
    }
    assert value["messages"][0]["context"] == {"from": "493055501111", "id": "wamid.1"}
    event = parsed(value)
    assert isinstance(event, CallPermissionReply)
    assert (event.accepted, event.permanent, event.expires_at) == (True, False, 1790604800)
    assert (event.automatic, event.context_id, event.user) == (False, "wamid.1", ADA)


def test_a_permanent_permission_has_no_end() -> None:
    value = reply(Permission("permanent"))
    assert inner(value) == {
        "response": "accept",
        "is_permanent": True,
        "response_source": "user_action",
    }
    event = parsed(value)
    assert isinstance(event, CallPermissionReply)
    assert (event.accepted, event.permanent, event.expires_at) == (True, True, None)


def test_a_rejection_says_nothing_about_permanence() -> None:
    value = reply(Permission(), automatic=True, context_id=None)
    assert inner(value) == {"response": "reject", "response_source": "automatic"}
    assert "context" not in value["messages"][0]
    event = parsed(value)
    assert isinstance(event, CallPermissionReply)
    assert (event.accepted, event.automatic, event.context_id) == (False, True, None)
