"""A webhook on its way through the exchange."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from pipecat_whatsapp.meta.events import CallConnect
from pipecat_whatsapp.meta.excerpt import Excerpts


@dataclass
class Parcel:
    """A webhook, and what has been done with it.

    Parameters:
        excerpts: What it says of each call.
        hops: How often it was sent on.
        age: How old its calls were when it came, seconds; None when their timestamps tell.
        came: When it came, on the event loop's clock.
        sent: Calls all of whose events went to another process.
        told: Calls whose owner was looked for, and whether it was to tell their end.
    """

    excerpts: Excerpts
    hops: int
    age: float | None
    came: float
    sent: set[str] = field(default_factory=set)
    told: set[tuple[str, bool]] = field(default_factory=set)

    def age_of(self, connect: CallConnect) -> float:
        """Seconds since Meta announced a call.

        Whoever got it from Meta has judged it by its clock; another clock may be wrong.
        """
        if self.age is None:
            return age_of(connect)
        return self.age + asyncio.get_running_loop().time() - self.came


def age_of(connect: CallConnect) -> float:
    """Seconds since Meta sent a connect, by its own timestamp; never negative."""
    if connect.timestamp is None:
        return 0.0
    return max(time.time() - connect.timestamp, 0.0)
