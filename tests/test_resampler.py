from __future__ import annotations

import gc
import os

import numpy as np
import pytest
from av.filter import Graph

from aiortc_business import pitch, tone
from pipecat_whatsapp.media.opus import SAMPLE_RATES
from pipecat_whatsapp.media.resampler import Resampler

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000]


def pieces(pcm: bytes, rate: int, channels: int = 1) -> list[bytes]:
    size = rate // 50 * 2 * channels
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("to_rate", SAMPLE_RATES)
@pytest.mark.parametrize("from_rate", RATES)
def test_20_ms_stay_20_ms_from_the_first_on(from_rate: int, to_rate: int, channels: int) -> None:
    said = np.frombuffer(tone(440, 1.0, from_rate), np.int16)
    pcm = np.repeat(said, channels).tobytes()
    resampler = Resampler(to_rate)
    parts = [
        resampler.resample(piece, from_rate, channels) for piece in pieces(pcm, from_rate, channels)
    ]
    whole = to_rate // 50 * 2
    # 11025 Hz has no whole number of samples in 20 ms.
    assert all(abs(len(part) - whole) <= 8 for part in parts[:50])
    heard = b"".join(parts)
    assert len(heard) == pytest.approx(to_rate * 2, abs=8)
    assert pitch(heard[whole:], to_rate) == pytest.approx(440, abs=2)
    assert np.abs(np.frombuffer(heard, np.int16)).max() == pytest.approx(9_000, rel=0.05)


def test_another_rate_begins_another_stream() -> None:
    resampler = Resampler(16_000)
    low = b"".join(resampler.resample(p, 8_000, 1) for p in pieces(tone(440, 0.5, 8_000), 8_000))
    high = b"".join(
        resampler.resample(p, 24_000, 1) for p in pieces(tone(880, 0.5, 24_000), 24_000)
    )
    assert len(low) == pytest.approx(16_000, abs=8)
    assert len(high) == pytest.approx(16_000, abs=8)
    assert pitch(low) == pytest.approx(440, abs=4)
    assert pitch(high) == pytest.approx(880, abs=4)


def test_half_a_sample_is_no_sample() -> None:
    assert len(Resampler(16_000).resample(bytes(321), 8_000, 1)) == 640


@pytest.mark.skipif(not hasattr(Graph, "threads"), reason="this PyAV always starts threads")
def test_no_threads_are_started() -> None:
    # What other tests have left behind may end its own threads meanwhile.
    gc.collect()
    before = len(os.listdir("/proc/self/task"))
    resampler = Resampler(16_000)
    resampler.resample(bytes(640), 24_000, 1)
    assert len(os.listdir("/proc/self/task")) <= before
