from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aiortc_business import tone
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator import voice
from pipecat_whatsapp.simulator.rtp import RtpStream
from pipecat_whatsapp.simulator.voice import Voice

START = 0xFFFFFF00


async def speak(
    count: int, *, dtx: bool, script: dict[int, Callable[[Voice], object]]
) -> list[RtpPacket]:
    """What a voice sends in so many packet times; the script says what happens at which."""
    sent: list[RtpPacket] = []

    def on_tick(tick: int) -> None:
        script.get(tick + 1, lambda _voice: None)(speaker)
        if tick + 1 == count:
            running.cancel()

    stream = RtpStream(7, sequence=65_530, timestamp=START)
    speaker = Voice(stream, send=sent.append, on_tick=on_tick, dtx=dtx)
    script.get(0, lambda _voice: None)(speaker)
    running = asyncio.create_task(speaker.run())
    with pytest.raises(asyncio.CancelledError):
        await running
    return sent


def ticks(sent: list[RtpPacket]) -> list[int]:
    """The packet time of each packet, by its timestamp."""
    return [((packet.timestamp - START) & 0xFFFFFFFF) // 960 for packet in sent]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "PACKET_TIME", 0.0)


async def test_without_dtx_a_packet_is_sent_in_each_packet_time() -> None:
    sent = await speak(100, dtx=False, script={50: lambda v: v.say(tone(440, 0.1))})
    assert ticks(sent) == list(range(100))
    assert not any(packet.marker for packet in sent)


async def test_with_dtx_silence_is_one_packet_each_400_ms_after_200_ms_of_it() -> None:
    sent = await speak(100, dtx=True, script={})
    assert ticks(sent) == [*range(10), 29, 49, 69, 89]


async def test_speech_ends_dtx_at_once_with_a_marked_packet() -> None:
    sent = await speak(100, dtx=True, script={40: lambda v: v.say(tone(440, 0.1))})
    assert ticks(sent) == [*range(10), 29, *range(40, 55), 74, 94]
    assert [tick for tick, p in zip(ticks(sent), sent, strict=True) if p.marker] == [40]
    numbers = [(packet.sequence - 65_530) & 0xFFFF for packet in sent]
    assert numbers == list(range(len(sent)))


async def test_a_pause_shorter_than_200_ms_is_no_dtx() -> None:
    script = {n: lambda v: v.say(tone(440, 0.02)) for n in range(0, 100, 10)}
    sent = await speak(100, dtx=True, script=script)
    assert ticks(sent) == list(range(100))
    assert not any(packet.marker for packet in sent)


async def test_keys_are_sent_during_dtx() -> None:
    sent = await speak(60, dtx=True, script={40: lambda v: v.press("5")})
    keys = [packet for packet in sent if packet.payload_type == 126]
    assert ticks(keys) == [40] * 7
    assert {packet.payload[0] for packet in keys} == {5}


def live(*units: int) -> Callable[[Voice], None]:
    """A microphone that sends packets this far apart."""

    def relay(speaker: Voice) -> None:
        for number, apart in enumerate(units):
            speaker.relay(b"opus %d" % number, apart)

    return relay


async def test_a_microphone_is_passed_on_as_it_is_and_nothing_is_made_up_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(voice, "_PATIENCE", 600.0)
    sent = await speak(100, dtx=False, script={40: live(960, 960, 960)})
    assert [packet.payload for packet in sent[40:]] == [b"opus 0", b"opus 1", b"opus 2"]
    assert ticks(sent) == list(range(43))
    assert [packet.sequence for packet in sent[-3:]] == [
        (65_530 + n) & 0xFFFF for n in (40, 41, 42)
    ]


async def test_a_pause_of_the_microphone_is_a_pause_of_the_timestamps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(voice, "_PATIENCE", 600.0)
    sent = await speak(2, dtx=False, script={1: live(960, 2880, 960)})
    assert ticks(sent) == [0, 1, 4, 5]


async def test_silence_goes_on_when_the_microphone_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(voice, "_PATIENCE", 0.0)
    sent = await speak(10, dtx=False, script={5: live(960)})
    assert sent[5].payload == b"opus 0"
    assert ticks(sent) == list(range(11))


async def test_keys_take_the_place_of_the_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "_PATIENCE", 600.0)

    def press_and_talk(speaker: Voice) -> None:
        speaker.press("5", 2)
        live(*[960] * 10)(speaker)

    sent = await speak(20, dtx=False, script={3: press_and_talk})
    keys = [packet for packet in sent if packet.payload_type == voice.DTMF_PT]
    talk = [packet for packet in sent[3:] if packet.payload_type == voice.OPUS_PT]
    assert keys
    assert {packet.timestamp for packet in keys} == {(START + 3 * 960) & 0xFFFFFFFF}
    assert b"opus 9" in {packet.payload for packet in talk}
    assert b"opus 0" not in {packet.payload for packet in talk}
