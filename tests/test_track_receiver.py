from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import MediaStreamError, MediaStreamTrack

from aiortc_business import pitch
from conftest import until
from pipecat_whatsapp.media.track_receiver import TrackReceiver


class Spoken(MediaStreamTrack):
    """A remote track as aiortc gives it: 20 ms of packed stereo at 48 kHz, then its end."""

    kind = "audio"

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.ended = asyncio.Event()
        self._left = frames
        self._sent = 0

    async def recv(self) -> av.AudioFrame:
        if self._left == 0:
            self.ended.set()
            raise MediaStreamError
        self._left -= 1
        times = (np.arange(960) + self._sent) / 48_000
        tone = (10_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None, :], "s16", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._sent, Fraction(1, 48_000)
        self._sent += 960
        return frame


def known(track: MediaStreamTrack) -> asyncio.Future[MediaStreamTrack]:
    future: asyncio.Future[MediaStreamTrack] = asyncio.Future()
    future.set_result(track)
    return future


def opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def no_key(key: str) -> None:
    raise AssertionError(f"a track cannot tell of the key {key}")


@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 24_000, 44_100, 48_000])
async def test_gives_20_ms_of_mono_until_the_track_ends(rate: int) -> None:
    track = Spoken(50)
    receiver = TrackReceiver(known(track), opened())
    parts: list[bytes] = []
    receiver.start(rate, parts.append, no_key)
    await track.ended.wait()
    receiver.stop()
    assert {len(pcm) for pcm in parts} == {rate // 50 * 2}
    assert 48 <= len(parts) <= 50
    heard = b"".join(parts)
    assert pitch(heard[: rate // 2 * 2], rate) == pytest.approx(440, abs=2)
    assert 8_000 < np.abs(np.frombuffer(heard, np.int16).astype(int)).max() < 12_000


async def test_what_comes_before_the_call_is_open_is_dropped() -> None:
    gate = asyncio.Event()
    parts: list[bytes] = []

    class Opening(Spoken):
        async def recv(self) -> av.AudioFrame:
            if self._left == 10:
                gate.set()
            return await super().recv()

    track = Opening(50)
    receiver = TrackReceiver(known(track), gate)
    receiver.start(48_000, parts.append, no_key)
    await track.ended.wait()
    receiver.stop()
    assert 8 <= len(parts) <= 10


async def test_stop_waits_for_no_track_and_leaves_it_to_come() -> None:
    """The far end of a call of ours may not have answered yet."""
    future: asyncio.Future[MediaStreamTrack] = asyncio.Future()
    receiver = TrackReceiver(future, opened())
    receiver.start(16_000, lambda pcm: None, no_key)
    await asyncio.sleep(0)
    receiver.stop()
    await asyncio.sleep(0)
    assert not future.done()


class Endless(MediaStreamTrack):
    """A track whose far end says nothing more."""

    kind = "audio"
    cancelled = False

    async def recv(self) -> av.AudioFrame:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        raise AssertionError("nobody sets the event")


async def test_stop_waits_for_no_audio() -> None:
    track = Endless()
    receiver = TrackReceiver(known(track), opened())
    receiver.stop()
    receiver.start(16_000, lambda pcm: None, no_key)
    await asyncio.sleep(0)
    receiver.stop()
    receiver.stop()
    await until(lambda: track.cancelled)
