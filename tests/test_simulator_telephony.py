from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from aiortc_business import pitch, tone
from ogg import decoded
from pipecat_whatsapp.meta.events import (
    CallCreated,
    CallTerminate,
    Direction,
    MetaErrorInfo,
    User,
)
from pipecat_whatsapp.meta.webhook import parse_webhook
from pipecat_whatsapp.simulator import captures
from pipecat_whatsapp.simulator.graph import (
    Account,
    BusinessCall,
    CallState,
    Faults,
    MetaCall,
    SimulatedMeta,
    Timing,
)
from pipecat_whatsapp.simulator.telephony import NotCallableError
from simulated_account import DAY, Clock
from simulated_business import (
    ADA,
    ANSWER,
    BUSINESS_OFFER,
    OFFER,
    Business,
    Phone,
    Reply,
    act,
    connect_body,
    post,
    serve_business,
)

NAMELESS = User(user_id="DE.1", parent_user_id="DE.ENT.1")


@pytest.fixture
async def business() -> AsyncIterator[Business]:
    async with serve_business() as business:
        yield business


@pytest.fixture
async def meta(business: Business) -> AsyncIterator[SimulatedMeta]:
    async with SimulatedMeta(timing=Timing(retry_delays=())) as meta:
        await meta.subscribe(business.url)
        yield meta


@pytest.fixture
def phone(meta: SimulatedMeta) -> Phone:
    phone = Phone()
    meta.register(phone)
    meta.permissions.grant(ADA)
    return phone


async def place(meta: SimulatedMeta, **changes: Any) -> BusinessCall:
    reply = await post(meta, connect_body(**changes))
    assert reply.status == 200, reply
    (call,) = reply.body["calls"]
    assert reply.body == {"messaging_product": "whatsapp", "calls": [{"id": call["id"]}]}
    placed = meta.calls[call["id"]]
    assert isinstance(placed, BusinessCall)
    return placed


def refused(reply: Reply) -> tuple[int, int | None]:
    assert reply.status != 200
    return reply.status, reply.code


def state(call: MetaCall) -> CallState:
    return call.state


# The life of a call


async def test_a_call_rings_is_picked_up_and_ends(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    call = await place(meta, biz_opaque_callback_data="mine")
    assert phone.told == [("offer", BUSINESS_OFFER)]
    assert phone.rang is call
    assert (await meta.wait_request("connect", call.id)).status == 200
    await meta.wait_delivery("ringing", call.id)
    assert state(call) is CallState.RINGING

    call.pick_up()
    await meta.wait_delivery("accepted", call.id)
    assert state(call) is CallState.ACCEPTED

    await call.hang_up()
    assert business.events == ["connect", "RINGING", "ACCEPTED", "terminate"]
    connect, ringing, accepted, ended = (webhook.value for webhook in business.webhooks)
    (connected,) = connect["calls"]
    assert connected["direction"] == "BUSINESS_INITIATED"
    assert connected["session"] == {"sdp_type": "answer", "sdp": phone.answer_sdp}
    assert (connected["from"], connected["to"]) == (meta.account.display_phone_number, ADA.phone)
    for status in (*ringing["statuses"], *accepted["statuses"]):
        assert (status["type"], status["id"], status["recipient_id"]) == (
            "call",
            call.id,
            ADA.phone,
        )
        assert status["biz_opaque_callback_data"] == "mine"
    (terminated,) = ended["calls"]
    assert terminated["to_user_id"] == ADA.user_id
    assert (terminated["status"], terminated["start_time"]) == (
        "COMPLETED",
        accepted["statuses"][0]["timestamp"],
    )
    assert connected["biz_opaque_callback_data"] == terminated["biz_opaque_callback_data"] == "mine"


async def test_a_declined_call_is_rejected_then_terminated(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    call = await place(meta)
    await call.hang_up()
    assert business.events == ["connect", "RINGING", "REJECTED", "terminate"]
    assert call.ended_reason == "declined"
    (ended,) = business.webhooks[-1].value["calls"]
    assert ended["status"] == "COMPLETED"
    assert not {"start_time", "end_time", "duration"} & ended.keys()
    call.pick_up()
    assert state(call) is CallState.ENDED


async def test_nobody_picks_up(business: Business) -> None:
    async with SimulatedMeta(timing=Timing(ring_timeout=0.01)) as meta:
        await meta.subscribe(business.url)
        phone = Phone()
        meta.register(phone)
        meta.permissions.grant(ADA)
        call = await place(meta)
        await meta.wait_delivery("terminate", call.id)
    assert business.events == ["connect", "RINGING", "terminate"]
    assert phone.told[-1] == ("ended", "not answered")
    (ended,) = business.webhooks[-1].value["calls"]
    assert (ended["status"], "duration" in ended) == ("COMPLETED", False)


async def test_the_business_gives_up_while_it_rings(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    call = await place(meta)
    assert (await act(meta, call, "terminate")).status == 200
    await meta.wait_delivery("terminate", call.id)
    assert business.events == ["connect", "RINGING", "terminate"]
    assert phone.told[-1] == ("ended", "terminated")
    assert "ended already" in (await act(meta, call, "terminate")).details


async def test_the_users_client_fails_while_it_rings(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    call = await place(meta)
    await call.hang_up(MetaErrorInfo(code=138019))
    assert business.events == ["connect", "RINGING", "terminate"]
    assert business.webhooks[-1].value["calls"][0]["status"] == "FAILED"


@pytest.mark.parametrize("action", ["pre_accept", "accept", "reject"])
async def test_only_a_users_call_can_be_accepted_or_rejected(
    meta: SimulatedMeta, phone: Phone, action: str
) -> None:
    call = await place(meta)
    reply = await act(meta, call, action, ANSWER)
    assert refused(reply) == (400, 100)
    assert action in reply.details
    assert state(call) is CallState.RINGING


# Who is called


async def test_a_user_without_a_phone_number(meta: SimulatedMeta, business: Business) -> None:
    meta.register(Phone(NAMELESS))
    meta.permissions.grant(NAMELESS)
    call = await place(meta, to=None, recipient="DE.1")
    await call.hang_up()
    connect, ringing, _, ended = (webhook.value for webhook in business.webhooks)
    for fields in (*connect["calls"], *ended["calls"]):
        assert "to" not in fields
        assert (fields["to_user_id"], fields["to_parent_user_id"]) == ("DE.1", "DE.ENT.1")
    (status,) = ringing["statuses"]
    assert "recipient_id" not in status
    assert status["recipient_user_id"] == "DE.1"
    assert status["recipient_parent_user_id"] == "DE.ENT.1"


async def test_a_phone_number_wins_over_a_user_id(meta: SimulatedMeta, phone: Phone) -> None:
    meta.register(Phone(NAMELESS))
    assert (await place(meta, recipient="DE.1")).user == ADA


async def test_the_youngest_of_a_users_phones_rings(meta: SimulatedMeta, phone: Phone) -> None:
    other = Phone()
    meta.register(other)
    call = await place(meta)
    assert (phone.rang, other.rang) == (None, call)
    await call.hang_up()
    meta.unregister(other)
    meta.unregister(other)
    assert (await place(meta)) is phone.rang


# What is refused


async def test_a_user_without_a_phone_cannot_be_called(meta: SimulatedMeta) -> None:
    meta.permissions.grant(ADA)
    assert refused(await post(meta, connect_body())) == (400, 138001)


async def test_a_user_who_has_not_allowed_it_cannot_be_called(
    meta: SimulatedMeta, phone: Phone
) -> None:
    meta.permissions.revoke(ADA)
    assert refused(await post(meta, connect_body())) == (401, 138006)
    assert phone.told == []


async def test_a_user_is_called_once_at_a_time(meta: SimulatedMeta, phone: Phone) -> None:
    call = await place(meta)
    assert refused(await post(meta, connect_body())) == (400, 138003)
    await call.hang_up()
    theirs = meta.ring(Phone(), OFFER, ADA)
    assert refused(await post(meta, connect_body())) == (400, 138003)
    await theirs.hang_up()
    await place(meta)


async def test_a_user_calls_once_at_a_time(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    first = meta.ring(Phone(), OFFER, ADA)
    with pytest.raises(NotCallableError, match="on a call already"):
        meta.ring(Phone(), OFFER, ADA)
    other = meta.ring(Phone(NAMELESS), OFFER, NAMELESS)
    await first.hang_up()
    ours = await place(meta)
    with pytest.raises(NotCallableError, match="on a call already"):
        meta.ring(Phone(), OFFER, ADA)
    await ours.hang_up()
    last = meta.ring(Phone(), OFFER, ADA)
    await meta.wait_delivery("connect", last.id)
    assert {delivery.call_id for delivery in meta.deliveries if delivery.kind == "connect"} == {
        call.id for call in (first, other, ours, last)
    }


async def test_nobody_hears_of_a_users_call_that_is_one_too_many(business: Business) -> None:
    async with SimulatedMeta(Account(concurrent_calls=1)) as meta:
        await meta.subscribe(business.url)
        first = meta.ring(Phone(), OFFER, ADA)
        with pytest.raises(NotCallableError, match="too many calls"):
            meta.ring(Phone(NAMELESS), OFFER, NAMELESS)
        await first.hang_up()
        await meta.ring(Phone(NAMELESS), OFFER, NAMELESS).hang_up()
    assert business.events == ["connect", "terminate"] * 2


@pytest.mark.parametrize("number", ["15550001111", "2010", "8490", "23480"])
async def test_numbers_of_some_countries_cannot_place_calls(
    business: Business, number: str
) -> None:
    async with SimulatedMeta(Account(display_phone_number=number)) as meta:
        await meta.subscribe(business.url)
        assert refused(await post(meta, connect_body())) == (400, 138013)


async def test_the_number_of_calls_is_limited(business: Business) -> None:
    async with SimulatedMeta(Account(concurrent_calls=1, connects_per_day=2)) as meta:
        await meta.subscribe(business.url)
        for user in (ADA, NAMELESS):
            meta.register(Phone(user))
            meta.permissions.grant(user)
        call = await place(meta)
        other = connect_body(to=None, recipient="DE.1")
        assert refused(await post(meta, other)) == (429, 138002)
        await call.hang_up()
        await (await place(meta)).hang_up()
        assert refused(await post(meta, connect_body())) == (429, 138005)


async def test_a_business_that_cannot_pay_neither_calls_nor_is_called(business: Business) -> None:
    async with SimulatedMeta(Account(can_pay=False)) as meta:
        await meta.subscribe(business.url)
        assert refused(await post(meta, connect_body())) == (400, 131044)
        meta.ring(Phone(), OFFER, ADA)
        await meta.wait_delivery("calls")
    value = business.webhooks[0].value
    assert "calls" not in value
    assert value["errors"][0]["code"] == 131044


async def test_a_test_number_calls_only_whom_it_may(business: Business) -> None:
    account = Account(allowed_recipients=frozenset({"4915550003333"}))
    async with SimulatedMeta(account) as meta:
        await meta.subscribe(business.url)
        assert refused(await post(meta, connect_body())) == (400, 131030)
        assert refused(await post(meta, connect_body(to="4915550003333"))) == (400, 138001)


async def test_a_number_without_calling_places_no_call(meta: SimulatedMeta, phone: Phone) -> None:
    meta.business.settings.write({"status": "DISABLED"})
    assert refused(await post(meta, connect_body())) == (401, 138000)
    with pytest.raises(NotCallableError):
        meta.ring(phone, OFFER, ADA)


async def test_a_number_in_sip_mode_places_no_call(meta: SimulatedMeta, phone: Phone) -> None:
    server = {"hostname": "sip.example.com"}
    meta.business.settings.write({"sip": {"status": "ENABLED", "servers": [server]}})
    assert refused(await post(meta, connect_body())) == (400, 131055)
    with pytest.raises(NotCallableError):
        meta.ring(phone, OFFER, ADA)


async def test_a_restricted_number_places_no_call(meta: SimulatedMeta, phone: Phone) -> None:
    await meta.business.restrict("RESTRICTED_BUSINESS_INITIATED_CALLING")
    assert refused(await post(meta, connect_body())) == (400, 138014)
    meta.ring(phone, OFFER, ADA)


async def test_a_number_in_sip_mode_may_ask_to_be_told_of_calls(
    meta: SimulatedMeta, business: Business
) -> None:
    sip = {"status": "ENABLED", "servers": [{"hostname": "sip.example.com"}]}
    meta.business.settings.write({"sip": sip | {"webhook_delivery": "ENABLED"}})
    call = meta.ring(Phone(), OFFER, ADA)
    assert refused(await act(meta, call, "accept", ANSWER)) == (400, 131055)
    await call.hang_up()
    assert business.events == ["call_created", "terminate"]
    assert b"sdp" not in b"".join(webhook.body for webhook in business.webhooks if webhook.events)
    told = [event for webhook in business.webhooks for event in parse_webhook(webhook.body)]
    calls = [event for event in told if isinstance(event, CallCreated | CallTerminate)]
    assert len(calls) == 2
    for event in calls:
        assert (event.call_id, event.user, event.direction) == (call.id, ADA, Direction.INBOUND)


# The clock


async def test_all_times_are_those_of_the_one_clock(business: Business) -> None:
    clock = Clock()
    async with SimulatedMeta(clock=clock) as meta:
        await meta.subscribe(business.url)
        meta.register(Phone())
        meta.permissions.grant(ADA)
        call = await place(meta)
        clock.advance(10)
        call.pick_up()
        clock.advance(3600)
        await call.hang_up()
    connect, ringing, accepted, ended = (webhook.value for webhook in business.webhooks)
    began = int(clock()) - 3610
    for told in (*connect["calls"], *ringing["statuses"]):
        assert told["timestamp"] == str(began)
    assert accepted["statuses"][0]["timestamp"] == str(began + 10)
    (terminated,) = ended["calls"]
    assert (terminated["start_time"], terminated["end_time"]) == (
        str(began + 10),
        str(began + 3610),
    )
    assert (terminated["timestamp"], terminated["duration"]) == (str(began + 3610), 3600)


async def test_files_and_users_calls_have_its_times_too(business: Business) -> None:
    clock = Clock()
    async with SimulatedMeta(clock=clock) as meta:
        await meta.subscribe(business.url)
        voicemail(meta, "REJECT")
        call = meta.ring(Phone(), OFFER, ADA)
        await act(meta, call, "reject")
        await meta.wait_delivery("messages")
        meta.register(Phone())
        meta.permissions.grant(ADA)
        placed = await place(meta, recording={"status": "ENABLED"})
        placed.pick_up()
        await placed.hang_up()
        await meta.wait_delivery("call_recording_available")
    told = [
        part["timestamp"]
        for webhook in business.webhooks
        for name in ("calls", "messages", "statuses")
        for part in webhook.value.get(name, ())
    ]
    assert set(told) == {str(int(clock()))}
    assert len(told) == 8


async def test_the_limit_of_calls_lasts_for_24_hours(business: Business) -> None:
    clock = Clock()
    async with SimulatedMeta(Account(connects_per_day=1), clock=clock) as meta:
        await meta.subscribe(business.url)
        meta.register(Phone())
        meta.permissions.grant(ADA)
        await (await place(meta)).hang_up()
        clock.advance(DAY - 1)
        assert refused(await post(meta, connect_body())) == (429, 138005)
        clock.advance(1)
        await place(meta)


# Permissions


async def test_a_user_who_does_not_pick_up_is_not_called_for_ever(
    meta: SimulatedMeta, phone: Phone
) -> None:
    for _ in range(4):
        await (await place(meta)).hang_up()
    assert refused(await post(meta, connect_body())) == (401, 138006)


async def test_a_call_that_is_picked_up_forgives_those_that_were_not(
    meta: SimulatedMeta, phone: Phone
) -> None:
    for picks_up in (False, False, False, True, False, False, False):
        call = await place(meta)
        if picks_up:
            call.pick_up()
        await call.hang_up()
    await place(meta)


async def test_a_call_lets_the_business_write(meta: SimulatedMeta, phone: Phone) -> None:
    call = await place(meta)
    assert not meta.business.conversations.is_open(ADA)
    call.pick_up()
    assert meta.business.conversations.is_open(ADA)

    theirs = meta.ring(Phone(NAMELESS), OFFER, NAMELESS)
    assert meta.business.conversations.is_open(NAMELESS)
    await theirs.hang_up()


async def test_a_user_who_calls_can_be_called_back(meta: SimulatedMeta, business: Business) -> None:
    meta.register(Phone())
    meta.business.settings.write({"callback_permission_status": "ENABLED"})
    await meta.ring(Phone(), OFFER, ADA).hang_up()
    await meta.wait_delivery("messages")
    await place(meta)


# What Meta makes of a call


@dataclass
class Recorder(Phone):
    """A phone that has heard a tone."""

    def recorded(self) -> bytes:
        return tone(440, 1.0)


async def test_a_call_is_recorded_and_transcribed(meta: SimulatedMeta, business: Business) -> None:
    meta.register(Recorder())
    meta.permissions.grant(ADA)
    wanted = {"status": "ENABLED", "purpose": "quality"}
    call = await place(meta, recording=wanted, transcription=wanted)
    call.pick_up()
    await call.hang_up()
    await meta.wait_delivery("call_transcription_available", call.id)
    assert business.events[3:] == [
        "terminate",
        "call_recording_available",
        "call_transcription_available",
    ]
    recorded, transcribed = (webhook.value["calls"][0] for webhook in business.webhooks[-2:])
    assert recorded["to"] == ADA.phone
    audio, document = (
        recorded["call_recording"]["audio"],
        transcribed["call_transcript"]["document"],
    )
    assert audio["mime_type"] == "audio/ogg; codecs=opus"
    assert pitch(decoded(await download(meta, audio)), 48_000) == pytest.approx(440, abs=2)
    transcript = json.loads(await download(meta, document))["transcript"]
    assert transcript["duration"] == 1.0


async def download(meta: SimulatedMeta, media: dict[str, str]) -> bytes:
    headers = {"Authorization": f"Bearer {meta.account.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.get(media["url"]) as response,
    ):
        assert response.status == 200
        data = await response.read()
    assert base64.b64decode(media["sha256"]) == hashlib.sha256(data).digest()
    return data


@pytest.mark.parametrize("picks_up", [True, False])
async def test_nothing_is_recorded_unasked_or_without_a_conversation(
    meta: SimulatedMeta, business: Business, phone: Phone, picks_up: bool
) -> None:
    call = await place(meta, **({} if picks_up else {"recording": {"status": "ENABLED"}}))
    if picks_up:
        call.pick_up()
    await call.hang_up()
    await meta.deliver({"messages": []}, field="messages")
    assert business.events[-1] == "terminate"


def voicemail(meta: SimulatedMeta, *triggers: str, timeout: int = 0) -> None:
    media_id = meta.business.media.upload(
        captures.ogg_opus(b""), captures.AUDIO, "call_voicemail_announcement"
    )
    greeting = {"announcement_media_id": int(media_id), "timeout_seconds": timeout}
    settings = {"status": "ENABLED", "triggers": triggers, "audio": {"default": greeting}}
    meta.business.settings.write({"voicemail": {**settings, "triggers": list(triggers)}})


async def test_a_rejected_call_goes_to_voicemail(meta: SimulatedMeta, business: Business) -> None:
    voicemail(meta, "REJECT")
    call = meta.ring(Phone(), OFFER, ADA)
    await act(meta, call, "reject")
    await meta.wait_delivery("messages")
    told = (webhook.value for webhook in business.webhooks)
    (message,) = next(value["messages"] for value in told if "messages" in value)
    assert (message["id"], message["type"], message["from"]) == (call.id, "audio", ADA.phone)
    assert (await download(meta, message["audio"])).startswith(b"OggS")


async def test_a_slow_business_loses_its_call_to_voicemail(
    meta: SimulatedMeta, business: Business
) -> None:
    voicemail(meta, "TIMEOUT")
    call = meta.ring(Phone(), OFFER, ADA)
    await meta.wait_delivery("messages")
    assert call.ended_reason == "not answered"
    assert refused(await act(meta, call, "accept", ANSWER)) == (500, 138007)


async def test_voicemail_takes_only_what_it_is_set_to(
    meta: SimulatedMeta, business: Business
) -> None:
    for trigger, end in (("TIMEOUT", "reject"), ("REJECT", "terminate")):
        voicemail(meta, trigger, timeout=30)
        await act(meta, meta.ring(Phone(), OFFER, ADA), end)
        await meta.wait_delivery("terminate")
    await meta.ring(Phone(), OFFER, ADA).hang_up()
    assert {delivery.kind for delivery in meta.deliveries} == {"connect", "terminate"}


# Faults


async def test_webhooks_can_beat_the_response(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    meta.faults.late_responses["connect"] = 600.0
    waiting = asyncio.create_task(post(meta, connect_body()))
    await meta.wait_delivery("ringing")
    assert business.events == ["connect", "RINGING"]
    assert not waiting.done()
    await meta.close()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting


async def test_a_lost_response_leaves_the_call_ringing(meta: SimulatedMeta, phone: Phone) -> None:
    meta.faults.drop_response.append("connect")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(meta, connect_body())
    assert phone.rang is not None
    assert phone.rang.state is CallState.RINGING
    assert (await meta.wait_request("connect", phone.rang.id)).status is None


async def test_webhooks_can_be_lost(meta: SimulatedMeta, business: Business, phone: Phone) -> None:
    meta.faults.lose = ["ringing", "accepted"]
    call = await place(meta)
    call.pick_up()
    await call.hang_up()
    assert business.events == ["connect", "terminate"]
    assert meta.faults.lose == []


async def test_a_late_webhook_is_overtaken(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    meta.faults.late = {"ringing": 0.1}
    # Sent at the same time, however long the user took to pick up.
    meta.faults.hold()
    call = await place(meta)
    call.pick_up()
    await meta.release()
    assert business.events == ["connect", "ACCEPTED", "RINGING"]


async def test_a_standby_partner_learns_only_the_end_of_its_own_calls(business: Business) -> None:
    async with SimulatedMeta(faults=Faults(standby=True)) as meta:
        await meta.subscribe(business.url)
        meta.register(Phone())
        meta.permissions.grant(ADA)
        assert (await meta.ring(Phone(), OFFER, ADA).hang_up()).attempt == 0
        call = await place(meta)
        call.pick_up()
        await call.hang_up()
        await meta.deliver({"messages": []}, field="messages")
    kinds = [delivery.kind for delivery in meta.deliveries]
    assert kinds == ["terminate", "messages"]
    assert business.webhooks[0].value["calls"][0]["direction"] == "BUSINESS_INITIATED"
