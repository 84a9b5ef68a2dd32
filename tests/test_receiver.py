from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import MediaStreamError, MediaStreamTrack

from pipecat_whatsapp.media.receiver import receive_audio


class Spoken(MediaStreamTrack):
    """A remote track as aiortc gives it: 20 ms of packed stereo at 48 kHz, then its end."""

    kind = "audio"

    def __init__(self, frames: int) -> None:
        super().__init__()
        self._left = frames
        self._sent = 0

    async def recv(self) -> av.AudioFrame:
        if self._left == 0:
            raise MediaStreamError
        self._left -= 1
        times = (np.arange(960) + self._sent) / 48_000
        tone = (10_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None, :], "s16", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._sent, Fraction(1, 48_000)
        self._sent += 960
        return frame


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
async def test_gives_20_ms_of_mono_until_the_track_ends(rate: int) -> None:
    parts = [pcm async for pcm in receive_audio(Spoken(50), rate)]
    assert {len(pcm) for pcm in parts} == {rate // 50 * 2}
    assert 48 <= len(parts) <= 50
    heard = np.frombuffer(b"".join(parts), np.int16).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(heard[: rate // 2]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=2), "one tone, at its own pitch"
    assert 8_000 < np.abs(heard).max() < 12_000
