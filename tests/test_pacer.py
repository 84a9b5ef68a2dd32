from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.media.opus_packet import FRAME_TICKS, RTP_CLOCK_RATE
from pipecat_whatsapp.media.pacer import (
    MAX_HICCUP,
    MAX_LATE,
    MAX_LATE_WAITING,
    SLOT,
    STALL_GRACE,
    Pacer,
)

ROUNDING = 1e-6
INSTANT = 1e-9


@dataclass(frozen=True)
class Sent:
    at: float
    slot: int


class Line:
    """Sends as a sender does, on a clock moved by hand that begins at 0."""

    def __init__(self) -> None:
        self.pacer = Pacer()
        self.now = 0.0

    def wait(self, *, has_audio: bool) -> float:
        return self.pacer.wait(self.now, has_audio=has_audio)

    def pause(self, *, has_audio: bool) -> None:
        for _ in range(100):
            if (seconds := self.wait(has_audio=has_audio)) <= 0:
                return
            self.now += max(seconds, INSTANT)
        raise AssertionError("it is never time")

    def send(self, *, has_audio: bool = True, was_waiting: bool = False) -> Sent:
        """Send a packet as soon as it may go."""
        self.pause(has_audio=has_audio)
        timestamp = self.pacer.take(self.now, has_audio=has_audio, was_waiting=was_waiting)
        slot, rest = divmod(timestamp, FRAME_TICKS)
        assert rest == 0
        return Sent(round(self.now, 6), slot)

    def hush(self, packets: int) -> list[Sent]:
        return [self.send(has_audio=False) for _ in range(packets)]


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.mark.parametrize("has_audio", [True, False])
def test_the_first_packet_goes_at_once(line: Line, has_audio: bool) -> None:
    line.now = 1000.0
    assert line.send(has_audio=has_audio) == Sent(1000.0, 0)


def test_a_packet_goes_every_20_ms(line: Line) -> None:
    assert [line.send() for _ in range(3)] == [Sent(0.0, 0), Sent(0.02, 1), Sent(0.04, 2)]


def test_audio_never_goes_before_its_slot(line: Line) -> None:
    line.send()
    line.now = 0.012
    assert line.wait(has_audio=True) == pytest.approx(0.008)


def test_audio_that_comes_while_its_slot_is_open_goes_at_once(line: Line) -> None:
    line.send()
    line.now = 0.033
    assert line.send() == Sent(0.033, 1)
    assert line.wait(has_audio=True) == pytest.approx(0.007), "the beat stays where it was"


def test_a_slot_that_nothing_came_for_gets_silence_when_it_is_over(line: Line) -> None:
    line.send()
    assert line.hush(2) == [Sent(0.04, 1), Sent(0.06, 2)]
    assert line.send() == Sent(0.06, 3), "its slot has just begun"


def test_live_speech_catches_up_after_a_stall(line: Line) -> None:
    for _ in range(5):
        line.send()
    line.now += 0.15
    # Slots 5 to 11 have begun meanwhile; slot 12 is to come.
    late = [line.send() for _ in range(8)]
    assert late == [Sent(0.23, slot) for slot in range(5, 12)] + [Sent(0.24, 12)]
    assert line.pacer.behind == 0


def test_live_speech_that_is_too_late_to_be_played_is_not_sent_as_if_it_were(line: Line) -> None:
    line.send()
    line.now = 0.02 + MAX_LATE + 0.1
    assert [line.send() for _ in range(2)] == [Sent(0.32, 16), Sent(0.34, 17)]


def test_speech_that_was_waiting_is_moved_by_a_stall_and_never_bursts(line: Line) -> None:
    for _ in range(5):
        line.send(was_waiting=True)
    line.now += 0.15
    after = [line.send(was_waiting=True) for _ in range(3)]
    assert after == [Sent(0.23, 11), Sent(0.24, 12), Sent(0.26, 13)]
    assert line.pacer.behind == 6


def test_a_hiccup_moves_nothing(line: Line) -> None:
    line.send(was_waiting=True)
    line.now = 0.02 + MAX_LATE_WAITING - 0.001
    after = [line.send(was_waiting=True) for _ in range(4)]
    assert after == [Sent(0.079, 1), Sent(0.079, 2), Sent(0.079, 3), Sent(0.08, 4)]
    assert line.pacer.behind == 0


def test_silence_never_bursts(line: Line) -> None:
    line.hush(2)
    line.now += 1.0
    after = line.hush(3)
    assert [sent.slot - after[0].slot for sent in after] == [0, 1, 2]
    assert after[1].at - after[0].at > SLOT / 2
    # Slot 1 began with the first packet: the last slot that is over is the right one.
    assert after[0].slot == int(after[0].at / SLOT)


def test_live_speech_may_come_through_the_pipeline_after_a_stall(line: Line) -> None:
    """It waits in some queue, and would be sent after a silence that nobody meant."""
    for _ in range(5):
        line.send()
    line.now += 0.15
    assert line.wait(has_audio=False) == STALL_GRACE
    line.now += STALL_GRACE / 2
    assert line.send().slot == 5


def test_but_not_for_long(line: Line) -> None:
    line.send()
    line.now += 0.15
    line.now += line.wait(has_audio=False)
    assert line.wait(has_audio=False) == 0


def test_slots_left_out_are_forgotten_after_a_pause(line: Line) -> None:
    line.send(was_waiting=True)
    line.now += 0.2
    line.send(was_waiting=True)
    behind = line.pacer.behind
    assert behind > 0
    line.send(was_waiting=True)
    line.hush(MAX_HICCUP)
    line.send(was_waiting=True)
    assert line.pacer.behind == behind + MAX_HICCUP, "a hole in the middle of speech"
    line.hush(MAX_HICCUP + 1)
    line.send(was_waiting=True)
    assert line.pacer.behind == 0, "after a pause nothing waits any more"


def test_a_stall_in_which_speech_ran_out_counts_too(line: Line) -> None:
    """Nothing was ready when the loop came back, and what then comes is late all the same."""
    line.send()
    line.now += 0.2
    line.hush(1)
    late = line.send()
    assert line.pacer.behind == late.slot - 1


def test_a_call_begins_with_a_pause(line: Line) -> None:
    line.hush(2)
    line.send()
    assert line.pacer.behind == 0


Step = tuple[float, bool, bool]
STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 3.0)),
        st.booleans(),
        st.booleans(),
    ),
    max_size=60,
)


@given(st.floats(0, 1e6), STEPS)
def test_whatever_happens_the_timestamps_tell_the_time(start: float, steps: list[Step]) -> None:
    line = Line()
    line.now = start
    origin = None
    last = -1
    for pause, has_audio, was_waiting in steps:
        line.now += pause
        line.pause(has_audio=has_audio)
        timestamp = line.pacer.take(line.now, has_audio=has_audio, was_waiting=was_waiting)
        if origin is None:
            origin = line.now if has_audio else line.now - SLOT
        assert timestamp % FRAME_TICKS == 0
        assert timestamp // FRAME_TICKS > last, "never again, and never back"
        assert line.pacer.timestamp == timestamp + FRAME_TICKS
        assert line.pacer.behind >= 0
        last = timestamp // FRAME_TICKS
        late = line.now - origin - timestamp / RTP_CLOCK_RATE
        earliest, latest = (0.0, MAX_LATE) if has_audio else (SLOT, 2 * SLOT)
        assert earliest - ROUNDING <= late <= latest + ROUNDING
