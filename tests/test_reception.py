from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.media.reception import Reception
from pipecat_whatsapp.media.rtp import ReportBlock, RtpPacket, SenderReport

RATE = 48_000
SSRC = 77
NONE = 1e-6
"""No jitter but that of rounding."""


def packet(sequence: int, timestamp: int | None = None) -> RtpPacket:
    timestamp = sequence * 960 if timestamp is None else timestamp
    return RtpPacket(111, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, SSRC, b"opus")


def received(*sequences: int) -> Reception:
    """Every packet arrives just in its time."""
    reception = Reception(packet(sequences[0]), RATE)
    for sequence in sequences:
        reception.add(packet(sequence), sequence * 0.02, timed=True)
    return reception


@pytest.mark.parametrize(
    ("sequences", "lost"),
    [
        ([5], 0),
        ([5, 6, 7], 0),
        ([5, 7], 1),
        ([5, 9, 6], 2),
        ([5, 7, 6], 0),
        ([5, 4], 0),
        ([6, 7, 5], 0),
        ([5, 5, 6], -1),
        ([65534, 65535, 65536, 65537], 0),
        ([65534, 65538], 3),
        ([65536, 65535], 0),
    ],
    ids=str,
)
def test_what_is_missing_is_lost_and_what_comes_twice_makes_up_for_it(
    sequences: list[int], lost: int
) -> None:
    """RFC 3550 counts packets, and does not look whether it has seen them."""
    reception = received(*sequences)
    assert reception.lost == lost
    assert reception.received == len(sequences)
    assert reception.report(0).lost == lost


def test_the_highest_sequence_number_has_its_cycles() -> None:
    assert received(65534, 65535, 65536, 65537).report(0).highest == 65537
    assert received(65537, 65535).report(0).highest == 1, "of the cycle in which it began"
    assert received(100, 3).report(0).highest == 100


def test_the_fraction_is_that_since_the_report_before() -> None:
    reception = received(0, 1, 2, 4, 6, 7)
    assert reception.report(0).fraction == 2 * 256 // 8
    assert reception.report(0).fraction == 0, "nothing was expected since"
    for sequence in (8, 9, 10, 13):
        reception.add(packet(sequence), 0, timed=False)
    assert reception.report(0).fraction == 2 * 256 // 6
    for sequence in (11, 12, 14, 15):
        reception.add(packet(sequence), 0, timed=False)
    block = reception.report(0)
    assert (block.fraction, block.lost) == (0, 2), "more came than was expected since"


def test_a_source_that_starts_anew_has_lost_nothing() -> None:
    """Its sequence numbers begin anywhere."""
    for restart in (20_000, 40_000, 60_000, 5):
        reception = received(*range(10_000, 10_100))
        reception.report(0)
        for sequence in range(restart, restart + 100):
            reception.add(packet(sequence), 0, timed=False)
        assert reception.lost == 0
        block = reception.report(0)
        assert (block.fraction, block.lost) == (0, 0)
        assert block.highest & 0xFFFF == restart + 99


def test_a_source_that_starts_anew_has_no_jitter_of_it() -> None:
    reception = received(*range(10))
    for number in range(10):
        restarted = packet(30_000 + number, 1_000_000_000 + number * 960)
        reception.add(restarted, 0.2 + number * 0.02, timed=True)
    assert reception.jitter < NONE


def test_a_long_outage_is_no_new_start() -> None:
    assert received(*range(10), 2_000).lost == 1_990


def test_all_lost_is_as_much_as_a_byte_can_say() -> None:
    reception = received(0)
    reception.report(0)
    reception.add(packet(400), 8.0, timed=True)
    assert reception.report(0).fraction == 399 * 256 // 400
    assert reception.report(0).fraction == 0


# Jitter


def test_a_stream_that_keeps_its_time_has_no_jitter() -> None:
    assert received(*range(100)).jitter < NONE
    assert received(*range(65_500, 65_600)).jitter < NONE


def test_jitter_is_smoothed_as_in_rfc_3550() -> None:
    reception = received(0)
    reception.add(packet(1), 0.02 + 0.016, timed=True)
    assert reception.jitter == pytest.approx(768 / 16)
    reception.add(packet(2), 0.04 + 0.016, timed=True)
    assert reception.jitter == pytest.approx(768 / 16 * 15 / 16)
    assert reception.report(0).jitter == 45


def test_a_wrap_of_the_timestamp_is_no_jitter() -> None:
    start = (1 << 32) - 960 * 2
    reception = Reception(packet(0, start), RATE)
    for number in range(5):
        reception.add(packet(number, start + number * 960), number * 0.02, timed=True)
    assert reception.jitter < NONE


def test_a_pause_is_no_jitter() -> None:
    reception = received(0, 1)
    reception.add(packet(2, 2 * 960 + 10 * RATE), 0.04 + 10, timed=True)
    assert reception.jitter < NONE


def test_what_bears_no_time_of_its_own_tells_nothing() -> None:
    reception = received(0, 1)
    reception.add(packet(2, 0), 0.9, timed=False)
    assert reception.jitter < NONE
    reception.add(packet(3), 0.06, timed=True)
    assert reception.jitter < NONE


def test_steady_jitter_is_found() -> None:
    reception = received(0)
    for sequence in range(1, 400):
        late = 0.01 * (sequence % 2)
        reception.add(packet(sequence), sequence * 0.02 + late, timed=True)
    assert reception.jitter / RATE == pytest.approx(0.01, rel=0.05)


# Round trip


def test_without_a_sender_report_there_is_no_round_trip() -> None:
    block = received(0).report(5.0)
    assert (block.lsr, block.dlsr) == (0, 0)


def test_the_sender_learns_when_its_report_came_and_how_long_it_was_held() -> None:
    reception = received(0)
    reception.note(SenderReport(SSRC, 0x1111_2222_3333_4444, 0, 0, 0), 10.0)
    block = reception.report(12.5)
    assert (block.lsr, block.dlsr) == (0x2222_3333, int(2.5 * 65536))
    reception.note(SenderReport(SSRC, 0x1111_2223_0000_0000, 0, 0, 0), 13.0)
    block = reception.report(13.25)
    assert (block.lsr, block.dlsr) == (0x2223_0000, 0x4000)
    assert reception.report(13.0 + 3600 * 24).dlsr == 0xFFFFFFFF


@given(
    st.integers(0, 0xFFFF),
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.floats(0, 100)),
        max_size=40,
    ),
)
def test_whatever_comes_the_report_can_be_written(
    first: int, rest: list[tuple[int, int, float]]
) -> None:
    reception = Reception(packet(first), RATE)
    reception.add(packet(first), 0, timed=True)
    for sequence, timestamp, arrival in rest:
        reception.add(packet(sequence, timestamp), arrival, timed=True)
        block = reception.report(arrival)
        assert len(bytes(block)) == 24
        assert 0 <= block.fraction <= 255
    assert isinstance(block if rest else reception.report(0), ReportBlock)
    assert reception.received == 1 + len(rest)
