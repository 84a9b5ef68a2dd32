from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from pipecat_whatsapp.meta.events import MetaErrorInfo, User
from pipecat_whatsapp.simulator.graph import (
    ACTIONS,
    CallState,
    Delivery,
    GraphRequest,
    SimulatedMeta,
    Timing,
    UserCall,
)
from simulated_business import (
    ADA,
    ANSWER,
    FINGERPRINT,
    OFFER,
    Business,
    Phone,
    act,
    post,
    request_body,
    serve_business,
)

OTHER_ANSWER = ANSWER.replace("a=ptime:20\r\n", "")
SDP_OF: dict[str, str | None] = {
    "pre_accept": ANSWER,
    "accept": ANSWER,
    "reject": None,
    "terminate": None,
}


@pytest.fixture
async def business() -> AsyncIterator[Business]:
    async with serve_business() as business:
        yield business


@pytest.fixture
async def meta(business: Business) -> AsyncIterator[SimulatedMeta]:
    async with SimulatedMeta(timing=Timing(retry_delays=(0.01,))) as meta:
        await meta.subscribe(business.url)
        yield meta


@pytest.fixture
def phone() -> Phone:
    return Phone()


@pytest.fixture
async def call(meta: SimulatedMeta, phone: Phone) -> UserCall:
    return meta.ring(phone, OFFER, ADA)


def last_call(business: Business) -> dict[str, Any]:
    call: dict[str, Any] = business.webhooks[-1].value["calls"][0]
    return call


def state(call: UserCall) -> CallState:
    return call.state


async def succeed(meta: SimulatedMeta, call: UserCall, action: str) -> None:
    reply = await act(meta, call, action, SDP_OF[action])
    assert reply.status == 200, reply


async def refuse(
    meta: SimulatedMeta, call: UserCall, action: str, details: str, sdp: str = ANSWER
) -> None:
    before = call.state
    reply = await act(meta, call, action, sdp if SDP_OF[action] else None)
    assert (reply.status, reply.code) == (400, 100)
    assert details in reply.details
    assert call.state is before


# The life of a call


async def test_a_call_with_pre_accept(
    meta: SimulatedMeta, business: Business, phone: Phone, call: UserCall
) -> None:
    assert meta.calls == {call.id: call}
    await meta.wait_delivery("connect", call.id)
    assert last_call(business)["session"] == {"sdp_type": "offer", "sdp": OFFER}

    await succeed(meta, call, "pre_accept")
    assert state(call) is CallState.PRE_ACCEPTED
    assert phone.told == [("answer", ANSWER)]

    await succeed(meta, call, "accept")
    assert state(call) is CallState.ACCEPTED
    assert call.answer_sdp == ANSWER
    assert phone.told == [("answer", ANSWER), ("accepted",)]

    await call.hang_up()
    assert state(call) is CallState.ENDED
    assert call.ended_reason == "hung up"
    assert phone.told == [("answer", ANSWER), ("accepted",)]
    ended = last_call(business)
    assert (ended["event"], ended["status"]) == ("terminate", "COMPLETED")
    assert call.accepted_at is not None
    assert ended["start_time"] == str(int(call.accepted_at))
    assert ended["duration"] == int(ended["end_time"]) - int(ended["start_time"])


async def test_a_call_without_pre_accept(meta: SimulatedMeta, phone: Phone, call: UserCall) -> None:
    await succeed(meta, call, "accept")
    assert phone.told == [("answer", ANSWER), ("accepted",)]


async def test_the_payloads_come_back_in_terminate(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    call = meta.ring(phone, OFFER, ADA, cta_payload="cta", deeplink_payload="link", timestamp=7)
    await meta.wait_delivery("connect")
    connect = last_call(business)
    assert (connect["cta_payload"], connect["deeplink_payload"]) == ("cta", "link")
    assert connect["timestamp"] == "7"
    assert "biz_opaque_callback_data" not in connect
    await post(meta, request_body(call, "accept", ANSWER) | {"biz_opaque_callback_data": "mine"})
    await call.hang_up()
    ended = last_call(business)
    assert (ended["cta_payload"], ended["deeplink_payload"]) == ("cta", "link")
    assert ended["biz_opaque_callback_data"] == "mine"


@pytest.mark.parametrize(
    ("earlier", "action", "reason"),
    [
        ([], "reject", "rejected"),
        (["pre_accept"], "reject", "rejected"),
        ([], "terminate", "terminated"),
        (["pre_accept"], "terminate", "terminated"),
    ],
)
async def test_the_business_ends_an_unanswered_call(
    meta: SimulatedMeta,
    business: Business,
    phone: Phone,
    call: UserCall,
    earlier: list[str],
    action: str,
    reason: str,
) -> None:
    for step in [*earlier, action]:
        await succeed(meta, call, step)
    await meta.wait_delivery("terminate", call.id)
    assert call.ended_reason == reason
    assert phone.told[-1] == ("ended", reason)
    ended = last_call(business)
    assert ended["status"] == "COMPLETED"
    assert not {"start_time", "end_time", "duration"} & ended.keys()


async def test_the_business_terminates_an_answered_call(
    meta: SimulatedMeta, business: Business, phone: Phone, call: UserCall
) -> None:
    await succeed(meta, call, "accept")
    await succeed(meta, call, "terminate")
    await meta.wait_delivery("terminate", call.id)
    assert phone.told[-1] == ("ended", "terminated")
    assert "duration" in last_call(business)


async def test_the_callers_client_fails(
    meta: SimulatedMeta, business: Business, phone: Phone, call: UserCall
) -> None:
    await succeed(meta, call, "accept")
    await call.hang_up(MetaErrorInfo(code=138021, title="No media"))
    assert call.ended_reason == "failed"
    assert last_call(business)["status"] == "FAILED"
    assert "duration" in last_call(business)
    value = business.webhooks[-1].value
    assert (
        value["errors"] == last_call(business)["errors"] == [{"code": 138021, "title": "No media"}]
    )


async def test_an_end_comes_once(meta: SimulatedMeta, business: Business, call: UserCall) -> None:
    await succeed(meta, call, "reject")
    first, second = await call.hang_up(), await call.hang_up()
    assert first == second
    assert business.events == ["connect", "terminate"]


async def test_nobody_answers(business: Business, phone: Phone) -> None:
    async with SimulatedMeta(timing=Timing(answer_deadline=0.01)) as meta:
        await meta.subscribe(business.url)
        call = meta.ring(phone, OFFER, ADA)
        await meta.wait_delivery("terminate", call.id)
        assert phone.told == [("ended", "not answered")]
        assert last_call(business)["status"] == "COMPLETED"
        assert "duration" not in last_call(business)
        late = await act(meta, call, "accept", ANSWER)
        assert (late.status, late.code) == (500, 138007)
        await refuse(meta, call, "pre_accept", "ended already")
        await refuse(meta, call, "reject", "ended already")
        await refuse(meta, call, "terminate", "ended already")


async def test_an_accepted_call_has_no_deadline(business: Business, phone: Phone) -> None:
    async with SimulatedMeta(timing=Timing(answer_deadline=4.0)) as meta:
        await meta.subscribe(business.url)
        call = meta.ring(phone, OFFER, ADA)
        await succeed(meta, call, "accept")
        other = meta.ring(Phone(), OFFER, User(user_id="DE.2"))
        await meta.wait_delivery("terminate", other.id)
        assert call.state is CallState.ACCEPTED


async def test_an_id_rings_once(meta: SimulatedMeta) -> None:
    call = meta.ring(Phone(), OFFER, ADA, call_id="wacid.A==")
    assert call.id == "wacid.A=="
    with pytest.raises(ValueError, match="already"):
        meta.ring(Phone(), OFFER, ADA, call_id="wacid.A==")


async def test_a_number_set_to_sdes_gets_other_offers(meta: SimulatedMeta) -> None:
    assert meta.offer_variant == "today"
    meta.business.settings.write({"srtp_key_exchange_protocol": "SDES"})
    assert meta.offer_variant == "sdes"


# What a call's state forbids


async def test_pre_accept_comes_once(meta: SimulatedMeta, call: UserCall) -> None:
    await succeed(meta, call, "pre_accept")
    await refuse(meta, call, "pre_accept", "pre-accepted already")


async def test_accept_comes_once(meta: SimulatedMeta, call: UserCall) -> None:
    await succeed(meta, call, "accept")
    await refuse(meta, call, "accept", "accepted already")


async def test_pre_accept_after_accept(meta: SimulatedMeta, call: UserCall) -> None:
    await succeed(meta, call, "accept")
    await refuse(meta, call, "pre_accept", "accepted already")


async def test_reject_after_accept(meta: SimulatedMeta, call: UserCall) -> None:
    await succeed(meta, call, "accept")
    await refuse(meta, call, "reject", "cannot be rejected")


async def test_accept_with_another_sdp(meta: SimulatedMeta, phone: Phone, call: UserCall) -> None:
    await succeed(meta, call, "pre_accept")
    await refuse(meta, call, "accept", "differs", OTHER_ANSWER)
    await succeed(meta, call, "accept")
    assert phone.told == [("answer", ANSWER), ("accepted",)]


@pytest.mark.parametrize("action", sorted(SDP_OF))
async def test_nothing_more_after_the_end(meta: SimulatedMeta, call: UserCall, action: str) -> None:
    call.hang_up()
    await refuse(meta, call, action, "ended already")


@pytest.mark.parametrize("action", ["pre_accept", "accept"])
async def test_an_unusable_sdp(
    meta: SimulatedMeta, phone: Phone, call: UserCall, action: str
) -> None:
    line = f"a=fingerprint:sha-256 {FINGERPRINT}\r\n"
    reply = await act(meta, call, action, ANSWER.replace(line, line * 3))
    assert (reply.status, reply.code) == (400, 138008)
    assert phone.told == []
    await succeed(meta, call, action)


# What a test can see


async def test_requests_are_kept(meta: SimulatedMeta, call: UserCall) -> None:
    waiting = asyncio.create_task(meta.wait_request("reject", call.id))
    await succeed(meta, call, "reject")
    request = await waiting
    assert request == meta.requests[0]
    assert (request.method, request.status, request.error_code) == ("POST", 200, None)
    assert request.path == f"/v26.0/{meta.account.phone_number_id}/calls"
    assert request.phone_number_id == meta.account.phone_number_id
    assert request.body == request_body(call, "reject")


async def test_waiting_for_the_second_request(meta: SimulatedMeta, call: UserCall) -> None:
    await succeed(meta, call, "accept")
    await act(meta, call, "accept", ANSWER)
    assert (await meta.wait_request("accept")).status == 200
    assert (await meta.wait_request("accept", count=2)).status == 400


async def test_waiting_ends(meta: SimulatedMeta) -> None:
    with pytest.raises(TimeoutError):
        await meta.wait_request("accept", timeout=0.01)
    with pytest.raises(TimeoutError):
        await meta.wait_delivery("connect", timeout=0.01)


async def test_activity_is_told(meta: SimulatedMeta) -> None:
    told: list[GraphRequest | Delivery] = []
    unwatch = meta.watch(told.append)
    call = meta.ring(Phone(), OFFER, ADA)
    await meta.wait_delivery("connect")
    await succeed(meta, call, "terminate")
    await meta.wait_delivery("terminate")
    assert told == [meta.deliveries[0], meta.requests[0], meta.deliveries[1]]
    unwatch()
    await act(meta, call, "terminate")
    assert len(told) == 3


# Faults


async def test_failures_are_used_up(meta: SimulatedMeta, phone: Phone, call: UserCall) -> None:
    meta.faults.fail = {"accept": [(500, 138004), (401, 138000)]}
    replies = [await act(meta, call, "accept", ANSWER) for _ in range(2)]
    assert [(reply.status, reply.code) for reply in replies] == [(500, 138004), (401, 138000)]
    assert phone.told == []
    await succeed(meta, call, "accept")


async def test_a_lost_answer(meta: SimulatedMeta, phone: Phone, call: UserCall) -> None:
    meta.faults.drop_response.append("accept")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await act(meta, call, "accept", ANSWER)
    assert phone.told == [("answer", ANSWER), ("accepted",)]
    assert meta.requests[0].status is None
    await refuse(meta, call, "accept", "accepted already")


async def test_a_hanging_request(meta: SimulatedMeta, call: UserCall) -> None:
    meta.faults.hang |= ACTIONS
    waiting = asyncio.create_task(act(meta, call, "accept", ANSWER))
    request = await meta.wait_request("accept")
    assert request.status is None
    assert not waiting.done()
    assert call.state is CallState.RINGING
    await meta.close()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting


async def test_a_slow_accept_finds_the_call_ended(meta: SimulatedMeta, call: UserCall) -> None:
    meta.faults.latency = 0.1
    waiting = asyncio.create_task(act(meta, call, "accept", ANSWER))
    await call.hang_up()
    assert (await waiting).code == 100


async def test_close_does_not_wait_for_slow_requests(meta: SimulatedMeta, call: UserCall) -> None:
    meta.faults.latency = 600.0
    waiting = asyncio.create_task(act(meta, call, "accept", ANSWER))
    await meta.wait_delivery("connect")
    await meta.close()
    with pytest.raises(aiohttp.ClientError):
        await waiting


async def test_nothing_is_left_behind(business: Business) -> None:
    before = asyncio.all_tasks()
    async with SimulatedMeta() as meta:
        await meta.subscribe(business.url)
        business.silent.set()
        call = meta.ring(Phone(), OFFER, ADA)
        await succeed(meta, call, "pre_accept")
    business.awake.set()
    with pytest.raises(RuntimeError, match="not running"):
        _ = meta.graph_url
    mine = {task for task in asyncio.all_tasks() - before if "pipecat_whatsapp" in repr(task)}
    assert not mine
