from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from aiortc_business import tone
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.inspection.probe import SILENCE, Probe
from pipecat_whatsapp.simulator.phone import MediaRules, PhoneCall
from pipecat_whatsapp.simulator.recording import Recording
from pipecat_whatsapp.simulator.rtp import FarEnd, RtpStream
from pipecat_whatsapp.simulator.sound import FRAME_BYTES, OpusEncoder


@pytest.fixture
async def call() -> AsyncIterator[PhoneCall]:
    made = PhoneCall(await LiteEndpoint.open(), rules=MediaRules())
    yield made
    made.vanish()
    await made.ended()


@pytest.fixture
def said() -> Recording:
    return Recording()


@pytest.fixture
async def probe(call: PhoneCall, said: Recording) -> Probe:
    return Probe(call, said)


def packets(pcm: bytes) -> list[RtpPacket]:
    stream, encoder, made = RtpStream(7), OpusEncoder(), []
    for at in range(0, len(pcm), FRAME_BYTES):
        made.append(stream.packet(111, encoder.encode(pcm[at : at + FRAME_BYTES])))
        stream.advance(960)
    return made


def hear(recording: Recording, *heard: RtpPacket) -> None:
    for packet in heard:
        recording.add(packet, 1.0 + packet.timestamp / 48_000)


async def test_each_milestone_is_told_once(call: PhoneCall, said: Recording, probe: Probe) -> None:
    assert list(probe.milestones()) == []
    call.media.endpoint.nominated_at = 1.0
    call.recording.accepted_at = 2.0
    hear(call.recording, *packets(tone(440, 0.2)))
    hear(said, *packets(bytes(FRAME_BYTES)))
    told = [(milestone.title, milestone.source.value) for milestone in probe.milestones()]
    assert told == [
        ("ICE: found the path", "bot"),
        ("answered: the timer starts", "whatsapp"),
        ("first packet", "bot"),
        ("first packet", "phone"),
        ("first word", "bot"),
    ]
    assert list(probe.milestones()) == []


async def test_media_before_the_accept_breaks_a_rule(call: PhoneCall, probe: Probe) -> None:
    hear(call.recording, *packets(bytes(FRAME_BYTES)))
    (milestone,) = probe.milestones()
    assert (milestone.ok, "before accept" in milestone.title) == (False, True)


async def test_a_second_ssrc_breaks_a_rule(call: PhoneCall, probe: Probe) -> None:
    call.recording.accepted_at = 0.5
    (packet,) = packets(bytes(FRAME_BYTES))
    hear(call.recording, packet, replace(packet, ssrc=8))
    told = {milestone.title: milestone.ok for milestone in probe.milestones()}
    assert told["a second SSRC: WhatsApp plays no more"] is False


async def test_each_key_of_the_bot_is_told(call: PhoneCall, probe: Probe) -> None:
    call.recording.keys = "1#"
    assert [milestone.title for milestone in probe.milestones()] == ["presses 1", "presses #"]
    call.recording.keys += "2"
    assert [milestone.title for milestone in probe.milestones()] == ["presses 2"]


async def test_a_sample_tells_of_the_time_since_the_last(
    call: PhoneCall, said: Recording, probe: Probe
) -> None:
    sound = packets(tone(440, 0.4))
    hear(call.recording, *sound[:5], *sound[10:15])
    probe.note_concealed(0.25)
    first = probe.sample(0.5)
    assert (first.at, first.loss_in, first.concealed) == (0.5, round(5 / 15, 4), 0.25)
    assert -20 < first.level_in < -5
    assert (first.level_out, first.round_trip, first.jitter_out) == (SILENCE, None, None)
    hear(call.recording, *sound[15:])
    hear(said, *sound)
    call.media.far_end = FarEnd(loss=0.5, jitter=0.01, round_trip=0.1)
    second = probe.sample(1.0)
    assert second.loss_in == 0.0
    assert (second.loss_out, second.jitter_out, second.round_trip) == (0.5, 10.0, 100.0)
    assert -20 < second.level_out < -5


async def test_what_the_browser_told_holds_until_it_tells_again(probe: Probe) -> None:
    assert probe.sample(0.5).concealed is None
    probe.note_concealed(0.25)
    assert [probe.sample(at).concealed for at in (1.0, 1.5)] == [0.25, 0.25]
    probe.note_concealed(0.0)
    assert probe.sample(2.0).concealed == 0.0


async def test_what_was_thought_lost_and_came_late_is_no_negative_loss(
    call: PhoneCall, probe: Probe
) -> None:
    sound = packets(tone(440, 0.2))
    hear(call.recording, sound[0], *sound[3:6])
    probe.sample(0.5)
    hear(call.recording, sound[1], sound[2])
    assert probe.sample(1.0).loss_in == 0.0
