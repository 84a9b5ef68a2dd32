from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.media.rate import FEC_FROM, MIN_BITRATE, MIN_EXPECTED_LOSS, RateControl


def after(*losses: float, max_bitrate: int = 24_000) -> RateControl:
    rate = RateControl(max_bitrate)
    for loss in losses:
        rate.update(loss)
    return rate


def test_a_good_line_gets_all_bits_and_no_fec() -> None:
    for rate in (after(), after(0.0), after(0.0, 0.01, 0.019)):
        assert (rate.bitrate, rate.expected_loss) == (24_000, 0.0)


def test_loss_brings_fec_and_enough_of_it() -> None:
    assert after(FEC_FROM).expected_loss == MIN_EXPECTED_LOSS
    assert after(0.25).expected_loss == 0.25


def test_fec_outlasts_the_loss_but_not_for_long() -> None:
    assert after(0.05, 0.0, 0.0).expected_loss > 0
    assert after(0.05, *[0.0] * 60).expected_loss == 0


def test_a_new_loss_counts_at_once() -> None:
    assert after(0.2, 0.0, 0.4).expected_loss == 0.4


def test_some_loss_is_bad_luck_and_costs_no_bits() -> None:
    assert after(*[0.05] * 60).bitrate == 24_000


def test_much_loss_is_congestion_and_costs_bits() -> None:
    assert after(0.2).bitrate == 21_600
    assert after(*[0.2] * 60).bitrate == MIN_BITRATE


def test_bits_come_back_only_when_the_line_is_good() -> None:
    congested = [0.2] * 60
    assert after(*congested, *[0.05] * 60).bitrate == MIN_BITRATE
    assert MIN_BITRATE < after(*congested, 0.0).bitrate < 24_000
    assert after(*congested, *[0.0] * 60).bitrate == 24_000


def test_a_far_end_that_makes_no_use_of_fec_gets_none() -> None:
    rate = RateControl(24_000, min_loss=0.1)
    rate.agree(None, fec=False)
    rate.update(0.3)
    assert rate.expected_loss == 0
    assert rate.bitrate < 24_000


def test_loss_can_be_expected_before_it_is_seen() -> None:
    rate = RateControl(24_000, min_loss=0.05)
    assert rate.expected_loss == MIN_EXPECTED_LOSS
    for _ in range(60):
        rate.update(0.0)
    assert rate.expected_loss == MIN_EXPECTED_LOSS, "and whatever is reported"
    rate.update(0.2)
    assert rate.expected_loss == 0.2


@pytest.mark.parametrize("asked_for", [6_000, 12_000, 20_000])
def test_the_far_end_gets_no_more_than_it_asked_for(asked_for: int) -> None:
    """Not even where that is less than what FEC needs."""
    assert after(*[0.0] * 60, max_bitrate=asked_for).bitrate == asked_for
    assert after(*[0.5] * 60, max_bitrate=asked_for).bitrate == min(asked_for, MIN_BITRATE)


def test_an_agreement_limits_what_was_chosen_and_raises_nothing() -> None:
    rate = RateControl(24_000)
    rate.agree(20_000, fec=True)
    assert rate.bitrate == 20_000
    for _ in range(60):
        rate.update(0.0)
    assert rate.bitrate == 20_000
    for says_nothing in (None, 0, 64_000):
        rate = RateControl(24_000)
        rate.agree(says_nothing, fec=True)
        assert rate.bitrate == 24_000


@given(st.integers(6_000, 510_000), st.lists(st.floats(0, 1), max_size=50))
def test_whatever_is_reported_the_encoder_can_do_it(most: int, losses: list[float]) -> None:
    rate = after(*losses, max_bitrate=most)
    assert min(MIN_BITRATE, most) <= rate.bitrate <= most
    assert rate.expected_loss == 0 or MIN_EXPECTED_LOSS <= rate.expected_loss <= 1
