from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecat_whatsapp.media.jitter import (
    MAX_CONCEALED,
    MAX_GAP,
    MAX_LEAP,
    MAX_OVERSLEPT,
    MAX_SURPLUS,
    MAX_WAIT,
    MIN_WAIT,
    Arrival,
    JitterBuffer,
    Kind,
    Slot,
)
from pipecat_whatsapp.media.opus_packet import FRAME_TICKS, RTP_CLOCK_RATE

FRAME = FRAME_TICKS / RTP_CLOCK_RATE
START = 100.0


def packet(number: int, *, first: int = 65_530, ssrc: int = 1, fec: bool = False) -> Arrival:
    """The packet with that number in a stream whose counters wrap soon after its start."""
    return Arrival(
        ssrc=ssrc,
        sequence=(first + number) & 0xFFFF,
        timestamp=(0xFFFFF000 + number * FRAME_TICKS) & 0xFFFFFFFF,
        ticks=FRAME_TICKS,
        payload=b"%d" % number,
        fec=fec,
    )


@dataclass
class Line:
    """A jitter buffer, and what came out of it when."""

    buffer: JitterBuffer = field(default_factory=JitterBuffer)
    slots: list[tuple[float, Slot]] = field(default_factory=list)
    now: float = START

    def push(self, arrival: Arrival, at: float) -> None:
        self.wait(at)
        self._note(self.buffer.push(arrival, at))

    def wait(self, until: float) -> None:
        """Let time pass; what is overdue is asked for when it is due."""
        while (deadline := self.buffer.deadline) is not None and deadline < until:
            self.now = max(deadline, self.now)
            slots = self.buffer.poll(self.now)
            if not slots and self.buffer.deadline == deadline:
                break
            self._note(slots)
        self.now = until

    def _note(self, slots: Iterable[Slot]) -> None:
        self.slots += [(self.now, slot) for slot in slots]

    @property
    def kinds(self) -> str:
        """One letter for each 20 ms: Play, Recover, Conceal, Silence."""
        return "".join(
            slot.kind.name[0] * (slot.ticks // FRAME_TICKS or 1) for _, slot in self.slots
        )

    @property
    def played(self) -> list[int]:
        return [int(slot.payload) for _, slot in self.slots if slot.kind is Kind.PLAY]

    @property
    def seconds(self) -> float:
        return sum(slot.ticks for _, slot in self.slots) / RTP_CLOCK_RATE


def on_time(number: int) -> float:
    return START + number * FRAME


def test_packets_in_order_are_played_at_once_across_both_wraps() -> None:
    line = Line()
    for number in range(50):
        line.push(packet(number), on_time(number))
    assert line.played == list(range(50))
    assert line.kinds == "P" * 50
    assert [at for at, _ in line.slots] == [on_time(number) for number in range(50)]


def test_a_lost_packet_is_recovered_from_the_next_one() -> None:
    line = Line()
    for number in [0, 1, 2, 4, 5]:
        line.push(packet(number, fec=True), on_time(number))
    line.wait(on_time(6))
    assert line.kinds == "PPPRPP"
    recovered = next(slot for _, slot in line.slots if slot.kind is Kind.RECOVER)
    assert recovered.payload == b"4"
    assert line.buffer.recovered == FRAME_TICKS
    assert line.buffer.concealed == 0


def test_a_lost_packet_without_fec_is_concealed() -> None:
    line = Line()
    for number in [0, 1, 2, 4]:
        line.push(packet(number), on_time(number))
    line.wait(on_time(5))
    assert line.kinds == "PPPCP"
    assert line.buffer.concealed == FRAME_TICKS


def test_of_several_lost_in_a_row_the_last_is_recovered() -> None:
    line = Line()
    for number in [0, 1, 2, 6, 7, 8]:
        line.push(packet(number, fec=True), on_time(number))
    line.wait(on_time(9))
    assert line.kinds == "PPPCCRPPP"
    assert (line.buffer.recovered, line.buffer.concealed) == (FRAME_TICKS, 2 * FRAME_TICKS)


def test_reordered_packets_are_played_in_order_and_none_is_lost() -> None:
    line = Line()
    held_up = {5: 0.025, 7: 0.028, 9: 0.03}
    arrivals = sorted((on_time(n) + held_up.get(n, 0.0), n) for n in range(12))
    for at, number in arrivals:
        line.push(packet(number), at)
    assert line.played == list(range(12))
    assert line.buffer.late == 0
    assert line.buffer.reordered == 3


def test_a_missing_packet_is_waited_for_as_long_as_packets_lately_were_late() -> None:
    def waited(lateness: float) -> float:
        line = Line()
        arrivals = sorted((on_time(n) + lateness * (n % 2), n) for n in range(20))
        for at, number in arrivals:
            line.push(packet(number), at)
        line.push(packet(21), on_time(21))
        line.wait(on_time(30))
        return next(at for at, slot in line.slots if slot.payload == b"21") - on_time(20)

    assert waited(0.0) == pytest.approx(MIN_WAIT)
    assert waited(0.04) == pytest.approx(0.045)
    assert waited(0.06) == pytest.approx(0.065)
    assert waited(0.3) == pytest.approx(MAX_WAIT)


def test_duplicates_are_counted_and_dropped() -> None:
    line = Line()
    for number in [0, 1, 1, 2, 0, 3]:
        line.push(packet(number), on_time(number))
    line.push(packet(5), on_time(5))
    line.push(packet(5), on_time(5))
    assert line.played[:4] == [0, 1, 2, 3]
    assert line.buffer.duplicates == 3
    assert line.buffer.late == 0


def test_a_packet_that_comes_after_its_slot_was_given_up_is_late() -> None:
    line = Line()
    for number in [0, 1, 3, 4]:
        line.push(packet(number), on_time(number))
    line.push(packet(2), on_time(5))
    assert line.played == [0, 1, 3, 4]
    assert line.buffer.late == 1


def test_a_pause_of_the_sender_is_filled_in_time_with_the_right_duration() -> None:
    line = Line()
    for number in range(5):
        line.push(packet(number), on_time(number))
    # DTX: the sequence goes on, the timestamps leap.
    later = replace(packet(50), sequence=packet(5).sequence)
    line.wait(on_time(30))
    assert 21 <= len(line.kinds) - 5 <= 22, "silence comes while nothing is sent"
    line.push(later, on_time(50))
    assert line.kinds[-1] == "P"
    assert len(line.kinds) == 51
    assert line.kinds.count("C") * FRAME_TICKS <= MAX_CONCEALED
    assert line.buffer.concealed == 0, "nothing was lost"


def test_an_outage_counts_as_concealed() -> None:
    line = Line()
    for number in [*range(5), *range(30, 35)]:
        line.push(packet(number), on_time(number))
    line.wait(on_time(35))
    assert line.seconds == pytest.approx(35 * FRAME)
    assert line.buffer.concealed == 25 * FRAME_TICKS
    assert line.kinds[5:10] == "CCCCC"
    assert set(line.kinds[10:29]) == {"S"}


def test_a_packet_lost_after_a_pause_does_not_make_the_pause_a_loss() -> None:
    line = Line()
    for number in range(5):
        line.push(packet(number), on_time(number))
    # DTX until 50, and the first packet of what is said then does not come.
    for number in range(51, 55):
        line.push(replace(packet(number), sequence=packet(number - 45).sequence), on_time(number))
    line.wait(on_time(55))
    assert line.played == [*range(5), *range(51, 55)]
    assert line.buffer.concealed == FRAME_TICKS


def test_a_burst_that_was_held_up_is_played_in_full_and_repaid_by_silence() -> None:
    line = Line()
    for number in range(5):
        line.push(packet(number), on_time(number))
    for number in range(5, 20):
        line.push(packet(number), on_time(20))
    assert line.played == list(range(20))
    surplus = line.buffer.surplus
    assert surplus == len(line.kinds) * FRAME_TICKS - 20 * FRAME_TICKS > 0
    while line.buffer.repay(FRAME_TICKS):
        surplus -= FRAME_TICKS
    assert surplus == line.buffer.surplus == 0


def test_a_key_press_takes_its_place_in_the_sequence_and_is_no_loss() -> None:
    line = Line()
    for number in range(5):
        line.push(packet(number), on_time(number))
    for number in range(5, 10):
        press = Arrival(1, packet(number).sequence, packet(5).timestamp)
        line.push(press, on_time(number))
    for number in range(10, 15):
        line.push(packet(number), on_time(number))
    line.wait(on_time(15))
    assert line.played == [*range(5), *range(10, 15)]
    assert len(line.kinds) == 15
    assert "C" not in line.kinds[6:], "no speech is made up while a key is down"
    assert (line.buffer.late, line.buffer.duplicates, line.buffer.concealed) == (0, 0, 0)


def test_a_lone_key_press_starts_nothing() -> None:
    buffer = JitterBuffer()
    assert buffer.push(Arrival(1, 7, 8), START) == []
    assert buffer.deadline is None
    assert buffer.poll(START + 10) == []


@pytest.mark.parametrize("change", ["ssrc", "sequence", "timestamp"])
def test_a_source_that_starts_anew_is_played_at_once(change: str) -> None:
    line = Line()
    for number in range(5):
        line.push(packet(number), on_time(number))
    for number in range(5, 10):
        arrival = packet(number)
        if change == "ssrc":
            arrival = packet(number, ssrc=2, first=1234)
        elif change == "sequence":
            arrival = replace(arrival, sequence=(arrival.sequence + MAX_LEAP + 9) & 0xFFFF)
        else:
            arrival = replace(arrival, timestamp=(arrival.timestamp + (1 << 30)) & 0xFFFFFFFF)
        line.push(arrival, on_time(number))
    assert line.played == list(range(10))


def test_what_was_held_is_played_when_the_source_changes() -> None:
    line = Line()
    for number in [0, 1, 4, 3]:
        line.push(packet(number), START + number * 0.001)
    line.push(packet(0, ssrc=2), START + 0.01)
    assert line.played == [0, 1, 3, 4, 0]


def test_whoever_slept_for_an_hour_is_not_given_an_hour_of_silence() -> None:
    buffer = JitterBuffer()
    buffer.push(packet(0), START)
    slots = buffer.poll(START + 3600)
    assert sum(slot.ticks for slot in slots) <= MAX_OVERSLEPT + FRAME_TICKS
    (play,) = buffer.push(packet(1), START + 3600.001)
    assert play.kind is Kind.PLAY


def test_a_packet_that_comes_seconds_late_changes_nothing() -> None:
    line = Line()
    for number in range(250):
        if number != 50:
            line.push(packet(number), on_time(number))
        if number == 200:
            line.push(packet(50), on_time(number))
    assert line.buffer.late == 1
    assert line.played == [number for number in range(250) if number != 50]
    assert len(line.kinds) == 250


@pytest.mark.parametrize("slower", [0.05, 0.1, 0.2, 0.4, 1.0, 1.5, 3.0, 10.0])
def test_a_line_that_becomes_slower_costs_its_delay_once_and_no_packet(slower: float) -> None:
    line = Line()
    for number in range(400):
        line.push(packet(number), on_time(number) + (slower if number >= 100 else 0.0))
    assert line.played == list(range(400))
    assert line.buffer.late == 0
    filled = len(line.kinds) - 400
    assert filled * FRAME <= slower + FRAME
    assert line.kinds[-250:] == "P" * 250, "and then all is as before"


def test_a_clock_that_stands_still_for_a_while_leaves_nobody_deaf() -> None:
    line = Line()
    for number in range(100):
        line.push(packet(number), on_time(number))
    for number in range(100, 200):
        # The sender's clock stood still for 3 s while nothing was sent.
        line.push(packet(number), on_time(number + 150))
    assert line.played == list(range(200))


def test_timestamps_that_run_fast_do_not_flood_the_pipeline() -> None:
    line = Line()
    for number in range(500):
        hasty = replace(packet(number), timestamp=number * RTP_CLOCK_RATE // 2 & 0xFFFFFFFF)
        line.push(hasty, on_time(number))
    assert line.seconds <= 2 * 500 * FRAME + 1


@pytest.mark.parametrize("jitter", [0.0, 0.03, 0.06])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
def test_a_bad_line_leaves_the_duration_right(loss: float, jitter: float) -> None:
    draw = random.Random(f"{loss} {jitter}")  # noqa: S311 - repeatable, not secret
    arrivals = sorted(
        (on_time(number) + draw.random() * jitter, number)
        for number in range(850)
        if draw.random() >= loss
    )
    line = Line()
    for at, number in arrivals:
        line.push(packet(number, fec=True), at)
    line.wait(on_time(850))
    assert line.seconds == pytest.approx(17, rel=0.01)
    assert line.played == sorted(line.played)
    spoken = len(arrivals)
    assert len(line.played) >= spoken * 0.99, "hardly a good packet is thrown away"


Numbers = st.integers(0, 60)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(Numbers, st.floats(0, 0.5), st.booleans(), st.sampled_from([1, 1, 1, 2])),
        max_size=120,
    )
)
def test_any_order_of_packets_gives_each_at_most_once_and_bounded_memory(
    steps: list[tuple[int, float, bool, int]],
) -> None:
    line = Line()
    now = START
    for number, pause, fec, ssrc in steps:
        now += pause
        line.push(packet(number, ssrc=ssrc, fec=fec), now)
        assert 0 <= line.buffer.surplus <= MAX_SURPLUS
    line.wait(now + 1)
    sources = {ssrc for *_, ssrc in steps}
    if len(sources) == 1:
        assert len(line.played) == len(set(line.played)), "each packet is played once"
    bridged = len(steps) * (MAX_GAP + FRAME_TICKS) / RTP_CLOCK_RATE
    assert line.seconds <= now + 1 - START + MAX_SURPLUS / RTP_CLOCK_RATE + bridged


@settings(max_examples=300)
@given(
    st.lists(
        st.builds(
            Arrival,
            ssrc=st.integers(0, 2),
            sequence=st.integers(0, 0xFFFF),
            timestamp=st.integers(0, 0xFFFFFFFF),
            ticks=st.sampled_from([0, 120, 480, 960, 2880, 5760]),
            payload=st.just(b"1"),
            fec=st.booleans(),
        ),
        max_size=60,
    )
)
def test_hostile_numbers_never_raise_and_never_flood(arrivals: list[Arrival]) -> None:
    buffer = JitterBuffer()
    for index, arrival in enumerate(arrivals):
        now = START + index * 0.02
        ticks = sum(slot.ticks for slot in buffer.push(arrival, now) + buffer.poll(now))
        held = sum(a.ticks for a in arrivals)
        assert ticks <= MAX_OVERSLEPT + MAX_GAP + held + MAX_LEAP * FRAME_TICKS
