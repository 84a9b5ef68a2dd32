"""How good a call sounds, estimated from loss and delay: the wideband E-model (ITU-T G.107.1).

The model starts from a perfect wideband line and subtracts what coding, loss and delay cost::

    R = 129 - Id - Ie,eff        rating, 0 to 129
    MOS                          1 (bad) to 4.5 (as good as a call gets)

It is a planning model. It knows nothing of echo, noise, loudness or what was said, so the figure
serves to compare calls and to notice a bad one, not to replace listeners.
"""

from __future__ import annotations

import math

_BEST = 129.0
"""Rating of a wideband line without impairment (G.107.1 section 7.1)."""

_CODEC_IMPAIRMENT = 10.0
"""Ie,wb of Opus at 16 kHz and about 20 kbit/s: an approximation, for the ITU publishes none.

It lies between AMR-WB at 19.85 kbit/s, which is 3 (G.113 appendix IV, table IV.1), and Opus at
15 kbit/s, which is 18 (Alahmadi, Pocta, Melvin: An Adaptive Bitrate Switching Algorithm for Speech
Applications in Context of WebRTC, ACM TOMM 17(4), 2021).
"""

_LOSS_ROBUSTNESS = 10.0
"""Bpl of Opus, %: an approximation for the same reason.

It lies between AMR-WB, which is 4 to 5 (G.113 appendix IV, table IV.4), and Opus at 15 kbit/s,
which is 16 to 19 by the paper above; that paper has 10 for super-wideband Opus at 22 kbit/s.
"""


def estimate_mos(*, loss: float, delay: float) -> float:
    """Estimate the mean opinion score of a call's sound in one direction.

    The coefficients of Opus are approximations, see this module; the score is good to a few
    tenths. Values beyond their limits count as the limit.

    Args:
        loss: Share of packets that were neither received nor recovered by FEC, 0 to 1; taken for
            random, as the model knows nothing of bursts.
        delay: One-way delay from mouth to ear, s, 0 or more.

    Returns:
        1.0 to 4.5, on the wideband scale: not comparable to a narrowband MOS.
    """
    return _score(_BEST - _delay_impairment(delay) - _equipment_impairment(loss))


def _equipment_impairment(loss: float) -> float:
    """Ie,eff: what coding and random loss cost (G.107.1 section 7.5)."""
    percent = 100 * min(max(loss, 0.0), 1.0)
    share = percent / (percent + _LOSS_ROBUSTNESS)
    return _CODEC_IMPAIRMENT + (95 - _CODEC_IMPAIRMENT) * share


def _delay_impairment(delay: float) -> float:
    """Idd: what delay costs a conversation beyond 100 ms (G.107 section 7.4)."""
    if delay <= 0.1:
        return 0.0
    x = math.log2(delay / 0.1)
    return 25 * (_sixth_root(1 + x**6) - 3 * _sixth_root(1 + (x / 3) ** 6) + 2)


def _sixth_root(value: float) -> float:
    return math.pow(value, 1 / 6)


def _score(rating: float) -> float:
    """MOS of a wideband rating (G.107.1 annex A, which is G.107 annex B on another scale)."""
    r = min(max(rating / 1.29, 0.0), 100.0)
    # Close to 0 the polynomial falls below the scale.
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
