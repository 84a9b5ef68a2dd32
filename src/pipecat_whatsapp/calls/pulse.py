"""The heartbeat of a process: tells the others that it lives, and sees which of them died."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from loguru import logger

from pipecat_whatsapp.calls.claims import Claims
from pipecat_whatsapp.calls.directory import CallDirectory, Holding, Peer, Standing
from pipecat_whatsapp.calls.neighbours import BEAT_SECONDS, Neighbours
from pipecat_whatsapp.calls.waiting import comes
from pipecat_whatsapp.errors import DirectoryError


class Heart(Protocol):
    """What a pulse needs of the process that it tells of."""

    @property
    def standing(self) -> Standing:
        """How the process stands."""
        ...

    def lost(self, call_id: str, owner: str | None) -> None:
        """A call is another's, or is over, as the directory has it."""
        ...

    def inherit(self, call_id: str, holding: Holding) -> None:
        """A dead process has left this call, and it is for this process to end it."""
        ...

    def open_letters(self, letters: Sequence[str]) -> None:
        """Letters have waited for a call of this process."""
        ...


class Pulse:
    """Beats once a second.

    Args:
        heart: The process.
        directory: What it shares with others.
        claims: Its calls.
        neighbours: What it knows of the others.
    """

    def __init__(
        self, heart: Heart, directory: CallDirectory, claims: Claims, neighbours: Neighbours
    ) -> None:
        self._heart = heart
        self._directory = directory
        self._claims = claims
        self._neighbours = neighbours
        self._known_dead: set[str] = set()
        self._unnamed: set[str] = set()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Beat until this is cancelled."""
        while True:
            try:
                await self.beat()
            except Exception:  # noqa: BLE001 - who shows no life loses its calls
                logger.exception("A beat failed")
            await comes(self._hurry, BEAT_SECONDS)
            self._hurry.clear()

    def node_died(self, node: str) -> None:
        """A process is known to be dead, though it was heard of a moment ago."""
        self._known_dead.add(node)
        self._hurry.set()

    async def beat(self) -> None:
        """Tell of this process, hear of the others, and take over what the dead have left."""
        try:
            news = await self._directory.beat(self._heart.standing, self._claims.held)
            self._claims.regain_sight()
            self._neighbours.see(news.peers, asyncio.get_running_loop().time())
            self._heart.open_letters(news.letters)
            for call_id, owner in news.lost.items():
                self._heart.lost(call_id, owner)
            await self._inherit_unnamed(news.unnamed)
            await self._claims.catch_up()
            await self._bury_dead()
        except DirectoryError as error:
            self._claims.lose_sight(error)

    async def _inherit_unnamed(self, unnamed: Mapping[str, Holding]) -> None:
        """End what was taken over by a request whose answer was lost.

        What a beat tells may be a little old, so only what is still there a beat later counts.
        """
        for call_id in unnamed.keys() & self._unnamed:
            if self._claims.was_left(call_id):
                await self._claims.release(call_id)
            elif not self._claims.knows(call_id) and not self._claims.is_asking(call_id):
                self._heart.inherit(call_id, unnamed[call_id])
        self._unnamed = set(unnamed)

    async def _bury_dead(self) -> None:
        known = set(self._known_dead)
        for peer in self._dead():
            calls = await self._directory.take_over(peer)
            self._neighbours.forget(peer.name)
            log = logger.warning if calls else logger.debug
            log("Process {} died; calls that it left us to end: {}", peer.name, len(calls))
            for call_id, holding in calls.items():
                self._heart.inherit(call_id, holding)
        self._known_dead -= known

    def _dead(self) -> list[Peer]:
        named = map(self._neighbours.named, self._known_dead)
        silent = self._neighbours.dead(asyncio.get_running_loop().time())
        return list({p.name: p for p in [*named, *silent] if p is not None}.values())
