from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from aiortc_business import Business, loud, pitch, spy_on_rtp, tone
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import SimulatedMeta, Timing
from pipecat_whatsapp.simulator.incoming_call import IncomingCall
from pipecat_whatsapp.simulator.phone import ADA, MediaRules, Phone, PhoneError
from simulated_business import Business as Webhooks
from simulated_business import Reply, act, connect_body, post, serve_business

PATIENCE = 60.0


@pytest.fixture
async def webhooks() -> AsyncIterator[Webhooks]:
    async with serve_business() as made:
        yield made


@pytest.fixture
async def meta(webhooks: Webhooks) -> AsyncIterator[SimulatedMeta]:
    async with SimulatedMeta(timing=Timing(retry_delays=())) as made:
        await made.subscribe(webhooks.url)
        made.permissions.grant(ADA)
        yield made


@pytest.fixture
async def phone(meta: SimulatedMeta) -> AsyncIterator[Phone]:
    async with Phone(meta) as made:
        yield made


@pytest.fixture
async def business() -> AsyncIterator[Business]:
    async with Business() as made:
        yield made


async def place(meta: SimulatedMeta, business: Business, setup: str = "actpass") -> Reply:
    offer = (await business.offer()).replace("a=setup:actpass", f"a=setup:{setup}")
    return await post(meta, connect_body(session={"sdp_type": "offer", "sdp": offer}))


async def call(
    meta: SimulatedMeta, business: Business, webhooks: Webhooks, phone: Phone
) -> IncomingCall:
    """The business calls, its link comes up, and the phone rings."""
    reply = await place(meta, business)
    assert reply.status == 200, reply
    ringing = await phone.rings(PATIENCE)
    await meta.wait_delivery("connect", ringing.id)
    await business.take(webhooks.webhooks[0].value["calls"][0]["session"]["sdp"])
    await ringing.connected(PATIENCE)
    return ringing


async def test_both_hear_each_other_once_the_phone_is_picked_up(
    meta: SimulatedMeta,
    business: Business,
    webhooks: Webhooks,
    phone: Phone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = spy_on_rtp(monkeypatch)
    ringing = await call(meta, business, webhooks, phone)
    await ringing.until(lambda recording: recording.received >= 5, PATIENCE)
    assert ringing.recording.media_before_accept >= 5
    assert seen.empty()

    await ringing.pick_up()
    await ringing.answered(PATIENCE)
    await ringing.say(tone(700, 1.0))
    assert pitch(await business.hears(0.5, PATIENCE)) == pytest.approx(700, abs=10)
    early = ringing.recording.media_before_accept
    await ringing.until(lambda recording: recording.sound_seconds > 1, PATIENCE)
    assert ringing.recording.media_before_accept == early
    assert pitch(loud(ringing.recording.pcm)) == pytest.approx(440, abs=10)

    await ringing.press("5")
    packets = [RtpPacket.parse(seen.get_nowait()) for _ in range(seen.qsize())]
    # The offer had Opus as 96, and no keys: then WhatsApp sends them as 126.
    assert {packet.payload_type for packet in packets} == {96, 126}

    await ringing.hang_up()
    assert await ringing.ended(PATIENCE) == "user hung up"
    assert webhooks.events == ["connect", "RINGING", "ACCEPTED", "terminate"]
    assert "duration" in webhooks.webhooks[-1].value["calls"][0]


async def test_a_lost_accepted_does_not_keep_the_user_from_being_heard(
    meta: SimulatedMeta, business: Business, webhooks: Webhooks, phone: Phone
) -> None:
    meta.faults.lose.append("accepted")
    ringing = await call(meta, business, webhooks, phone)
    await ringing.pick_up()
    await ringing.say(tone(700, 1.0))
    assert pitch(await business.hears(0.5, PATIENCE)) == pytest.approx(700, abs=10)
    assert webhooks.events == ["connect", "RINGING"]


@pytest.mark.parametrize(
    ("offered", "wished", "answered"),
    [
        ("actpass", "active", "active"),
        ("actpass", "passive", "passive"),
        ("actpass", "actpass", "actpass"),
        ("active", "active", "passive"),
    ],
)
async def test_dtls_comes_up_whoever_is_its_client(
    meta: SimulatedMeta,
    business: Business,
    webhooks: Webhooks,
    offered: str,
    wished: str,
    answered: str,
) -> None:
    async with Phone(meta, answer_setup=wished) as phone:
        assert (await place(meta, business, offered)).status == 200
        ringing = await phone.rings(PATIENCE)
        assert f"a=setup:{answered}\r\n" in ringing.answer_sdp
        # As a business has to read it: actpass is passive, and aiortc takes no actpass.
        await business.take(ringing.answer_sdp.replace("actpass", "passive"))
        await ringing.connected(PATIENCE)


async def test_a_declined_call(
    meta: SimulatedMeta, business: Business, webhooks: Webhooks, phone: Phone
) -> None:
    ringing = await call(meta, business, webhooks, phone)
    await ringing.decline()
    await ringing.decline()
    assert await ringing.ended(PATIENCE) == "declined"
    assert webhooks.events == ["connect", "RINGING", "REJECTED", "terminate"]
    with pytest.raises(PhoneError, match="declined"):
        await ringing.pick_up()


async def test_a_call_that_was_picked_up_cannot_be_declined(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    await place(meta, business)
    ringing = await phone.rings(PATIENCE)
    await ringing.pick_up()
    with pytest.raises(RuntimeError, match="hang it up"):
        await ringing.decline()
    await ringing.hang_up()
    await ringing.decline()
    assert await ringing.ended(PATIENCE) == "user hung up"


async def test_a_phone_that_is_hung_up_while_it_rings_declines(
    meta: SimulatedMeta, business: Business, webhooks: Webhooks
) -> None:
    async with Phone(meta):
        await place(meta, business)
    assert webhooks.events == ["connect", "RINGING", "REJECTED", "terminate"]
    assert (await post(meta, connect_body())).code == 138001


async def test_a_phone_rings_until_meta_gives_up(business: Business, webhooks: Webhooks) -> None:
    async with SimulatedMeta(timing=Timing(ring_timeout=0.1)) as meta, Phone(meta) as phone:
        await meta.subscribe(webhooks.url)
        meta.permissions.grant(ADA)
        await place(meta, business)
        assert await (await phone.rings(PATIENCE)).ended(PATIENCE) == "not answered"
        await meta.wait_delivery("terminate")
    assert webhooks.events == ["connect", "RINGING", "terminate"]


async def test_the_business_gives_up_while_the_phone_rings(
    meta: SimulatedMeta, business: Business, webhooks: Webhooks, phone: Phone
) -> None:
    ringing = await call(meta, business, webhooks, phone)
    assert (await act(meta, meta.calls[ringing.id], "terminate")).status == 200
    assert await ringing.ended(PATIENCE) == "terminated"
    async with asyncio.timeout(PATIENCE):
        await business.closed.wait()


async def test_the_wait_for_media_begins_with_the_pick_up(
    meta: SimulatedMeta, business: Business, webhooks: Webhooks
) -> None:
    async with Phone(meta, rules=MediaRules(start=0.05)) as phone:
        await place(meta, business)
        ringing = await phone.rings(PATIENCE)
        with pytest.raises(TimeoutError):
            await ringing.ended(0.2)
        await ringing.pick_up()
        assert await ringing.ended(PATIENCE) == "no media"
    (ended,) = webhooks.webhooks[-1].value["calls"]
    assert (ended["status"], ended["errors"][0]["code"]) == ("FAILED", 138021)
    assert "duration" in ended


async def test_a_user_without_a_phone_number_can_be_called(
    meta: SimulatedMeta, business: Business
) -> None:
    nobody = User(user_id="DE.1")
    meta.permissions.grant(nobody)
    async with Phone(meta, nobody) as phone:
        sdp = await business.offer()
        body = connect_body(to=None, recipient="DE.1", session={"sdp_type": "offer", "sdp": sdp})
        assert (await post(meta, body)).status == 200
        await (await phone.rings(PATIENCE)).pick_up()


async def test_nobody_rings_in_vain(phone: Phone) -> None:
    with pytest.raises(TimeoutError):
        await phone.rings(0.01)
