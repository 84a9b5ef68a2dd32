"""What a caller heard, compared with what should have been said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.fft import irfft, rfft

from pipecat_whatsapp.simulator.matching import find
from pipecat_whatsapp.simulator.sound import RATE, read_wav

MOSTLY = 0.5
"""The share found of something that was heard: a busy machine may spoil the rest."""

PARTLY = 0.1
"""The least share found of what a bot that halted has said: one piece of half a second, which no
other sound resembles."""

PACKET = RATE // 50
"""Samples of a packet."""

ALIKE = 0.8
"""The similarity of what was heard whole: a machine that halts five times leaves 0.9, half of it
being lost 0.5, another sound 0.2."""


def chirp(seconds: float, *, low: float = 300, high: float = 2500) -> bytes:
    """A sound unlike any other part of itself, so that its place can be found."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * (low * t + (high - low) * t**2 / (2 * seconds))
    return (12_000 * np.sin(phase)).astype(np.int16).tobytes()


def similarity(heard: bytes, said: bytes, *, piece: int = RATE // 10) -> float:
    """How well all of what was said is found in what was heard, 0 to 1.

    Looked for piece by piece: a busy machine halts between two packets, and tears a hole there.

    Args:
        heard: Where to look.
        said: What to look for.
        piece: How long a piece is, in samples. Of a short sound, one torn piece must not decide;
            but the shorter pieces are, the more alike are those of different sounds.
    """
    recording = _samples(heard)
    pieces = _pieces(_samples(said), piece)
    return float(np.mean([_likeness(samples, recording) for samples in pieces]))


def share_found(said: Path | bytes, heard: Path | bytes) -> float:
    """How much of something that was said is in a recording, 0 to 1.

    Where a busy machine has torn many pieces, how the spectrum of the whole changes still tells.
    """
    is_whole = find(_pcm(heard), _pcm(said)) is not None
    return 1.0 if is_whole else _share_of_pieces(said, heard)


def _share_of_pieces(said: Path | bytes, heard: Path | bytes) -> float:
    """How many pieces are in a recording, half a second each.

    Two clocks and a lossy codec between the two leave no long stretch exactly alike.
    """
    pieces = _pieces(_samples(said), RATE // 2)
    pieces = [piece for piece in pieces if np.abs(piece).max() > 1000]
    recording = _samples(heard)
    return float(np.mean([_likeness(piece, recording) > 0.6 for piece in pieces]))


async def heard(said: Path | bytes, listen: Callable[[], bytes]) -> None:
    """Wait until most of something has been heard."""
    await _comes(lambda: _share_of_pieces(said, listen()) >= MOSTLY)


async def heard_whole(said: bytes, listen: Callable[[], bytes]) -> None:
    """Wait until all of something has been heard."""
    await _comes(lambda: similarity(listen(), said) > ALIKE)


async def _comes(is_there: Callable[[], bool]) -> None:
    """Look again and again, but not at every packet: it costs more than a packet's time."""
    async with asyncio.timeout(60):
        while not is_there():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.3)


def _pcm(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else read_wav(source)


def _samples(source: Path | bytes) -> np.ndarray:
    return np.frombuffer(_pcm(source), np.int16).astype(np.float64)


def _pieces(samples: np.ndarray, length: int) -> list[np.ndarray]:
    return [samples[i : i + length] for i in range(0, len(samples) - length + 1, length)]


def _likeness(piece: np.ndarray, recording: np.ndarray) -> float:
    """The highest normalised correlation of a piece with any stretch of a recording."""
    if len(recording) < len(piece):
        return 0.0
    size = 1 << (len(recording) + len(piece)).bit_length()
    spectrum = rfft(recording, size) * np.conj(rfft(piece, size))
    products = irfft(spectrum, size)[: len(recording) - len(piece) + 1]
    sums = np.concatenate([[0.0], np.cumsum(recording**2)])
    energies = sums[len(piece) :] - sums[: -len(piece)]
    return float((products / np.sqrt(np.maximum(energies, 1e6) * (piece @ piece))).max())
