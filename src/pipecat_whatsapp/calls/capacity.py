"""How late the event loop is: the first thing that tells that a process has too many calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

SAMPLE_SECONDS = 0.1
"""Between two samples: often enough to meet what holds up 20 ms of sound again and again."""

SAMPLES = 50
"""How many samples a mean is made of: 5 s, so that one slow import closes no door for long."""


class LagMeter:
    """The mean lag of an event loop, over the last `SAMPLES` samples."""

    def __init__(self) -> None:
        self._lateness: deque[float] = deque(maxlen=SAMPLES)

    def add(self, lateness: float) -> None:
        """Take a sample.

        Args:
            lateness: Seconds by which the loop woke up too late.
        """
        self._lateness.append(lateness)

    @property
    def mean(self) -> float:
        """Mean lateness, seconds; the time before the first sample counts as punctual."""
        return sum(self._lateness) / SAMPLES


async def watch_lag(meter: LagMeter, on_sample: Callable[[float], None]) -> None:
    """Sample the running loop until this is cancelled.

    Args:
        meter: Is fed with every sample.
        on_sample: Told every sample, seconds.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        # Timers may fire within the clock's resolution, a little early.
        lateness = max(loop.time() - due, 0.0)
        meter.add(lateness)
        on_sample(lateness)
