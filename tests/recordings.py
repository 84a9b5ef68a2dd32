"""What a caller heard, compared with what should have been said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipecat_whatsapp.simulator.sound import RATE, read_wav

MOSTLY = 0.5
"""The share found of something that was heard: a busy machine may spoil the rest."""

_WINDOW = RATE // 2


def chirp(seconds: float, *, low: float = 300, high: float = 2500) -> bytes:
    """A sound unlike any other part of itself, so that its place can be found."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * (low * t + (high - low) * t**2 / (2 * seconds))
    return (12_000 * np.sin(phase)).astype(np.int16).tobytes()


def similarity(heard: bytes, said: bytes) -> float:
    """How well what was said is found in what was heard, 0 to 1: all of it, in one piece."""
    return _likeness(_samples(said), _samples(heard))


def share_found(said: Path | bytes, heard: Path | bytes) -> float:
    """How much of something that was said is in a recording, 0 to 1.

    Looked for piece by piece, half a second each: two clocks and a lossy codec between the two
    leave no long stretch exactly alike.
    """
    pieces = [piece for piece in _pieces(_samples(said)) if np.abs(piece).max() > 1000]
    recording = _samples(heard)
    return float(np.mean([_likeness(piece, recording) > 0.6 for piece in pieces]))


async def heard(said: Path | bytes, listen: Callable[[], bytes]) -> None:
    """Wait until most of something has been heard.

    To look for it costs more than a packet's time, so it is not done at every packet.
    """
    async with asyncio.timeout(60):
        while share_found(said, listen()) < MOSTLY:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.3)


def _samples(source: Path | bytes) -> np.ndarray:
    pcm = source if isinstance(source, bytes) else read_wav(source)
    return np.frombuffer(pcm, np.int16).astype(np.float64)


def _pieces(samples: np.ndarray) -> list[np.ndarray]:
    return [samples[i : i + _WINDOW] for i in range(0, len(samples) - _WINDOW + 1, _WINDOW)]


def _likeness(piece: np.ndarray, recording: np.ndarray) -> float:
    """The highest normalised correlation of a piece with any stretch of a recording."""
    if len(recording) < len(piece):
        return 0.0
    size = 1 << (len(recording) + len(piece)).bit_length()
    spectrum = np.fft.rfft(recording, size) * np.conj(np.fft.rfft(piece, size))
    products = np.fft.irfft(spectrum, size)[: len(recording) - len(piece) + 1]
    sums = np.concatenate([[0.0], np.cumsum(recording**2)])
    energies = sums[len(piece) :] - sums[: -len(piece)]
    return float((products / np.sqrt(np.maximum(energies, 1e6) * (piece @ piece))).max())
