"""How much work the encoder puts into a call: the best sound, until the calls fill the core."""

from __future__ import annotations

import time
from collections.abc import Callable

BUSY = 0.65
"""Share of the event loop's thread, 0 to 1, from which the encoder spends less."""

IDLE = 0.45
"""Share below which it spends more again: further from `BUSY` than one step changes."""

STEPS = (1, 5, 10)
"""Complexities of libopus at which quality for its price changes most. At 20 kbit/s the steps
down from 9 cost about 0.3 and 0.8 of PESQ, and save a third and two thirds of the encoder's time.
"""


class EffortControl:
    """Chooses the complexity of one call's encoder.

    Args:
        max_complexity: What to code with on an idle machine, 0 to 10.
        wall: Monotonic seconds.
        busy: Seconds for which the thread of the event loop has been computing.

    Attributes:
        complexity: What to code with now.
    """

    def __init__(
        self,
        max_complexity: int,
        *,
        wall: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = time.thread_time,
    ) -> None:
        self.complexity = max_complexity
        self._steps = sorted({min(step, max_complexity) for step in STEPS})
        self._wall, self._busy = wall, busy
        self._before = (wall(), busy())

    def update(self) -> None:
        """Look at how busy the loop has been since the last time."""
        now, before = (self._wall(), self._busy()), self._before
        self._before = now
        share = (now[1] - before[1]) / max(now[0] - before[0], 1e-3)
        step = self._steps.index(self.complexity)
        if share > BUSY:
            step -= 1
        elif share < IDLE:
            step += 1
        self.complexity = self._steps[min(max(step, 0), len(self._steps) - 1)]
