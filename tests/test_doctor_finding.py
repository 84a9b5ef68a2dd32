from __future__ import annotations

import pytest

from pipecat_whatsapp.doctor.finding import what_and_cure
from pipecat_whatsapp.errors import ConfigError


@pytest.mark.parametrize(
    ("message", "what", "cure"),
    [
        ("It failed, because: oh: do this.", "It failed, because: oh", "do this"),
        ("It failed: do that.", "It failed", "do that"),
        ("No answer came (connect to host h:443: refused), so: wait.",
         "No answer came (connect to host h:443: refused), so", "wait"),
        ("It failed.", "It failed", ""),
    ],
)  # fmt: skip
def test_an_error_ends_with_what_to_do(message: str, what: str, cure: str) -> None:
    assert what_and_cure(ConfigError(message)) == (what, cure)
