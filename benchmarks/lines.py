"""What a bad line does to packets: pure, and from a seed, so that both sides get the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

REORDER_DELAY = 0.05


@dataclass(frozen=True)
class Condition:
    """What a line does.

    Parameters:
        loss: Share of packets that never arrive, 0 to 1.
        burst: Mean length of a loss, packets (Gilbert's model); None loses each independently.
        jitter: Each packet is late by something between 0 and this, s; it may overtake others.
        reorder: Share of packets that are 50 ms late.
        dtx: The phone sends nearly nothing in silence.
    """

    loss: float = 0.0
    burst: float | None = None
    jitter: float = 0.0
    reorder: float = 0.0
    dtx: bool = False


CONDITIONS = {
    "perfect": Condition(),
    **{f"{loss} % lost": Condition(loss / 100) for loss in (1, 3, 5, 10, 20)},
    **{f"{loss} % lost in bursts": Condition(loss / 100, burst=3) for loss in (1, 3, 5, 10, 20)},
    **{f"{jitter} ms jitter": Condition(jitter=jitter / 1000) for jitter in (10, 30, 60)},
    "5 % lost, 30 ms jitter": Condition(0.05, jitter=0.03),
    "5 % reordered": Condition(reorder=0.05),
    "DTX": Condition(dtx=True),
    "DTX, 5 % lost": Condition(0.05, dtx=True),
}


def fates(condition: Condition, count: int, seed: int) -> Iterator[float | None]:
    """How late each packet is, s; None for one that is lost."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    losing = False
    for _ in range(count):
        losing = draw.random() < _loss_after(condition, losing=losing)
        jitter, reorder = draw.random() * condition.jitter, draw.random() < condition.reorder
        yield None if losing else jitter + REORDER_DELAY * reorder


def _loss_after(condition: Condition, *, losing: bool) -> float:
    """How likely a packet is lost, after one that was lost or not."""
    if condition.burst is None:
        return condition.loss
    if losing:
        return 1 - 1 / condition.burst
    return condition.loss / (1 - condition.loss) / condition.burst
