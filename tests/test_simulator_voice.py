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
