from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiortc import RTCRemoteInboundRtpStreamStats
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpSrPacket

from aiortc_business import Business, loud, pitch, spy_on_rtp, tone
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.meta.events import MetaErrorInfo, User
from pipecat_whatsapp.simulator.business import Business as SimulatedBusiness
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.network import Network, NetworkConditions
from pipecat_whatsapp.simulator.offer import AnswerError
from pipecat_whatsapp.simulator.phone import ADA, MediaRules, Phone, PhoneCall, PhoneError
from pipecat_whatsapp.simulator.sound import read_wav, write_wav

PATIENCE = 60.0


class FakeCall:
    """Meta's side of a call: keeps what the phone told it."""

    id = "wacid.1"

    def __init__(self) -> None:
        self.hang_ups: list[MetaErrorInfo | None] = []

    async def hang_up(self, error: MetaErrorInfo | None = None) -> None:
        self.hang_ups.append(error)


class FakeMeta:
    """Meta's side: keeps the last ring."""

    def __init__(self) -> None:
        self.offer = ""
        self.user: User | None = None
        self.payloads: tuple[str | None, str | None] = (None, None)
        self.call = FakeCall()
        self.refuses = False
        self.phones: list[Phone] = []
        self.offer_variant = "today"

    @property
    def business(self) -> SimulatedBusiness:
        raise NotImplementedError

    def register(self, phone: Phone) -> None:
        self.phones.append(phone)

    def unregister(self, phone: Phone) -> None:
        self.phones.remove(phone)

    def ring(
        self,
        leg: PhoneCall,
        offer_sdp: str,
        user: User,
        *,
        cta_payload: str | None = None,
        deeplink_payload: str | None = None,
    ) -> FakeCall:
        if self.refuses:
            raise RuntimeError("calling is off")
        self.offer, self.user, self.payloads = offer_sdp, user, (cta_payload, deeplink_payload)
        return self.call


@pytest.fixture
def meta() -> FakeMeta:
    return FakeMeta()


@pytest.fixture
async def phone(meta: FakeMeta) -> AsyncIterator[Phone]:
    async with Phone(meta) as made:
        yield made


@pytest.fixture
async def business() -> AsyncIterator[Business]:
    async with Business() as made:
        yield made


async def pick_up(call: PhoneCall, meta: FakeMeta, business: Business) -> None:
    call.on_answer(await business.answer(meta.offer))
    await call.connected(PATIENCE)
    call.on_accepted()
    await call.answered(PATIENCE)


async def far_end_report(business: Business) -> RTCRemoteInboundRtpStreamStats:
    """What the phone reports of the business's stream, once round trip and loss are known."""
    (sender,) = business.pc.getSenders()
    async with asyncio.timeout(PATIENCE):
        while True:
            for stats in (await sender.getStats()).values():
                if (
                    isinstance(stats, RTCRemoteInboundRtpStreamStats)
                    and stats.packetsLost
                    and stats.roundTripTime is not None
                ):
                    return stats
            await asyncio.sleep(0.05)


async def test_a_ring_carries_the_offer_the_user_and_the_payloads(
    meta: FakeMeta, phone: Phone
) -> None:
    call = await phone.dial(cta_payload="button", deeplink_payload="link")
    assert call.id == "wacid.1"
    assert meta.user == ADA
    assert meta.payloads == ("button", "link")
    assert "a=fingerprint" in meta.offer
    await phone.dial(offer_variant="sdes")
    assert "a=crypto" in meta.offer


async def test_the_settings_of_the_business_shape_the_offer(meta: FakeMeta, phone: Phone) -> None:
    meta.offer_variant = "sdes"
    await phone.dial()
    assert "a=crypto" in meta.offer


async def test_both_hear_each_other_until_the_caller_hangs_up(
    meta: FakeMeta, phone: Phone, business: Business, tmp_path: Path
) -> None:
    call = await phone.dial()
    await pick_up(call, meta, business)
    await call.wait_sound(PATIENCE)
    await call.say(tone(700, 1.0))
    write_wav(tmp_path / "question.wav", tone(700, 0.5, 8000), 8000)
    await call.say(tmp_path / "question.wav")
    assert pitch(await business.hears(1.0, PATIENCE)) == pytest.approx(700, abs=10)

    await call.until(lambda recording: recording.sound_seconds > 1, PATIENCE)
    await call.hang_up()
    assert meta.call.hang_ups == [None]
    assert await call.ended(PATIENCE) == "caller hung up"
    async with asyncio.timeout(PATIENCE):
        await business.closed.wait()

    recording = call.recording
    assert pitch(loud(recording.pcm)) == pytest.approx(440, abs=10)
    assert recording.first_sound_at is not None
    assert (recording.lost, len(recording.ssrcs)) == (0, 1)
    recording.save(tmp_path / "heard.wav")
    assert read_wav(tmp_path / "heard.wav") == recording.pcm


async def test_the_stream_goes_on_in_silence_and_reports_itself(
    meta: FakeMeta, phone: Phone, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[bytes] = []
    monkeypatch.setattr(LiteEndpoint, "send_rtcp", lambda _self, data: reports.append(data))
    seen = spy_on_rtp(monkeypatch)
    call = await phone.dial()
    await pick_up(call, meta, business)
    async with asyncio.timeout(PATIENCE):
        packets = [RtpPacket.parse(await seen.get()) for _ in range(60)]
    await call.hang_up()

    first = packets[0]
    assert [(p.sequence - first.sequence) % 65536 for p in packets] == list(range(60))
    steps = [(p.timestamp - first.timestamp) % (1 << 32) for p in packets]
    assert steps == list(range(0, 60 * 960, 960))
    assert {p.payload_type for p in packets} == {111}
    assert f"a=ssrc:{first.ssrc} " in meta.offer

    sender = RtcpPacket.parse(reports[1])[0]
    assert isinstance(sender, RtcpSrPacket)
    assert {block.ssrc for block in sender.reports} == call.recording.ssrcs
    assert isinstance(RtcpPacket.parse(reports[-1])[-1], RtcpByePacket)


async def test_keys_are_telephone_events_within_the_audio_stream(
    meta: FakeMeta, phone: Phone, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spy_on_rtp(monkeypatch)
    call = await phone.dial()
    await pick_up(call, meta, business)
    await call.press("1#")
    await call.say(tone(700, 0.5))
    await business.hears(0.1, PATIENCE)

    packets = [RtpPacket.parse(seen.get_nowait()) for _ in range(seen.qsize())]
    numbers = [(p.sequence - packets[0].sequence) % 65536 for p in packets]
    assert numbers == list(range(len(packets)))
    assert len({p.ssrc for p in packets}) == 1
    events = [p for p in packets if p.payload_type == 126]
    one, hash_key = events[:7], events[7:]
    for key, code in ((one, 1), (hash_key, 11)):
        assert {p.payload[0] for p in key} == {code}
        assert len({p.timestamp for p in key}) == 1
        assert [p.marker for p in key] == [True] + 6 * [False]
        assert [p.payload[1] >> 7 for p in key] == [0, 0, 0, 0, 1, 1, 1]
        assert int.from_bytes(key[-1].payload[2:], "big") == 800
    # A tone of 100 ms and a pause of 100 ms, on the clock of the audio.
    assert (hash_key[0].timestamp - one[0].timestamp) % (1 << 32) == 9600


async def test_a_key_that_does_not_exist_is_refused(phone: Phone) -> None:
    call = await phone.dial()
    with pytest.raises(ValueError, match="no key"):
        await call.press("1x")


async def test_media_before_accept_is_counted(
    meta: FakeMeta, phone: Phone, business: Business
) -> None:
    call = await phone.dial()
    call.on_answer(await business.answer(meta.offer))
    await call.until(lambda recording: recording.received >= 3, PATIENCE)
    early = call.recording.media_before_accept
    assert early >= 3
    assert call.recording.first_sound_at is None
    call.on_accepted()
    await call.until(lambda recording: recording.received >= early + 3, PATIENCE)
    assert call.recording.media_before_accept == early


async def test_whoever_vanishes_tells_nobody(
    meta: FakeMeta, phone: Phone, business: Business
) -> None:
    call = await phone.dial()
    await pick_up(call, meta, business)
    call.vanish()
    assert await call.ended(PATIENCE) == "vanished"
    received = call.recording.received
    await call.hang_up()
    assert meta.call.hang_ups == []
    assert call.recording.received == received
    assert business.pc.connectionState == "connected"


async def lost_on_the_way(seed: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    meta, network = FakeMeta(), Network(NetworkConditions(loss=0.3), seed=seed)
    seen = spy_on_rtp(monkeypatch)
    async with Phone(meta, network=network) as phone, Business() as business:
        await pick_up(await phone.dial(), meta, business)
        async with asyncio.timeout(PATIENCE):
            packets = [RtpPacket.parse(await seen.get()) for _ in range(50)]
    monkeypatch.undo()
    return [(p.sequence - packets[0].sequence) % 65536 for p in packets]


async def test_the_same_seed_loses_the_same_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    first = await lost_on_the_way(5, monkeypatch)
    assert first != list(range(50))
    assert await lost_on_the_way(5, monkeypatch) == first
    assert await lost_on_the_way(6, monkeypatch) != first


async def test_what_a_bad_line_loses_is_counted(meta: FakeMeta, business: Business) -> None:
    network = Network(NetworkConditions(loss=0.3, jitter=0.05, duplicate=0.2), seed=2)
    async with Phone(meta, network=network) as phone:
        call = await phone.dial()
        await pick_up(call, meta, business)
        await call.until(lambda r: r.received >= 60 and r.lost > 0 and r.late > 0, PATIENCE)


async def test_the_business_learns_its_round_trip_and_its_loss(
    meta: FakeMeta, business: Business
) -> None:
    network = Network(NetworkConditions(loss=0.2, delay=0.05), seed=3)
    async with Phone(meta, network=network) as phone:
        await pick_up(await phone.dial(), meta, business)
        report = await far_end_report(business)
    assert 0.1 <= report.roundTripTime < PATIENCE
    assert 0 < report.packetsLost < report.packetsReceived


async def test_an_outage_of_rtp_leaves_ice_and_rtcp_alone(
    meta: FakeMeta, phone: Phone, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, reports = spy_on_rtp(monkeypatch), asyncio.Queue[bytes]()
    parse = RtcpPacket.parse

    def spy(data: bytes) -> list[object]:
        reports.put_nowait(data)
        return [*parse(data)]

    monkeypatch.setattr(RtcpPacket, "parse", spy)
    await pick_up(await phone.dial(), meta, business)
    async with asyncio.timeout(PATIENCE):
        packets = [await seen.get()]
        phone.network.rtp_down = True
        # What had been sent before is here when the second report is.
        await reports.get()
        await reports.get()
        packets += [seen.get_nowait() for _ in range(seen.qsize())]
        last = RtpPacket.parse(packets[-1])
        await reports.get()
        await reports.get()
        assert seen.empty()
        assert business.pc.connectionState == "connected"
        phone.network.rtp_down = False
        back = RtpPacket.parse(await seen.get())
    missed = (back.sequence - last.sequence) & 0xFFFF
    assert missed > 50
    assert (back.timestamp - last.timestamp) & 0xFFFFFFFF == 960 * missed


async def test_a_phone_with_dtx_falls_silent_and_is_heard_again(
    meta: FakeMeta, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spy_on_rtp(monkeypatch)
    async with Phone(meta, dtx=True) as phone:
        call = await phone.dial()
        await pick_up(call, meta, business)
        async with asyncio.timeout(PATIENCE):
            packets = [RtpPacket.parse(await seen.get()) for _ in range(12)]
        await call.say(tone(700, 1.0))
        assert pitch(await business.hears(0.5, PATIENCE)) == pytest.approx(700, abs=10)
    first = packets[0]
    assert [(p.sequence - first.sequence) & 0xFFFF for p in packets] == list(range(12))
    times = [((p.timestamp - first.timestamp) & 0xFFFFFFFF) // 960 for p in packets]
    assert times == [*range(10), 29, 49]


async def test_a_call_without_media_is_dropped_with_metas_error(meta: FakeMeta) -> None:
    async with Phone(meta, rules=MediaRules(start=0.05)) as phone:
        call = await phone.dial()
        call.on_accepted()
        assert await call.ended(PATIENCE) == "no media"
    assert [error and error.code for error in meta.call.hang_ups] == [138021]


async def test_a_call_whose_media_stop_is_dropped(meta: FakeMeta, business: Business) -> None:
    async with Phone(meta, rules=MediaRules(start=PATIENCE, later=0.5)) as phone:
        call = await phone.dial()
        await pick_up(call, meta, business)
        await call.wait_sound(PATIENCE)
        phone.network.down = True
        assert await call.ended(PATIENCE) == "no media"
    assert [error and error.code for error in meta.call.hang_ups] == [138021]


@pytest.mark.parametrize("reason", ["rejected", "terminated", "not answered"])
async def test_the_business_or_meta_ends_the_call(
    meta: FakeMeta, phone: Phone, reason: str
) -> None:
    call = await phone.dial()
    waiting = asyncio.create_task(call.say(tone(700, 0.1)))
    await asyncio.sleep(0)
    call.on_ended(reason)
    call.on_ended("something later")
    call.on_accepted()
    for waiter in (call.answered(), call.connected(), call.wait_sound(), waiting):
        with pytest.raises(PhoneError, match=reason) as error:
            await waiter
        assert error.value.reason == reason
    assert await call.ended(PATIENCE) == reason
    assert meta.call.hang_ups == []


async def test_waiting_ends_with_its_time(phone: Phone) -> None:
    call = await phone.dial()
    for waiter in (call.answered(0.01), call.connected(0.01), call.ended(0.01)):
        with pytest.raises(TimeoutError):
            await waiter


async def test_an_answer_that_cannot_be_used_is_refused_and_a_second_one_ignored(
    meta: FakeMeta, phone: Phone, business: Business
) -> None:
    call = await phone.dial()
    with pytest.raises(AnswerError):
        call.on_answer("v=0\r\n")
    call.on_answer(await business.answer(meta.offer))
    call.on_answer("v=0\r\n")
    await call.connected(PATIENCE)


async def test_a_business_with_another_certificate_is_not_talked_to(
    meta: FakeMeta, phone: Phone, business: Business
) -> None:
    call = await phone.dial()
    answer = await business.answer(meta.offer)
    line = next(line for line in answer.split("\r\n") if line.startswith("a=fingerprint"))
    call.on_answer(answer.replace(line, "a=fingerprint:sha-256 " + ":".join(["00"] * 32)))
    call.on_accepted()
    async with asyncio.timeout(PATIENCE):
        await business.closed.wait()
    assert call.recording.received == 0


async def test_a_refused_ring_leaves_nothing_open(meta: FakeMeta, phone: Phone) -> None:
    meta.refuses = True
    with pytest.raises(RuntimeError, match="calling is off"):
        await phone.dial()


async def test_closing_the_phone_hangs_up(meta: FakeMeta, business: Business) -> None:
    async with Phone(meta) as phone:
        call = await phone.dial()
        await pick_up(call, meta, business)
        assert meta.phones == [phone]
    assert await call.ended(PATIENCE) == "caller hung up"
    assert meta.call.hang_ups == [None]
    assert meta.phones == []
