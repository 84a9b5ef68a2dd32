"""Every documented payload, read; every broken one, survived."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipecat_whatsapp.meta.events import (
    AccountUpdate,
    CallConnect,
    CallCreated,
    CallMediaAvailable,
    CallPermissionReply,
    CallStatus,
    CallTerminate,
    Direction,
    ErrorNotice,
    Event,
    MessageReceived,
    MessageStatus,
    MetaErrorInfo,
    Restriction,
    SettingsUpdate,
    UnknownEvent,
    User,
    UserChanged,
    Voicemail,
)
from pipecat_whatsapp.meta.webhook import parse_webhook

PAYLOADS = {path.stem: path.read_bytes() for path in (Path(__file__).parent / "payloads").iterdir()}

WACID = "wacid.HBgMEXAMPLEEXAMPLEAA=="
PHONE = "4915550002222"
BUSINESS = "15550001111"
UID = "DE.900000000000000001"
PARENT = "DE.ENT.900000000000000001"
SDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"

ADA = User(PHONE, UID, PARENT, "Ada Example", "ada.example")
NUMBER: dict[str, Any] = {"phone_number_id": "200000000000002"}
CALL: dict[str, Any] = {**NUMBER, "call_id": WACID}
CONNECT: dict[str, Any] = {
    **CALL,
    "timestamp": 1790000000,
    "direction": Direction.INBOUND,
    "business_phone": BUSINESS,
    "sdp_type": "offer",
    "sdp": SDP,
}
TERMINATE: dict[str, Any] = {**CALL, "timestamp": 1790000033, "direction": Direction.INBOUND}
REPLY: dict[str, Any] = {**NUMBER, "timestamp": 1790000000, "user": User(PHONE, UID)}
STATUS: dict[str, Any] = {**CALL, "timestamp": 1790000005, "biz_opaque_callback_data": "order-7"}

READ: dict[str, list[Event]] = {
    "connect_inbound": [
        CallConnect(**CONNECT, user=ADA, cta_payload="order-12345", deeplink_payload="spring")
    ],
    "connect_without_direction": [
        CallConnect(**CONNECT, user=User(PHONE, name="Ada Example", username="ada.example"))
    ],
    "connect_username_only": [
        CallConnect(**CONNECT, user=User(user_id=UID, username="ada.example"))
    ],
    "connect_without_contacts": [CallConnect(**CONNECT, user=User(PHONE))],
    "connect_without_sdp": [CallConnect(**CONNECT | {"sdp": ""}, user=User(PHONE))],
    "connect_outbound": [
        CallConnect(
            **CONNECT | {"direction": Direction.OUTBOUND, "sdp_type": "answer"},
            user=User(PHONE, UID),
            biz_opaque_callback_data="order-7",
        )
    ],
    "terminate_completed": [
        CallTerminate(
            **TERMINATE,
            user=ADA,
            status="COMPLETED",
            start_time=1790000013,
            end_time=1790000033,
            duration=20,
            cta_payload="order-12345",
            deeplink_payload="spring",
            biz_opaque_callback_data="order-7",
        )
    ],
    "terminate_unanswered": [CallTerminate(**TERMINATE, user=User(PHONE), status="COMPLETED")],
    "terminate_errors_twice": [
        CallTerminate(
            **TERMINATE,
            user=User(PHONE),
            status="FAILED",
            errors=(MetaErrorInfo(138021, "No media", "No media arrived", "Nothing for 20 s"),),
        )
    ],
    "terminate_short_errors": [
        CallTerminate(
            **TERMINATE,
            user=User(PHONE),
            status="FAILED",
            errors=(MetaErrorInfo(code=138021), MetaErrorInfo(title="Unknown")),
        )
    ],
    "call_statuses": [
        CallStatus(**STATUS, status="RINGING", user=User(PHONE, UID, PARENT)),
        CallStatus(**STATUS, status="ACCEPTED", user=User(None, UID, PARENT)),
        CallStatus(**STATUS, status="REJECTED", user=User(PHONE, UID, PARENT)),
    ],
    "recording": [
        CallMediaAvailable(
            **CALL,
            timestamp=1790000100,
            kind="recording",
            media_id="300000000000003",
            sha256="c2hhMjU2",
            mime_type="audio/ogg; codecs=opus",
            url="https://example.com/media/3",
        )
    ],
    "transcript": [
        CallMediaAvailable(
            **CALL,
            timestamp=1790000100,
            kind="transcription",
            media_id="300000000000004",
            sha256="c2hhMjU2",
            mime_type="application/json",
            url="https://example.com/media/4",
        )
    ],
    "call_created": [
        CallCreated(**CALL, timestamp=1790000000, direction=Direction.OUTBOUND, user=ADA)
    ],
    "errors_alone": [
        ErrorNotice(**NUMBER, timestamp=1790000001, errors=(MetaErrorInfo(131044, "Payment"),))
    ],
    "permission_temporary": [
        CallPermissionReply(
            **REPLY | {"user": ADA},
            accepted=True,
            expires_at=1790604800,
            context_id="wamid.REQUEST",
        )
    ],
    "permission_permanent": [CallPermissionReply(**REPLY, accepted=True, permanent=True)],
    "permission_revoked": [CallPermissionReply(**REPLY, accepted=False, automatic=True)],
    "voicemail": [
        Voicemail(
            **REPLY | {"user": ADA},
            call_id=WACID,
            media_id="300000000000005",
            sha256="c2hhMjU2",
            mime_type="audio/ogg; codecs=opus",
            url="https://example.com/media/5",
        ),
    ],
    "text_message": [
        MessageReceived(
            **REPLY | {"user": ADA}, message_id="wamid.EXAMPLE1", type="text", text="Hello ☺"
        )
    ],
    "user_id_changed": [UserChanged(**REPLY, previous_user_id="DE.900000000000000009")],
    "user_number_changed": [
        UserChanged(**REPLY | {"user": User("4915550007777")}, previous_phone=PHONE)
    ],
    "message_statuses": [
        MessageStatus(
            **NUMBER,
            timestamp=1790000002,
            message_id="wamid.EXAMPLE2",
            status="delivered",
            user=User(PHONE),
        ),
        MessageStatus(
            **NUMBER,
            timestamp=1790000003,
            message_id="wamid.EXAMPLE3",
            status="failed",
            user=User(user_id=UID),
            errors=(MetaErrorInfo(131026, "Undeliverable"),),
        ),
    ],
    "settings_update": [
        SettingsUpdate(**NUMBER, timestamp=1790000000, calling={"status": "ENABLED"})
    ],
    "account_violation": [
        AccountUpdate(
            timestamp=1790000001,
            event="ACCOUNT_VIOLATION",
            violation="USER_INITIATED_CALLS_LOW_PICKUP_RATE",
            remediation="Pick up calls.",
        )
    ],
    "account_restriction": [
        AccountUpdate(
            timestamp=1790000001,
            event="ACCOUNT_RESTRICTION",
            restrictions=(
                Restriction("RESTRICTED_USER_INITIATED_CALLING", expires_at=1790600000),
                Restriction("RESTRICTED_BUSINESS_INITIATED_CALLING"),
            ),
        )
    ],
    "unknown_field": [UnknownEvent(kind="template_category_update")],
}


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_documented_payloads_parse(name: str) -> None:
    assert parse_webhook(PAYLOADS[name]) == READ[name]


def body_of(*values: dict[str, Any], field: str = "calls") -> bytes:
    changes = [{"field": field, "value": {"metadata": NUMBER, **value}} for value in values]
    return json.dumps({"entry": [{"id": "1", "changes": changes}]}).encode()


def connect(**changed: Any) -> dict[str, Any]:
    return {
        "id": WACID,
        "from": PHONE,
        "event": "connect",
        "session": {"sdp_type": "offer", "sdp": SDP},
        **changed,
    }


def read_call(**changed: Any) -> Event:
    (event,) = parse_webhook(body_of({"calls": [connect(**changed)]}))
    return event


def test_events_carry_what_they_were_read_from() -> None:
    event = read_call(novelty={"kept": True})
    assert event.raw["novelty"] == {"kept": True}


def test_several_calls_find_their_contacts_by_number_or_user_id() -> None:
    contacts = [
        None,
        {"profile": {"name": "No ids"}},
        {"wa_id": "4915550003333", "profile": {"name": "Bob"}},
        {"user_id": UID, "profile": {"name": "Ada"}},
    ]
    calls = [
        connect(id="wacid.A", from_user_id=UID),
        connect(id="wacid.B", **{"from": "4915550003333"}),
        connect(id="wacid.C", **{"from": "4915550004444"}),
    ]
    events = parse_webhook(body_of({"contacts": contacts, "calls": calls}))
    assert [event.user.name for event in events if isinstance(event, CallConnect)] == [
        "Ada",
        "Bob",
        None,
    ]


def test_a_stranger_contact_still_names_the_only_caller() -> None:
    contacts = [{"wa_id": "4915550009999", "profile": {"name": "Ada"}}]
    (event,) = parse_webhook(body_of({"contacts": contacts, "calls": [connect()]}))
    assert isinstance(event, CallConnect)
    assert (event.user.phone, event.user.name) == (PHONE, "Ada")


def test_different_errors_with_one_code_are_both_kept() -> None:
    errors = [{"code": 1, "message": "one"}, {"code": 1, "message": "other"}, {}, 7, None]
    event = read_call(event="terminate", errors=errors)
    assert isinstance(event, CallTerminate)
    assert [error.message for error in event.errors] == ["one", "other"]


def test_errors_beside_a_connect_are_told_too() -> None:
    value = {"calls": [connect()], "errors": [{"code": 131044}]}
    connected, notice = parse_webhook(body_of(value))
    assert isinstance(connected, CallConnect)
    assert isinstance(notice, ErrorNotice)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id": "x" * 513}, "the id is longer than 512 characters"),
        ({"id": "wacid.\n"}, "the id has unprintable characters"),
        ({"id": "wacid.\ud800"}, "the id has unprintable characters"),
        ({"id": 7}, "the id is missing"),
        ({"session": {"sdp": SDP}}, "neither the direction nor the SDP's type is known"),
        (
            {"direction": "USER_INITIATED", "session": {"sdp": SDP, "sdp_type": "pranswer"}},
            "the SDP's type is neither offer nor answer",
        ),
    ],
)
def test_unusable_connects_are_unknown_with_a_reason(changed: dict[str, Any], reason: str) -> None:
    event = read_call(**changed)
    assert event == UnknownEvent(**NUMBER, kind="calls/connect", reason=reason)


def test_a_missing_or_endless_sdp_is_left_to_whoever_rejects_the_call() -> None:
    event = read_call(session={"sdp_type": "offer"})
    assert isinstance(event, CallConnect)
    assert event.sdp == ""
    event = read_call(session={"sdp_type": "offer", "sdp": "s" * 500_000})
    assert isinstance(event, CallConnect)
    assert 65_536 < len(event.sdp) < 500_000


def test_a_missing_sdp_type_follows_from_the_direction() -> None:
    event = read_call(direction="business_initiated", session={"sdp": SDP})
    assert isinstance(event, CallConnect)
    assert (event.direction, event.sdp_type) == (Direction.OUTBOUND, "answer")


def read_message(**message: Any) -> Event:
    sent = {"from": PHONE, "id": "wamid.EXAMPLE1", **message}
    (event,) = parse_webhook(body_of({"messages": [sent]}, field="messages"))
    return event


AUDIO = {"id": "300000000000005"}


def test_an_audio_message_is_a_voicemail_only_with_the_id_of_a_call() -> None:
    event = read_message(type="audio", audio=AUDIO)
    assert isinstance(event, MessageReceived)
    assert isinstance(read_message(id=WACID, type="audio", audio=AUDIO), Voicemail)
    assert isinstance(read_message(id=WACID, type="text"), MessageReceived)


def test_a_voicemail_that_names_no_file_is_unknown() -> None:
    event = read_message(id=WACID, type="audio", audio={"mime_type": "audio/ogg"})
    assert event == UnknownEvent(**NUMBER, kind="messages/audio", reason="it names no file")


@pytest.mark.parametrize(
    ("sender", "system", "user", "previous"),
    [
        # The old id is named, or is that of the sender.
        ({}, {"user_id": "DE.2", "previous_user_id": "DE.1"}, User(PHONE, "DE.2"), "DE.1"),
        ({"from_user_id": "DE.1"}, {"user_id": "DE.2"}, User(PHONE, "DE.2"), "DE.1"),
        # The sender already has the new id: the old one is not known.
        ({"from_user_id": "DE.2"}, {"user_id": "DE.2"}, User(PHONE, "DE.2"), None),
        ({}, {"user_id": "DE.2", "parent_user_id": PARENT}, User(PHONE, "DE.2", PARENT), None),
        ({"from_user_id": "DE.1"}, {}, User(PHONE, "DE.1"), None),
    ],
)
def test_a_changed_user_is_told_with_what_is_known(
    sender: dict[str, str], system: dict[str, str], user: User, previous: str | None
) -> None:
    system = {"type": "USER_CHANGED_USER_ID", **system}
    event = read_message(type="system", system=system, **sender)
    assert event == UserChanged(**NUMBER, user=user, previous_user_id=previous)


def test_a_changed_number_is_told_with_the_new_one() -> None:
    system = {"type": "user_changed_number", "wa_id": "4915550007777", "user_id": "DE.2"}
    event = read_message(type="system", system=system, from_user_id="DE.1")
    assert event == UserChanged(
        **NUMBER,
        user=User("4915550007777", "DE.2"),
        previous_user_id="DE.1",
        previous_phone=PHONE,
    )


def test_other_system_messages_stay_messages() -> None:
    event = read_message(type="system", system={"type": "customer_identity_changed"})
    assert isinstance(event, MessageReceived)
    assert event.type == "system"


def test_long_payloads_are_cut_and_half_characters_replaced() -> None:
    event = read_call(cta_payload="p" * 5_000, deeplink_payload="a\ud800b")
    assert isinstance(event, CallConnect)
    assert (event.cta_payload, event.deeplink_payload) == ("p" * 2048, "a\ufffdb")


@pytest.mark.parametrize("number", ["+49 1555 000-2222", "4915550002222", 4915550002222])
def test_phone_numbers_become_digits(number: Any) -> None:
    event = read_call(**{"from": number})
    assert isinstance(event, CallConnect)
    assert event.user.phone == PHONE


@pytest.mark.parametrize("stamp", ["1790000000", 1790000000, "1790000000123", 1790000000123])
def test_timestamps_are_seconds_also_where_milliseconds_came(stamp: Any) -> None:
    assert read_call(timestamp=stamp).timestamp == 1790000000


@pytest.mark.parametrize("stamp", ["soon", "", "-1", -1, 1.5, True, None, [], {}, "9" * 40, "²"])
def test_other_timestamps_are_none(stamp: Any) -> None:
    assert read_call(timestamp=stamp).timestamp is None


def test_a_batch_survives_its_broken_parts() -> None:
    good = [connect(id=f"wacid.{index}") for index in range(900)]
    broken: list[Any] = [None, 42, "x", [], {}, {"event": "connect"}, connect(id=None)] * 10
    values: list[dict[str, Any]] = [
        {"calls": good[:450] + broken},
        {"calls": "x", "statuses": 42, "messages": None, "errors": "x", "contacts": 7},
        {"calls": broken + good[450:], "metadata": None, "contacts": [None, {"wa_id": {}}]},
    ]
    payload = json.loads(body_of(*values))
    payload["entry"][:0] = [None, {}, {"changes": 7}]
    payload["entry"][-1]["changes"][1:1] = [None, {"field": "calls", "value": []}]
    events = parse_webhook(json.dumps(payload).encode())
    ids = [event.call_id for event in events if isinstance(event, CallConnect)]
    assert ids == [call["id"] for call in good]
    unknown = [event for event in events if isinstance(event, UnknownEvent)]
    assert len(unknown) == 2 * len(broken) + 2 + 3 + 2
    assert len(events) == len(good) + len(unknown)


JUNK: list[Any] = [None, [], {}, 42, "x", True, -1.5, "\ud800", [[[{"a": [{}]}]]], {"a": {"b": []}}]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(node[key], (*path, key))


def mutations(payload: Any) -> Iterator[Any]:
    """The payload with each part in turn left out, or replaced by junk."""
    for *path, last in places(payload):
        for junk in [KeyError, *JUNK]:
            mutated = copy.deepcopy(payload)
            parent = mutated
            for key in path:
                parent = parent[key]
            if junk is KeyError:
                del parent[last]
            else:
                parent[last] = junk
            yield mutated


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_no_mutation_breaks_the_parser(name: str) -> None:
    for mutated in mutations(json.loads(PAYLOADS[name])):
        events = parse_webhook(json.dumps(mutated).encode())
        assert all(isinstance(event, Event) for event in events)
        for event in events:
            json.dumps(str(event), ensure_ascii=False).encode()
            if isinstance(event, UnknownEvent):
                assert PHONE not in event.reason + event.kind
