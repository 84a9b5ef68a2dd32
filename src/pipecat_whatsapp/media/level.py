"""How loud audio is."""

from __future__ import annotations

import math

import numpy as np

QUIET = 330
"""Peak below which audio is silence: 1 % of full scale, -40 dB."""


def is_quiet(pcm: bytes) -> bool:
    """Whether 16-bit PCM is silence, so that some of it may be left out unnoticed."""
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], np.int16)
    return not samples.size or (int(samples.max()) < QUIET and int(samples.min()) > -QUIET)


def level(pcm: bytes) -> float:
    """Root mean square of 16-bit PCM, dB below full scale, at least -120."""
    samples = np.frombuffer(pcm, np.int16).astype(np.float64)
    power = float(np.mean(samples * samples)) / 32768**2 if samples.size else 0.0
    return 10 * math.log10(max(power, 1e-12))
