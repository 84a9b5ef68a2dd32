"""What can be compared of a sound: how loud each part of its spectrum is from moment to moment."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.fft import rfft

from pipecat_whatsapp.simulator.sound import RATE

Numbers: TypeAlias = npt.NDArray[np.float64]

HOP = RATE // 100
"""Samples from one moment to the next: 10 ms."""

WINDOW = RATE // 40
"""Samples that a moment is made of: 25 ms."""

_FFT = 512
_BANDS = 24
_LOWEST, _HIGHEST = 120.0, 6500.0  # Hz; Opus leaves little above at 20 kbit/s.
_FLOOR = 1e-6  # Power of full scale, for each band: below it, everything is silence.
_LEVEL_WEIGHT = 0.5  # Of loudness on the whole, beside the shape of the spectrum.
_SOUND_RANGE = np.log(10 ** (30 / 10))  # Between loud and quiet sounds: 30 dB.
_LONGEST_HOLE = RATE * 7 // 100  # Three packets missing; a sender that halts is silent longer.
_SHORTEST_HOLE = RATE // 100
_BLOCK = 2000  # Moments that are worked on at once, so that an hour does not fill the memory.


def picture(samples: Numbers) -> Numbers:
    """Draw a sound: a column for each moment.

    The rows are the shape of the spectrum, band by band on a logarithmic scale, and the loudness.
    What is not there because packets were lost is drawn from what is there around it.

    Args:
        samples: 16-bit samples at `RATE`.
    """
    levels = _levels(samples)
    loudness = levels.mean(axis=0, keepdims=True)
    return np.vstack([levels - loudness, _LEVEL_WEIGHT * np.sqrt(_BANDS) * loudness])


def moments_of_sound(drawn: Numbers) -> npt.NDArray[np.int64]:
    """The moments of a picture that are no pause, neither between sentences nor within a word."""
    loudness = drawn[-1] / (_LEVEL_WEIGHT * np.sqrt(_BANDS))
    audible = loudness[loudness > np.log(_FLOOR) + 1]
    loud = np.percentile(audible, 95) if audible.size else np.inf
    return np.flatnonzero(loudness > loud - _SOUND_RANGE)


def _levels(samples: Numbers) -> Numbers:
    """How loud each band is at each moment: the logarithm of its power."""
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    blocks = [
        _band_levels(windows[first : first + _BLOCK]) for first in range(0, len(windows), _BLOCK)
    ]
    return _with_holes_filled(np.concatenate(blocks).T, _holes(samples))


def _band_levels(windows: Numbers) -> Numbers:
    spectrum = rfft(windows * (np.hanning(WINDOW) / 32768), _FFT)
    levels: Numbers = np.log((spectrum.real**2 + spectrum.imag**2) @ _bands() + _FLOOR)
    return levels


@cache
def _bands() -> Numbers:
    """The share that each frequency has in each band: triangles, evenly spaced as the ear is."""
    edges = _frequency(np.linspace(_pitch(_LOWEST), _pitch(_HIGHEST), _BANDS + 2))
    frequencies = np.arange(_FFT // 2 + 1)[:, None] * RATE / _FFT
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    shares: Numbers = triangles / triangles.sum(axis=0)
    return shares


def _pitch(frequency: float) -> float:
    """Hz to mel."""
    return 2595 * float(np.log10(1 + frequency / 700))


def _frequency(pitch: Numbers) -> Numbers:
    """Mel to Hz."""
    return 700 * (10 ** (pitch / 2595) - 1)


def _holes(samples: Numbers) -> list[tuple[int, int]]:
    """Where packets are missing: short runs of nothing at all, as sample numbers."""
    silent = np.concatenate([[False], samples == 0, [False]])
    runs = np.flatnonzero(silent[1:] != silent[:-1]).reshape(-1, 2).tolist()
    return [
        (first, end)
        for first, end in runs
        # What lies before the beginning and behind the end is no hole.
        if _SHORTEST_HOLE <= end - first <= _LONGEST_HOLE and first > 0 and end < len(samples)
    ]


def _with_holes_filled(levels: Numbers, holes: list[tuple[int, int]]) -> Numbers:
    """The moments that a hole touches, drawn from those before and behind it."""
    moments = np.arange(levels.shape[1])
    missing = np.zeros(levels.shape[1], bool)
    for first, end in holes:
        missing[max(0, (first - WINDOW) // HOP + 1) : end // HOP + 1] = True
    if not missing.any() or missing.all():
        return levels
    there = moments[~missing]
    return np.array([np.interp(moments, there, band[there]) for band in levels])
