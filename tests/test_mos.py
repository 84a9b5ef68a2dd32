from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.media.mos import estimate_mos

LOSSES = st.floats(0, 1)
DELAYS = st.floats(0, 10)
ROUNDING = 1e-9


def test_a_good_line_is_close_to_the_top_of_the_scale() -> None:
    # R = 119, r = 92.25, MOS = 1 + 3.229 + 0.161.
    assert estimate_mos(loss=0, delay=0) == pytest.approx(4.390, abs=0.001)
    assert estimate_mos(loss=0, delay=0.1) == estimate_mos(loss=0, delay=0)


@pytest.mark.parametrize(
    ("loss", "delay", "worst", "best"),
    [
        (0.01, 0.1, 4.1, 4.35),
        (0.05, 0.1, 3.3, 3.9),
        (0.2, 0.1, 2.0, 2.99),
        (1.0, 0.1, 1.0, 1.8),
        (0.0, 0.4, 3.2, 3.9),
        (1.0, 2.0, 1.0, 1.0),
    ],
)
def test_bad_lines_are_where_listeners_put_them(
    loss: float, delay: float, worst: float, best: float
) -> None:
    assert worst <= estimate_mos(loss=loss, delay=delay) <= best


def test_the_delay_of_g107_costs_what_its_formula_says() -> None:
    # Idd = 14.76, R = 104.24, r = 80.81, MOS = 1 + 2.828 + 0.226.
    assert estimate_mos(loss=0, delay=0.3) == pytest.approx(4.054, abs=0.001)


@given(LOSSES, LOSSES, DELAYS, DELAYS)
def test_nothing_that_gets_worse_makes_the_score_better(
    loss: float, loss2: float, delay: float, delay2: float
) -> None:
    good = estimate_mos(loss=min(loss, loss2), delay=min(delay, delay2))
    bad = estimate_mos(loss=max(loss, loss2), delay=max(delay, delay2))
    assert bad <= good + ROUNDING


@given(st.floats(-1, 2), st.floats(-1, 1e6))
def test_the_score_stays_on_its_scale(loss: float, delay: float) -> None:
    assert 1.0 <= estimate_mos(loss=loss, delay=delay) <= 4.5


def test_values_beyond_their_limits_count_as_the_limit() -> None:
    best = estimate_mos(loss=0, delay=0)
    assert estimate_mos(loss=-0.1, delay=-1) == best
    assert estimate_mos(loss=1.5, delay=0) == estimate_mos(loss=1, delay=0)
