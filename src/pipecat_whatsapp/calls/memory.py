"""The directory of one process."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipecat_whatsapp.calls.directory import (
    MAX_PARKED,
    PARK_SECONDS,
    TOMBSTONE_SECONDS,
    Claim,
    Delivery,
    Holding,
    Letter,
    News,
    Peer,
    Standing,
    is_alias,
)

MAX_KEPT = 100_000
"""Ended calls, and used tokens, that are remembered; the oldest is forgotten first."""

MAX_WAITING = 1000
"""Calls without an owner for which letters wait; the oldest is forgotten first."""


@dataclass
class _Member:
    """A process, as the others see it; while it does not beat, it is none."""

    standing: Standing
    beats: int = 0
    beaten: float = 0.0
    calls: dict[str, Holding] = field(default_factory=dict)
    inbox: OrderedDict[str, Letter] = field(default_factory=OrderedDict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class _Expiring:
    """Keys that are forgotten after a while.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return self._until.get(key, 0.0) > self._clock()

    def add(self, key: str, seconds: float) -> None:
        self._until[key] = self._clock() + seconds
        self._until.move_to_end(key)
        now = self._clock()
        while self._until and (
            len(self._until) > MAX_KEPT or next(iter(self._until.values())) <= now
        ):
            self._until.popitem(last=False)


class Board:
    """What the processes of a deployment have in common.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.owners: dict[str, str] = {}
        self.tombstones = _Expiring(clock)
        self.tokens = _Expiring(clock)
        self.parked: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self.members: dict[str, _Member] = {}
        self.numbers = itertools.count()
        self.clock = clock

    def member(self, node: str) -> _Member:
        """What there is of a process."""
        return self.members.setdefault(node, _Member(Standing()))

    def post(self, node: str, text: str) -> None:
        """Put a letter into an inbox."""
        member = self.member(node)
        letter = Letter(str(next(self.numbers)), text)
        member.inbox[letter.id] = letter
        member.news.set()

    def park(self, call_id: str, text: str) -> None:
        """Keep a letter for whoever claims the call."""
        letters = (*self.unpark(call_id), text)[-MAX_PARKED:]
        now = self.clock()
        self.parked[call_id] = now + PARK_SECONDS, letters
        while len(self.parked) > MAX_WAITING or next(iter(self.parked.values()))[0] <= now:
            self.parked.popitem(last=False)

    def unpark(self, call_id: str) -> tuple[str, ...]:
        """Take the letters that wait for a call's owner."""
        until, letters = self.parked.pop(call_id, (0.0, ()))
        return letters if until > self.clock() else ()


class MemoryDirectory:
    """A `CallDirectory` in memory, for one adapter.

    Several adapters within one process each have a directory of their own, under names of their
    own, all on the same board.

    Args:
        node: The name of this process, or of this adapter within it.
        board: What it has in common with others; its own when it is alone.
    """

    def __init__(self, node: str = "here", board: Board | None = None) -> None:
        self._node = node
        self._board = board or Board()

    @property
    def node(self) -> str:
        """The name of this process."""
        return self._node

    async def claim(self, call_id: str, holding: Holding) -> Claim:
        """Take a call; see `CallDirectory`."""
        board = self._board
        if board.owners.get(call_id, self._node) != self._node:
            return Claim(False)
        is_ours = call_id not in board.tombstones
        if is_ours:
            self._take(call_id, holding)
        return Claim(is_ours, board.unpark(call_id))

    async def release(self, call_id: str) -> None:
        """Give a call back, as if it had never been claimed here."""
        if self._board.owners.get(call_id) == self._node:
            del self._board.owners[call_id]
            self._member.calls.pop(call_id, None)

    async def seize(self, call_id: str, holding: Holding) -> None:
        """Take a call whoever has it; not if it is over."""
        if call_id in self._board.tombstones:
            return
        owner = self._board.members.get(self._board.owners.get(call_id, ""))
        if owner is not None:
            owner.calls.pop(call_id, None)
        self._take(call_id, holding)

    async def bury(self, call_id: str) -> None:
        """Mark a call as ended; does nothing when another process has it."""
        if self._board.owners.get(call_id, self._node) != self._node:
            return
        self._board.owners.pop(call_id, None)
        self._board.parked.pop(call_id, None)
        self._board.tombstones.add(call_id, TOMBSTONE_SECONDS)
        self._member.calls.pop(call_id, None)

    async def first(self, token: str, seconds: float) -> bool:
        """Whether a token is used for the first time within so many seconds."""
        if token in self._board.tokens:
            return False
        self._board.tokens.add(token, seconds)
        return True

    async def beat(self, standing: Standing, calls: Mapping[str, Holding]) -> News:
        """Say that this process lives, and renew its claims."""
        lost: dict[str, str | None] = {}
        letters: list[str] = []
        for call_id, holding in calls.items():
            owner = self._board.owners.get(call_id, self._node)
            if call_id in self._board.tombstones:
                lost[call_id] = None
            elif owner != self._node:
                lost[call_id] = owner
            else:
                self._take(call_id, holding)
                letters += self._board.unpark(call_id)
        member = self._member
        now = self._board.clock()
        member.standing, member.beats, member.beaten = standing, member.beats + 1, now
        peers = [
            Peer(name, m.beats, m.standing, now - m.beaten)
            for name, m in self._board.members.items()
            if m.beats
        ]
        unnamed = {c: h for c, h in member.calls.items() if c not in calls and not is_alias(c)}
        return News(tuple(peers), lost, tuple(letters), unnamed)

    async def deliver(
        self, call_id: str, alias: str | None, text: str, *, otherwise: Delivery
    ) -> Delivery:
        """Send a letter to the owner of a call."""
        board = self._board
        if call_id in board.tombstones:
            return Delivery.OVER
        owner = board.owners.get(call_id) or board.owners.get(alias or "")
        if owner == self._node:
            return Delivery.OURS
        if owner is not None:
            board.post(owner, text)
            return Delivery.SENT
        if otherwise is Delivery.BURIED:
            board.tombstones.add(call_id, TOMBSTONE_SECONDS)
        if otherwise is not Delivery.DROPPED:
            board.park(call_id, text)
        return otherwise

    async def send(self, node: str, text: str) -> bool:
        """Send a letter to a process. Returns whether there is such a process."""
        if not self._board.member(node).beats:
            return False
        self._board.post(node, text)
        return True

    async def receive(self) -> list[Letter]:
        """Wait for letters. Each comes again until it is `done`."""
        member = self._member
        await member.news.wait()
        member.news.clear()
        return list(member.inbox.values())

    async def done(self, letters: list[Letter]) -> None:
        """Letters have been dealt with."""
        for letter in letters:
            self._member.inbox.pop(letter.id, None)

    async def take_over(self, peer: Peer) -> Mapping[str, Holding]:
        """Take over what a dead process has left: its calls and its letters."""
        member = self._board.members.get(peer.name)
        if member is None or member.beats != peer.beats:
            return {}
        del self._board.members[peer.name]
        owners = self._board.owners
        left = {c: held for c, held in member.calls.items() if owners.get(c) == peer.name}
        for call_id, holding in left.items():
            self._take(call_id, holding)
        for letter in member.inbox.values():
            self._board.post(self._node, letter.text)
        # Should it live after all, it begins anew.
        member.inbox.clear()
        member.news.set()
        return left

    async def leave(self) -> list[Letter]:
        """This process takes no letter any more. Returns what it has not read."""
        self._member.beats = 0
        self._member.calls.clear()
        return list(self._member.inbox.values())

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def _member(self) -> _Member:
        return self._board.member(self._node)

    def _take(self, call_id: str, holding: Holding) -> None:
        self._board.owners[call_id] = self._node
        self._member.calls[call_id] = holding
