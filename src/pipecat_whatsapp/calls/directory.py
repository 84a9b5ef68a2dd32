"""Who owns which call, and which calls are over.

The webhook of one call may be delivered twice, to two processes, or after the call's end. A
directory answers the one question that keeps this harmless: may I start this call?
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

TOMBSTONE_SECONDS = 3600.0
"""How long an ended call is remembered. A connect is stale long before that."""

MAX_TOMBSTONES = 100_000
"""How many ended calls are remembered; the oldest is forgotten first."""


class CallDirectory(Protocol):
    """The calls of one deployment. Every method may be repeated without harm."""

    async def claim(self, call_id: str) -> bool:
        """Take a call. True exactly once for a call, and never for one that has ended."""
        ...

    async def bury(self, call_id: str) -> None:
        """Mark a call as ended, whether or not it was ever claimed."""
        ...


class MemoryDirectory:
    """The directory of a single process.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._claimed: set[str] = set()
        self._tombstones: OrderedDict[str, float] = OrderedDict()

    async def claim(self, call_id: str) -> bool:
        """Take a call. True exactly once for a call, and never for one that has ended."""
        self._forget_old()
        if call_id in self._claimed or call_id in self._tombstones:
            return False
        self._claimed.add(call_id)
        return True

    async def bury(self, call_id: str) -> None:
        """Mark a call as ended, whether or not it was ever claimed."""
        self._claimed.discard(call_id)
        self._tombstones[call_id] = self._clock()
        self._tombstones.move_to_end(call_id)
        self._forget_old()

    def _forget_old(self) -> None:
        oldest_kept = self._clock() - TOMBSTONE_SECONDS
        while self._tombstones and (
            len(self._tombstones) > MAX_TOMBSTONES
            or next(iter(self._tombstones.values())) < oldest_kept
        ):
            self._tombstones.popitem(last=False)
