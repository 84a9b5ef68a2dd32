"""How well one caller heard the echo of own speech: delay, loss, and holes.

Both ways are decoded and placed by their RTP timestamps. Once a second a short piece of loud
speech is looked for in what came back; so much as the echo is behind there, it is taken to be
behind in all of that second.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from sounds import PACKET_SECONDS, Samples, Timeline, find, timeline

from pipecat_whatsapp.simulator.sound import FRAME_TICKS, OPUS_CLOCK, SOUND_LEVEL

PIECE = 5 * FRAME_TICKS
PERIOD = OPUS_CLOCK
LONGEST_DELAY = 1.0

LATE = 0.06
"""Seconds by which a packet is late, compared with the call's most punctual one."""

LOUD = 1000
"""RMS from which 20 ms that were said must be heard again: -30 dBFS."""

SILENCE = 60
"""Peak below which 20 ms that were heard are (near) digital silence: -55 dBFS."""

SURE = 0.7
"""Correlation from which a piece of speech is taken to be found."""

Packets = Sequence[tuple[float, bytes]]
"""Monotonic times, s, and RTP packets."""


@dataclass(frozen=True)
class EchoQuality:
    """How well an echo was heard.

    Parameters:
        first_sound: When the first sound came, monotonic s; NaN if none did.
        delay: From a sound's departure to its return, ms, the median; NaN if none was found.
        growth: The delay in the last third of the call minus that in the first, ms.
        lost: Share of 20 ms slots that no packet came for, 0 to 1.
        late: Share of slots whose packets came late, 0 to 1.
        holes: The length of each hole in speech, ms.
        looked_for: How many pieces of speech were looked for.
        found: How many of them were found.
    """

    first_sound: float
    delay: float
    growth: float
    lost: float
    late: float
    holes: Sequence[float]
    looked_for: int
    found: int


def judge(sent: Packets, received: Packets) -> EchoQuality:
    """Judge a call.

    Args:
        sent: What the caller said.
        received: What came back, until the caller hung up.
    """
    said, heard = timeline(sent), timeline(received)
    pieces = list(_pieces(said, heard))
    echoes = {at: _echo(said, heard, at) for at in pieces}
    places = {at: place for at, place in echoes.items() if place is not None}
    delays = [
        1000 * (heard.time_of(place) - said.time_of(at))
        for at, place in places.items()
        if not math.isnan(heard.time_of(place))
    ]
    third = max(1, len(delays) // 3)
    known = bool(delays)
    return EchoQuality(
        first_sound=_first_sound(heard),
        delay=median(delays) if known else math.nan,
        growth=median(delays[-third:]) - median(delays[:third]) if known else math.nan,
        lost=float(np.isnan(heard.times).mean()) if len(heard.times) else 1.0,
        late=_late(heard),
        holes=_holes(said, heard, places),
        looked_for=len(pieces),
        found=len(places),
    )


def _first_sound(heard: Timeline) -> float:
    """When the first packet with sound in it came, monotonic s."""
    peaks = np.abs(heard.samples.astype(np.int32)).reshape(-1, FRAME_TICKS).max(axis=1)
    loud = np.flatnonzero((peaks > SOUND_LEVEL) & ~np.isnan(heard.times))
    return float(heard.times[loud[0]]) if len(loud) else math.nan


def _late(heard: Timeline) -> float:
    if not len(heard.times):
        return 0.0
    transit = heard.times - np.arange(len(heard.times)) * PACKET_SECONDS
    return float((transit - np.nanmin(transit) > LATE).mean())


def _pieces(said: Timeline, heard: Timeline) -> Iterator[int]:
    """Where in what was said a piece begins that is to be looked for: one a second at the most."""
    if not len(heard.times):
        return
    # What left just before the end can have no echo.
    last = float(np.nanmax(heard.times)) - LONGEST_DELAY
    for second in range(0, len(said.samples) - PERIOD, PERIOD):
        for at in range(second, second + PERIOD - PIECE, FRAME_TICKS):
            if said.time_of(at) < last and _is_loud(said.samples[at : at + PIECE]):
                yield at
                break


def _is_loud(samples: Samples) -> bool:
    """Whether all of it is loud."""
    squares = samples.astype(np.float64).reshape(-1, FRAME_TICKS) ** 2
    return bool((np.sqrt(squares.mean(axis=1)) >= LOUD).all())


def _echo(said: Timeline, heard: Timeline, at: int) -> int | None:
    """Where in what was heard a piece came back; None if it did not."""
    earliest = heard.first_sample_after(said.time_of(at) - PACKET_SECONDS)
    window = heard.samples[earliest:][: round(LONGEST_DELAY * OPUS_CLOCK) + PIECE]
    place, likeness = find(said.samples[at : at + PIECE], window)
    return earliest + place if likeness >= SURE else None


def _holes(said: Timeline, heard: Timeline, places: dict[int, int]) -> list[float]:
    """The length of each run of loud speech that came back as silence, or not at all; ms."""
    missing: list[bool] = []
    for at, place in places.items():
        for slot in range(at, min(at + PERIOD, len(said.samples) - FRAME_TICKS), FRAME_TICKS):
            echo = heard.samples[slot - at + place :][:FRAME_TICKS]
            loud = _is_loud(said.samples[slot : slot + FRAME_TICKS])
            silent = int(np.abs(echo.astype(np.int32)).max(initial=0)) < SILENCE
            missing.append(loud and len(echo) == FRAME_TICKS and silent)
    runs = ((gone, len(list(run))) for gone, run in itertools.groupby(missing))
    return [1000 * PACKET_SECONDS * length for gone, length in runs if gone]
