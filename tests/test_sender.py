from __future__ import annotations

import asyncio

import av
import numpy as np
import pytest
from aiortc import MediaStreamError

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.sender import FRAME_TICKS, OPUS_SAMPLE_RATES, AudioSender


class Clock:
    """A clock moved by hand: sleeping takes no time and is written down."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


def new_sender(rate: int = 16_000) -> tuple[AudioSender, Clock]:
    clock = Clock()
    return AudioSender(rate, clock=clock, sleep=clock.sleep), clock


async def start_writing(sender: AudioSender, pcm: bytes) -> asyncio.Future[bool]:
    writing = asyncio.ensure_future(sender.write(pcm))
    await asyncio.sleep(0)
    return writing


def tone(seconds: float, rate: int, frequency: float = 440.0) -> bytes:
    times = np.arange(int(seconds * rate)) / rate
    return (12_000 * np.sin(2 * np.pi * frequency * times)).astype(np.int16).tobytes()


def decode(packets: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    decoder = av.CodecContext.create("libopus", "r")
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    return np.concatenate([frame.to_ndarray().astype(np.float64).ravel() for frame in frames])


@pytest.mark.parametrize("rate", OPUS_SAMPLE_RATES)
async def test_sends_20_ms_of_mono_opus(rate: int) -> None:
    sender, _ = new_sender(rate)
    writing = await start_writing(sender, tone(0.5, rate))
    packets = [await sender.recv() for _ in range(25)]
    assert await writing
    assert [packet.pts for packet in packets] == [i * FRAME_TICKS for i in range(25)]
    toc = bytes(packets[-1])[0]
    assert toc & 0b111 == 0, "one frame, mono (RFC 6716 section 3.1)"
    assert sum(len(bytes(p)) for p in packets) * 8 / 0.5 < 40_000
    assert np.abs(decode([bytes(p) for p in packets])).max() > 5_000


async def test_silence_is_sent_when_nothing_is_written() -> None:
    sender, clock = new_sender()
    packets = [await sender.recv() for _ in range(5)]
    assert clock.slept == [0.02] * 4
    assert all(len(bytes(packet)) > 0 for packet in packets)
    assert np.abs(decode([bytes(p) for p in packets])).max() < 50


async def test_a_stalled_loop_never_bursts() -> None:
    sender, clock = new_sender()
    first = await sender.recv()
    clock.now += 1.0
    late = await sender.recv()
    assert first.pts is not None
    assert late.pts is not None
    assert late.pts - first.pts == 50 * FRAME_TICKS, "the timestamps keep to the clock"
    clock.slept.clear()
    for _ in range(10):
        await sender.recv()
    assert len(clock.slept) >= 9
    assert sum(clock.slept) == pytest.approx(0.2, abs=0.025)


async def test_write_returns_when_all_but_the_last_frame_is_out() -> None:
    sender, _ = new_sender()
    writing = await start_writing(sender, tone(0.06, 16_000))
    await sender.recv()
    await asyncio.sleep(0)
    assert not writing.done()
    await sender.recv()
    assert await writing


async def test_drain_waits_for_the_last_frame() -> None:
    sender, _ = new_sender()
    assert await sender.write(tone(0.02, 16_000))
    draining = asyncio.ensure_future(sender.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    await sender.recv()
    await draining


async def test_clear_drops_what_was_not_sent() -> None:
    sender, _ = new_sender()
    writing = await start_writing(sender, tone(2.0, 16_000))
    sender.clear()
    assert await writing
    packets = [bytes(await sender.recv()) for _ in range(5)]
    assert np.abs(decode(packets)).max() < 50


async def test_a_stopped_track_takes_nothing_and_holds_nobody() -> None:
    sender, _ = new_sender()
    writing = await start_writing(sender, tone(2.0, 16_000))
    sender.stop()
    assert not await writing
    assert not await sender.write(tone(0.02, 16_000))
    await sender.drain()
    with pytest.raises(MediaStreamError):
        await sender.recv()


def test_an_impossible_rate_names_the_possible_ones() -> None:
    with pytest.raises(ConfigError, match=r"44100 Hz.*audio_out_sample_rate.*24000"):
        AudioSender(44_100)
