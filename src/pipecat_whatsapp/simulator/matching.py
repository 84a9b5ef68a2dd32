"""Finds a recorded sound in what a phone heard.

What was heard has been through Opus, perhaps at another level, with packets missing and two clocks
that are not quite alike, so that no two samples are the same. What lasts is how loud each part of
the spectrum is from moment to moment: that is compared, at every place at once. Another sentence
of the same voice has the same spectrum on the whole, but not from moment to moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pipecat_whatsapp.simulator.sound import RATE, SOUND_LEVEL

THRESHOLD = 0.6
"""Likeness from which on two sounds are the same."""

_Numbers: TypeAlias = npt.NDArray[np.float64]

_HOP = RATE // 100
_WINDOW = RATE // 40
_FFT = 512
_BANDS = 24
_LOWEST, _HIGHEST = 120.0, 6500.0  # Hz; Opus leaves little above at 20 kbit/s.
_FLOOR = 1e-6  # Of full scale, for each band: below it, everything is silence.
_BLOCK = 2000  # Moments that are worked on at once, so that an hour does not fill the memory.
_LONGEST_HOLE = RATE // 10  # A pause of speech is longer, or is not all zeros.
_SHORTEST_HOLE = RATE // 100


@dataclass(frozen=True)
class Match:
    """Where a sound was found.

    Parameters:
        at: Where it begins, seconds since the beginning of what was heard.
        score: How alike the two are, 0 to 1.
        end: Where it ends, in the same seconds.
    """

    at: float
    score: float
    end: float


def find(heard: bytes, wanted: bytes) -> Match | None:
    """Find the first place where a sound was heard, from its beginning to its end.

    Silence around the sound that is wanted does not count.

    Args:
        heard: What was heard, PCM as `sound` has it.
        wanted: What is looked for, likewise.

    Returns:
        None where it was not heard.

    Raises:
        ValueError: Nothing but silence is wanted.
    """
    sound = _without_silence(_samples(wanted))
    pattern = _picture(sound)
    # Silence around, so that a sound that fills all that was heard has a place too.
    recording = _picture(np.pad(_samples(heard), _WINDOW))
    scores = _likeness(recording, pattern)
    (found,) = np.nonzero(scores >= THRESHOLD)
    if not found.size:
        return None
    # The best place nearby: the first good one is a moment too early.
    best = found[0] + int(np.argmax(scores[found[0] : found[0] + pattern.shape[1] // 2 + 1]))
    at = max(0.0, (best * _HOP - _WINDOW) / RATE)
    return Match(at=at, score=min(1.0, float(scores[best])), end=at + len(sound) / RATE)


def _samples(pcm: bytes) -> _Numbers:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], np.int16).astype(np.float64)


def _without_silence(samples: _Numbers) -> _Numbers:
    (loud,) = np.nonzero(np.abs(samples) > SOUND_LEVEL)
    if not loud.size:
        raise ValueError("There is no sound to look for: it is all silence.")
    return samples[loud[0] : loud[-1] + 1]


def _picture(samples: _Numbers) -> _Numbers:
    """How loud each band is at each moment, on a logarithmic scale: bands by moments."""
    count = max(1, 1 + (len(samples) - _WINDOW) // _HOP)
    samples = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP][:count]
    blocks = [_band_levels(windows[first : first + _BLOCK]) for first in range(0, count, _BLOCK)]
    return _with_holes_filled(np.concatenate(blocks).T, _holes(samples))


def _band_levels(windows: _Numbers) -> _Numbers:
    spectrum = np.fft.rfft(windows * (np.hanning(_WINDOW) / 32768), _FFT)
    powers = (spectrum.real**2 + spectrum.imag**2) @ _bands()
    return np.log(powers + _FLOOR)


@cache
def _bands() -> _Numbers:
    """The share that each frequency has in each band: triangles, evenly spaced as the ear is."""
    edges = _frequency(np.linspace(_pitch(_LOWEST), _pitch(_HIGHEST), _BANDS + 2))
    frequencies = np.arange(_FFT // 2 + 1)[:, None] * RATE / _FFT
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    triangles: _Numbers = np.clip(np.minimum(rising, falling), 0, None)
    return triangles / triangles.sum(axis=0)


def _pitch(frequency: float) -> float:
    """Hz to mel."""
    return 2595 * float(np.log10(1 + frequency / 700))


def _frequency(pitch: _Numbers) -> _Numbers:
    """Mel to Hz."""
    return 700 * (10 ** (pitch / 2595) - 1)


def _holes(samples: _Numbers) -> list[tuple[int, int]]:
    """Where packets are missing: short runs of nothing at all, as first and last sample."""
    silent = np.concatenate([[False], samples == 0, [False]])
    edges = np.flatnonzero(silent[1:] != silent[:-1]).reshape(-1, 2)
    lengths = edges[:, 1] - edges[:, 0]
    kept = edges[(lengths >= _SHORTEST_HOLE) & (lengths <= _LONGEST_HOLE)]
    return [(int(first), int(last)) for first, last in kept]


def _with_holes_filled(picture: _Numbers, holes: list[tuple[int, int]]) -> _Numbers:
    """The moments that a hole touches, drawn from those before and behind it."""
    moments = np.arange(picture.shape[1])
    missing = np.zeros(picture.shape[1], bool)
    for first, last in holes:
        missing[max(0, (first - _WINDOW) // _HOP + 1) : last // _HOP + 1] = True
    if not missing.any() or missing.all():
        return picture
    there = moments[~missing]
    return np.array([np.interp(moments, there, band[there]) for band in picture])


def _likeness(recording: _Numbers, pattern: _Numbers) -> _Numbers:
    """How alike pattern and recording are at each place: their correlation, band by band."""
    length = pattern.shape[1]
    places = recording.shape[1] - length + 1
    if places < 1:
        return np.zeros(0)
    pattern = pattern - pattern.mean(axis=1, keepdims=True)
    size = 1 << (recording.shape[1] + length).bit_length()
    spectra = np.fft.rfft(recording, size) * np.conj(np.fft.rfft(pattern, size))
    products = np.fft.irfft(spectra.sum(axis=0), size)[:places]
    variation = float((pattern**2).sum())
    # Where little happens, as in silence, noise would look like anything.
    there = np.maximum(_variation(recording, length), variation / 4)
    return products / np.sqrt(variation * there)


def _variation(recording: _Numbers, length: int) -> _Numbers:
    """How much the bands vary within each stretch of a length."""
    sums, squares = _sums(recording, length), _sums(recording**2, length)
    return (squares - sums**2 / length).sum(axis=0)


def _sums(picture: _Numbers, length: int) -> _Numbers:
    totals = np.pad(np.cumsum(picture, axis=1), ((0, 0), (1, 0)))
    return totals[:, length:] - totals[:, :-length]
