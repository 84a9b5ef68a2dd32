"""The network between phone and business: loss, delay, jitter, reordering and duplication.

Nothing here touches a socket: a `Network` only decides what happens to each packet, from a seed,
so that a bad line can be had twice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

REORDER_DELAY = 0.05
"""Seconds that a packet chosen for reordering is held back: two 20 ms packets overtake it."""


class Way(Enum):
    """The direction a packet travels.

    Parameters:
        TO_BUSINESS: From the phone to the business.
        TO_PHONE: From the business to the phone.
    """

    TO_BUSINESS = "to business"
    TO_PHONE = "to phone"


@dataclass(frozen=True)
class NetworkConditions:
    """How good or bad a line is; the same in both directions.

    Parameters:
        loss: Share of packets that never arrive, 0 to 1.
        delay: Time every packet takes, s.
        jitter: Extra time per packet, uniform between 0 and this, s.
        reorder: Share of packets held back by `REORDER_DELAY`, 0 to 1.
        duplicate: Share of packets that arrive twice, 0 to 1.
        burst_ratio: How many times longer the runs of lost packets are than those of random
            loss, which are 1 / (1 - loss) packets on average (ITU-T G.107); 1 or more.

    Raises:
        ValueError: A share lies outside 0 to 1, a time is negative, or the ratio is less than 1.
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    burst_ratio: float = 1.0

    def __post_init__(self) -> None:
        for name in ("loss", "reorder", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        for name in ("delay", "jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a time in seconds, not {getattr(self, name)}")
        if self.burst_ratio < 1:
            raise ValueError(f"burst_ratio is 1 for random loss, or more, not {self.burst_ratio}")

    def chance_of_loss(self, *, after_loss: bool | None) -> float:
        """How likely the next packet is lost: a Gilbert model, whose long-run share is `loss`.

        Args:
            after_loss: Whether the packet before it was lost; None for the first one.
        """
        if after_loss is None:
            return self.loss
        if after_loss:
            return 1 - (1 - self.loss) / self.burst_ratio
        return self.loss / self.burst_ratio


class Network:
    """A line that decides the fate of packets, repeatably.

    Parameters:
        conditions: How the line behaves; may be replaced while a call is up.
        seed: The same seed gives the same fates. Each direction has its own sequence.

    Attributes:
        down: While True nothing passes, neither media nor STUN nor DTLS.
        rtp_down: While True no RTP of the phone arrives, but RTCP, STUN and DTLS do.
    """

    def __init__(self, conditions: NetworkConditions | None = None, seed: int = 0) -> None:
        self.conditions = conditions or NetworkConditions()
        self.down = False
        self.rtp_down = False
        # Repeatable, not secret.
        self._draws = {way: random.Random(f"{seed} {way.value}") for way in Way}  # noqa: S311
        self._lost: dict[Way, bool] = {}

    def plan(self, way: Way = Way.TO_BUSINESS) -> list[float]:
        """Decide what happens to the next packet.

        Args:
            way: The direction it travels.

        Returns:
            The delay of every copy that arrives, s: none when it is lost, two when doubled.
        """
        draw = self._draws[way]
        # Always five draws, so that a change of one condition leaves all other fates as they were.
        loss, reorder, duplicate, *jitters = (draw.random() for _ in range(5))
        now = self.conditions
        lost = loss < now.chance_of_loss(after_loss=self._lost.get(way))
        self._lost[way] = lost
        if self.down or lost:
            return []
        delay = now.delay + (REORDER_DELAY if reorder < now.reorder else 0.0)
        copies = 2 if duplicate < now.duplicate else 1
        return [delay + now.jitter * jitter for jitter in jitters[:copies]]
