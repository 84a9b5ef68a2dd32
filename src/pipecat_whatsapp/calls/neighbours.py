"""The other processes: which of them live, and which has room. Pure.

A process is judged by its beats and by our own clock alone, so that a clock that is set, on
whatever machine, makes nobody dead. And nobody is judged by a process that has not looked for a
while: it may have been the one that was away.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from pipecat_whatsapp.calls.directory import Peer, Standing

BEAT_SECONDS = 1.0
"""How often a process tells of itself, and hears of the others."""

FRESH_SECONDS = 3.0
"""A process that was not heard of for so long gets no call."""

DEAD_SECONDS = 10.0
"""A process that was not heard of for so long is dead: others end its calls. Its bots must not
block the event loop for longer."""

BALANCE = 2
"""How many calls more than another a process has before it hands the next one on."""


@dataclass
class _Sight:
    """What is known of a process.

    Parameters:
        peer: What it last said.
        since: When it said so, seconds.
        handed: How many calls it was handed since.
    """

    peer: Peer
    since: float
    handed: int = 0

    @property
    def calls(self) -> int:
        return self.peer.standing.calls + self.handed

    @property
    def has_room(self) -> bool:
        room = self.peer.standing.room
        return room is None or room > self.handed


class Neighbours:
    """What one process knows of the others.

    Args:
        me: The name of the process itself.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self._sights: dict[str, _Sight] = {}
        self._looked = float("-inf")

    def see(self, peers: Iterable[Peer], now: float) -> None:
        """Take what the directory tells of all processes.

        Args:
            peers: All of them.
            now: Monotonic seconds.
        """
        was_away = now - self._looked >= FRESH_SECONDS
        self._looked = now
        seen: dict[str, _Sight] = {}
        for peer in peers:
            before = self._sights.get(peer.name)
            if before is None:
                seen[peer.name] = _Sight(peer, now - peer.age)
            elif before.peer.beats != peer.beats:
                seen[peer.name] = _Sight(peer, now)
            else:
                before.since = now if was_away else before.since
                seen[peer.name] = before
        seen.pop(self._me, None)
        self._sights = seen

    def dead(self, now: float) -> list[Peer]:
        """The processes that have shown no life for too long."""
        if now - self._looked >= FRESH_SECONDS:
            return []
        return [s.peer for s in self._sights.values() if now - s.since >= DEAD_SECONDS]

    def named(self, name: str) -> Peer | None:
        """A process by its name, if there is one."""
        sight = self._sights.get(name)
        return None if sight is None else sight.peer

    def forget(self, name: str) -> None:
        """A process is gone."""
        self._sights.pop(name, None)

    def handed(self, name: str) -> None:
        """A call was handed to a process, which it has not told of yet."""
        if name in self._sights:
            self._sights[name].handed += 1

    def names(self) -> list[str]:
        """All of them."""
        return list(self._sights)

    def with_room(self, host: str, now: float) -> bool:
        """Whether another process on a machine takes calls."""
        return any(s.peer.standing.host == host for s in self._open(now))

    def place(self, own: Standing, region: str | None, now: float) -> str | None:
        """Choose who takes a call: where it shall be if possible, and where there is room.

        Args:
            own: How this process stands.
            region: Where the call shall be; None for no matter where.
            now: Monotonic seconds.

        Returns:
            The process to hand it to; None when it is ours.
        """
        wanted = region or own.region
        there = self._open(now)
        near = [s for s in there if s.peer.standing.region == wanted]
        takes_it = own.room is None or own.room > 0
        if takes_it and own.region == wanted:
            best = _least(near)
            is_better = best is not None and own.calls - best.calls >= BALANCE
            return best.peer.name if best is not None and is_better else None
        if (best := _least(near)) is not None:
            return best.peer.name
        if takes_it or (best := _least(there)) is None:
            return None
        return best.peer.name

    def _open(self, now: float) -> list[_Sight]:
        sights = self._sights.values()
        return [s for s in sights if s.has_room and now - s.since < FRESH_SECONDS]


def _least(sights: list[_Sight]) -> _Sight | None:
    """The least busy one; any of them when several are."""
    if not sights:
        return None
    fewest = min(sight.calls for sight in sights)
    return random.choice([s for s in sights if s.calls == fewest])  # noqa: S311 - no secret
