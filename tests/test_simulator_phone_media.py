from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipecat_whatsapp.media.dtmf import tone_payloads
from pipecat_whatsapp.media.rtp import (
    ReportBlock,
    RtpPacket,
    SenderReport,
    read_rtcp,
    receiver_report,
)
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.phone_media import PhoneMedia
from pipecat_whatsapp.simulator.rtp import RtpStream, bye, sender_report
from pipecat_whatsapp.simulator.sound import OpusEncoder
from simulated_business import ANSWER


@pytest.fixture
async def endpoint() -> AsyncIterator[LiteEndpoint]:
    made = await LiteEndpoint.open()
    yield made
    await made.close()


def business_says(keys: str, payload_type: int) -> list[RtpPacket]:
    """Sound, then keys, and sound again: one stream."""
    stream, encoder = RtpStream(7, sequence=65_530), OpusEncoder()
    sent = []
    for key in keys:
        for _ in range(5):
            sent.append(stream.packet(111, encoder.encode(b"")))
            stream.advance(960)
        for tick, payloads in enumerate(tone_payloads(key)):
            back = 960 * tick
            sent += [stream.packet(payload_type, p, marker=tick == 0, back=back) for p in payloads]
            stream.advance(960)
    return [*sent, stream.packet(111, encoder.encode(b""))]


@pytest.mark.parametrize("payload_type", [126, 101])
def test_the_keys_that_the_business_presses_are_heard_beside_its_sound(
    endpoint: LiteEndpoint, payload_type: int
) -> None:
    media = PhoneMedia(endpoint, dtx=False, on_change=lambda: None)
    media.start(ANSWER.replace("126", str(payload_type)))
    packets = business_says("12#2", payload_type)
    for at, packet in enumerate(packets):
        endpoint.on_rtp(bytes(packet), 0.01 * at)
    assert media.recording.keys == "12#2"
    assert media.recording.received == len(packets)
    assert (media.recording.lost, media.recording.timestamp_gaps) == (0, 0)


async def test_the_report_tells_loss_and_answers_the_businesss_report(
    endpoint: LiteEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(endpoint, "send_rtcp", sent.append)
    ticked = asyncio.Event()
    media = PhoneMedia(endpoint, dtx=False, on_change=ticked.set)
    stream, silence = RtpStream(7), OpusEncoder().encode(b"")
    for packet in [stream.packet(111, silence) for _ in range(4)]:
        if packet.sequence != 2:
            endpoint.on_rtp(bytes(packet), 1.0)
    report = sender_report(stream, 1_790_000_000.0)
    endpoint.on_rtcp(report + bye(7))
    endpoint.on_rtcp(b"\x80")
    ticked.clear()
    media.speak()
    await ticked.wait()
    await media.hush()

    (business_report,) = read_rtcp(report)
    (phone_report,) = read_rtcp(sent[0])
    assert isinstance(business_report, SenderReport)
    assert isinstance(phone_report, SenderReport)
    (block,) = phone_report.blocks
    assert (block.ssrc, block.lost, block.fraction, block.highest) == (7, 1, 64, 3)
    assert block.lsr == (business_report.ntp >> 16) & 0xFFFFFFFF
    assert block.dlsr < 65536 * 30


async def test_what_is_no_rtp_is_not_heard(endpoint: LiteEndpoint) -> None:
    changes: list[None] = []
    media = PhoneMedia(endpoint, dtx=False, on_change=lambda: changes.append(None))
    endpoint.on_rtp(b"\x80", 1.0)
    assert (media.recording.received, media.last_packet, changes) == (0, None, [])


async def test_what_the_business_reports_of_the_phones_stream_is_kept(
    endpoint: LiteEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(endpoint, "send_rtcp", sent.append)
    ticked = asyncio.Event()
    media = PhoneMedia(endpoint, dtx=False, on_change=ticked.set)
    media.speak()
    await ticked.wait()
    await media.hush()
    (ours,) = read_rtcp(sent[0])
    assert isinstance(ours, SenderReport)
    lsr = (ours.ntp >> 16) & 0xFFFFFFFF
    blocks = [ReportBlock(ours.ssrc, 1, 9, 128, 480, lsr), ReportBlock(ours.ssrc ^ 1, 1, 9, 255)]
    endpoint.on_rtcp(receiver_report(7, blocks))
    assert media.far_end is not None
    assert (media.far_end.loss, media.far_end.jitter) == (0.5, 0.01)
    assert media.far_end.round_trip is not None


async def test_a_microphone_is_silent_before_the_call_is_answered(
    endpoint: LiteEndpoint,
) -> None:
    media = PhoneMedia(endpoint, dtx=False, on_change=lambda: None)
    sent: list[RtpPacket] = []
    media.on_sent = sent.append
    media.relay(b"opus", 960)
    assert sent == []
    media.speak()
    media.relay(b"opus", 960)
    await media.hush()
    assert b"opus" in [packet.payload for packet in sent]


def test_the_businesss_audio_is_passed_on_and_its_keys_are_not(endpoint: LiteEndpoint) -> None:
    media = PhoneMedia(endpoint, dtx=False, on_change=lambda: None)
    media.start(ANSWER)
    heard: list[RtpPacket] = []
    media.on_heard = heard.append
    packets = business_says("1", 126)
    for packet in packets:
        endpoint.on_rtp(bytes(packet), 1.0)
    assert heard == [packet for packet in packets if packet.payload_type == 111]
