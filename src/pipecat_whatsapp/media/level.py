"""How loud audio is."""

from __future__ import annotations

from array import array

QUIET = 330
"""Peak below which audio is silence: 1 % of full scale, -40 dB."""


def is_quiet(pcm: bytes) -> bool:
    """Whether 16-bit PCM is silence, so that some of it may be left out unnoticed."""
    samples = array("h", pcm)
    return not samples or max(max(samples), -min(samples)) < QUIET
