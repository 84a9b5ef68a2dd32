from __future__ import annotations

import numpy as np
import pytest

from aiortc_business import tone
from pipecat_whatsapp.media.level import QUIET, is_quiet, level


def test_a_level_is_that_of_the_power() -> None:
    """A sine is 3 dB below its peak, and each halving takes 6 dB."""
    sine = tone(440, 1.0)
    peak = 20 * np.log10(9000 / 32_768)
    assert level(sine) == pytest.approx(peak - 3.01, abs=0.05)
    half = (np.frombuffer(sine, np.int16) // 2).tobytes()
    assert level(half) == pytest.approx(level(sine) - 6.02, abs=0.05)
    assert level(b"\x00\x80" * 100) == 0.0, "full scale"


@pytest.mark.parametrize("pcm", [b"", bytes(640)])
def test_silence_has_a_level_too(pcm: bytes) -> None:
    assert level(pcm) == -120.0


@pytest.mark.parametrize("sign", [1, -1])
def test_one_sample_is_enough_to_be_heard(sign: int) -> None:
    def with_peak(peak: int) -> bytes:
        return np.array([0, 0, sign * peak, 0], np.int16).tobytes()

    assert is_quiet(with_peak(QUIET - 1))
    assert not is_quiet(with_peak(QUIET))
    assert is_quiet(b"")
