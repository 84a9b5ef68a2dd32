"""The order and the time of incoming audio: packets in, slots of one timeline out.

Pure and synchronous: it is told what arrived and what time it is, and answers with what to play.

A voice bot needs no smooth playout. A packet in order is played at once; only where one is missing
does anything wait, until the missing one is as late as packets lately have been. Then its slot is
recovered from the packet behind it, concealed, or left silent. When nothing arrives at all, slots
are filled in real time, so that the end of speech is noticed when it happens.

A burst that was only held up on its way is still played in full, though its slots have been filled
already. What is then on the timeline twice is a `surplus`, and the silence that follows repays it.

Times are seconds of a monotonic clock; ticks are units of the 48 kHz RTP clock of Opus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pipecat_whatsapp.media.opus_packet import FRAME_TICKS, RTP_CLOCK_RATE
from pipecat_whatsapp.media.rtp import unwrap

MIN_WAIT, MAX_WAIT = 0.03, 0.1
"""Bounds of how long a missing packet is waited for beyond its usual time, s."""

MIN_FILL_WAIT = 0.06
"""With nothing behind it a packet may just be late, so it is waited for at least so long, s."""

MARGIN = 0.005
"""Added to the greatest lateness seen, s."""

WINDOW = 2.0
"""Lateness is remembered for one to two of these, s."""

MAX_CONCEALED = 5 * FRAME_TICKS
"""Made-up speech in a row, in ticks; beyond that it is a drone, and silence is honest."""

MAX_GAP = RTP_CLOCK_RATE // 5
"""Ticks that are filled before a packet: pauses are filled while they last, so that little is left
to do when the packet comes, unless its timestamp is wrong."""

MAX_OVERSLEPT = RTP_CLOCK_RATE
"""Ticks that are filled at once when nobody has asked for long."""

MAX_SURPLUS = 2 * RTP_CLOCK_RATE
"""Ticks that the timeline may be ahead of real time; later packets are dropped."""

MAX_LATENESS = 2.0
"""Seconds by which a packet may be late or early before it belongs to a new timeline."""

MAX_LEAP = 500
"""Sequence numbers. A greater leap is a restart of the source."""


class Kind(Enum):
    """What to put into a slot.

    Parameters:
        PLAY: Decode the packet.
        RECOVER: Decode the lost packet from the FEC of the packet given.
        CONCEAL: Make something up.
        SILENCE: Nothing was said.
    """

    PLAY = "play"
    RECOVER = "recover"
    CONCEAL = "conceal"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of the timeline.

    Parameters:
        kind: What to put into it.
        ticks: How long it is.
        payload: The packet to decode; empty for concealment and silence.
    """

    kind: Kind
    ticks: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet that arrived.

    Parameters:
        ssrc: Its source.
        sequence: RTP sequence number, 16 bits.
        timestamp: RTP timestamp, 32 bits.
        ticks: How long it plays; 0 for a packet of the stream that is not audio, as a key press.
        payload: The packet.
        fec: Whether it can recover the one before it.
    """

    ssrc: int
    sequence: int
    timestamp: int
    ticks: int = 0
    payload: bytes = b""
    fec: bool = False


class JitterBuffer:
    """Puts one source's packets in order.

    Attributes:
        late: Packets that came after their slot had been given up, and were not played.
        duplicates: Packets that had been there before.
        reordered: Packets that came after one that was sent later, and were played in their place.
        recovered: Ticks recovered by FEC.
        concealed: Ticks of lost audio that were concealed or left silent.
        surplus: Ticks on the timeline beyond real time.
    """

    def __init__(self) -> None:
        self.late = 0
        self.duplicates = 0
        self.reordered = 0
        self.recovered = 0
        self.concealed = 0
        self.surplus = 0
        self._lateness = _Lateness()
        self._held: dict[int, Arrival] = {}
        self._ssrc: int | None = None
        self._next_sequence = 0
        self._next_timestamp = 0
        self._last_taken = 0
        self._highest = 0
        self._played: dict[int, None] = {}
        self._filled = 0
        self._concealable = 0
        self._last_arrival = 0.0
        self._since_last = 0

    @property
    def deadline(self) -> float | None:
        """When `poll()` has something to do, unless a packet comes first; None before the first."""
        if self._ssrc is None:
            return None
        return self._lateness.due(self._next_timestamp) + self._wait

    @property
    def _wait(self) -> float:
        wait = min(max(self._lateness.greatest + MARGIN, MIN_WAIT), MAX_WAIT)
        return wait if self._held else max(wait, MIN_FILL_WAIT)

    def push(self, arrival: Arrival, now: float) -> list[Slot]:
        """Take a packet.

        Returns:
            What can be played now.
        """
        sequence = unwrap(arrival.sequence, self._next_sequence, bits=16)
        timestamp = unwrap(arrival.timestamp, self._next_timestamp, bits=32)
        slots: list[Slot] = []
        if self._is_new_timeline(arrival, sequence, timestamp, now):
            if not arrival.ticks:
                return []  # A key press tells nothing about when audio is due.
            held = [self._held[each] for each in sorted(self._held)]
            slots += [Slot(Kind.PLAY, a.ticks, a.payload) for a in held if a.ticks]
            self._restart(arrival.ssrc, sequence, timestamp)
        if arrival.ticks:
            self._since_last = int((now - self._last_arrival) * RTP_CLOCK_RATE)
            self._last_arrival = now
            self._lateness.note(timestamp, now)
        if sequence in self._held or sequence in self._played:
            self.duplicates += 1
        elif sequence < self._next_sequence:
            self.late += 1
        else:
            self.reordered += sequence < self._highest
            self._highest = max(self._highest, sequence)
            self._held[sequence] = arrival
            slots += self._drain(now)
        return slots

    def poll(self, now: float) -> list[Slot]:
        """Give up what is overdue.

        Returns:
            What to put into its place, and what had waited behind it.
        """
        slots = list(self._drain(now))
        if not self._held and (deadline := self.deadline) is not None and deadline <= now:
            overdue = int((now - deadline) * RTP_CLOCK_RATE) // FRAME_TICKS * FRAME_TICKS
            # Whoever slept for an hour need not hear an hour of silence.
            self._next_timestamp += max(overdue - MAX_OVERSLEPT, 0)
            slots += [self._fill() for _ in range(min(overdue, MAX_OVERSLEPT) // FRAME_TICKS + 1)]
        return slots

    def repay(self, ticks: int) -> bool:
        """Whether a silent slot may be left out, since the timeline is ahead."""
        if ticks > self.surplus:
            return False
        self.surplus -= ticks
        return True

    def _is_new_timeline(self, arrival: Arrival, sequence: int, timestamp: int, now: float) -> bool:
        if arrival.ssrc != self._ssrc or abs(sequence - self._next_sequence) > MAX_LEAP:
            return True
        is_old = sequence < self._next_sequence and timestamp < self._next_timestamp
        if is_old or not arrival.ticks:  # A key press bears the time at which it began.
            return False
        return abs(now - self._lateness.due(timestamp)) > MAX_LATENESS

    def _restart(self, ssrc: int, sequence: int, timestamp: int) -> None:
        self._ssrc = ssrc
        self._held.clear()
        self._played.clear()
        self._lateness = _Lateness()
        self._next_sequence = self._highest = sequence
        self._next_timestamp = timestamp
        self._last_taken = sequence - 1
        self._filled = 0

    def _drain(self, now: float) -> Iterator[Slot]:
        while self._held:
            sequence = min(self._held)
            arrival = self._held[sequence]
            missing = sequence - self._next_sequence
            gap = unwrap(arrival.timestamp, self._next_timestamp, bits=32) - self._next_timestamp
            if missing and gap > 0:
                if self._lateness.due(self._next_timestamp) + self._wait > now:
                    return
                if missing > 1 and gap > max(arrival.ticks, FRAME_TICKS):
                    # Those behind the first missing one may still come in time.
                    yield self._fill()
                    self._next_sequence += 1
                    continue
            del self._held[sequence]
            self._next_sequence = sequence + 1
            self._remember(sequence)
            lost, self._last_taken = sequence - self._last_taken - 1, sequence
            yield from self._take(arrival, gap, now, lost)

    def _remember(self, sequence: int) -> None:
        self._played[sequence] = None
        if len(self._played) > MAX_LEAP:
            del self._played[next(iter(self._played))]

    def _take(self, arrival: Arrival, gap: int, now: float, lost: int) -> Iterator[Slot]:
        if not arrival.ticks:
            # A key is pressed: no speech goes on that could be made up.
            self._concealable = 0
            return
        if gap < 0:
            if self.surplus - gap > MAX_SURPLUS:
                self.late += 1
                return
            self.surplus -= gap
            # The line has become slower: what was known of it holds no longer.
            self._lateness = _Lateness()
            self._lateness.note(self._next_timestamp + gap, now)
        # A pause in which nothing was sent is no longer than the time since the last packet.
        bound = MAX_GAP if lost else min(MAX_GAP, self._since_last)
        yield from self._bridge(max(min(gap, bound), 0), arrival, lost)
        self._next_timestamp += gap + arrival.ticks
        self._concealable = MAX_CONCEALED
        yield Slot(Kind.PLAY, arrival.ticks, arrival.payload)

    def _bridge(self, gap: int, arrival: Arrival, lost: int) -> Iterator[Slot]:
        """Fill what lies before a packet: lost audio, or a pause in which nothing was sent."""
        recovered = min(arrival.ticks, gap) if lost and arrival.fec else 0
        concealed = min(gap - recovered, self._concealable) if lost else 0
        silent = gap - recovered - concealed
        self.recovered += recovered
        # What was filled beyond the lost packets was a pause.
        self.concealed += max(min(self._filled + gap, lost * arrival.ticks) - recovered, 0)
        self._filled = 0
        for kind, ticks in ((Kind.CONCEAL, concealed), (Kind.SILENCE, silent)):
            if ticks:
                yield Slot(kind, ticks)
        if recovered:
            yield Slot(Kind.RECOVER, recovered, arrival.payload)

    def _fill(self) -> Slot:
        kind = Kind.CONCEAL if self._concealable >= FRAME_TICKS else Kind.SILENCE
        if kind is Kind.CONCEAL:
            self._concealable -= FRAME_TICKS
        self._next_timestamp += FRAME_TICKS
        self._filled += FRAME_TICKS
        return Slot(kind, FRAME_TICKS)


class _Lateness:
    """How late packets have lately been, measured against the fastest one."""

    def __init__(self) -> None:
        self.greatest = 0.0
        self._fastest = 0.0
        self._windows: list[tuple[float, float]] = []
        self._window_end = 0.0

    def due(self, timestamp: int) -> float:
        """When a packet of that timestamp arrives at the earliest."""
        return timestamp / RTP_CLOCK_RATE + self._fastest

    def note(self, timestamp: int, now: float) -> None:
        """Take a packet's arrival into account."""
        transit = now - timestamp / RTP_CLOCK_RATE
        if not self._windows or now >= self._window_end:
            self._windows = [*self._windows[-1:], (transit, transit)]
            self._window_end = now + WINDOW
        low, high = self._windows[-1]
        self._windows[-1] = (min(low, transit), max(high, transit))
        self._fastest = min(low for low, _ in self._windows)
        self.greatest = max(high for _, high in self._windows) - self._fastest
