"""Which calls this process may serve: asks the directory, and decides alone while it is away.

A call that was taken while the directory was away, or that the directory gave to another meanwhile,
is an unsure one: another process may have it too, and then Meta decides. Whom Meta refuses goes
silently, since a `reject` would end the call of the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from loguru import logger

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.directory import (
    TOMBSTONE_SECONDS,
    CallDirectory,
    Holding,
    alias_of,
)
from pipecat_whatsapp.calls.memory import MemoryDirectory
from pipecat_whatsapp.errors import DirectoryError

MAX_OWED = 100_000
"""Calls whose end, or return, the directory is told of later."""

CATCH_UP_SECONDS = 0.3
"""How long it is told so between two beats, which must not wait long."""

MAX_LEFT = 1000
"""Calls left to others that are remembered: a claim of ours may come into effect only now."""

_T = TypeVar("_T")


class Claims:
    """The calls of this process.

    Args:
        directory: Who owns which call.
        on_letters: Given the letters that waited for a call.
    """

    def __init__(
        self, directory: CallDirectory, on_letters: Callable[[Sequence[str]], None]
    ) -> None:
        self._directory = directory
        self._on_letters = on_letters
        self._seen = MemoryDirectory()
        self._asked: set[str] = set()
        self._held: dict[str, Holding] = {}
        self._unsure: set[str] = set()
        self._owed: dict[str, bool] = {}
        self._left: dict[str, None] = {}
        self.is_away = False

    def lose_sight(self, error: DirectoryError) -> None:
        """The directory is away."""
        if not self.is_away:
            self.is_away = True
            logger.warning("{}", error)

    def regain_sight(self) -> None:
        """The directory has answered."""
        if self.is_away:
            self.is_away = False
            logger.info("The directory of calls is back")

    @property
    def held(self) -> Mapping[str, Holding]:
        """The calls that this process counts as its own."""
        return dict(self._held)

    def knows(self, call_id: str) -> bool:
        """Whether the call is ours, or was, and the directory does not know better yet."""
        return call_id in self._held or call_id in self._owed

    def is_asking(self, call_id: str) -> bool:
        """Whether the directory was asked for the call, and its answer is on its way."""
        return call_id in self._asked

    def was_left(self, call_id: str) -> bool:
        """Whether the call was left to others."""
        return call_id in self._left

    def is_unsure(self, call_id: str) -> bool:
        """Whether another process may have taken the call, too."""
        return call_id in self._unsure

    async def claim(self, call: Call) -> bool:
        """Take a call. True exactly once for a call, and never for one that has ended."""
        if not await self._seen.first(call.id, TOMBSTONE_SECONDS):
            return False
        holding = Holding(call.phone_number_id, call.direction)
        self._asked.add(call.id)
        try:
            claim = await self.ask(lambda: self._directory.claim(call.id, holding))
        except DirectoryError:
            logger.warning("Took call {} without asking the other processes", call.id)
            self._unsure.add(call.id)
            self._held[call.id] = holding
            return True
        finally:
            self._asked.discard(call.id)
        if claim.is_ours:
            self._held[call.id] = holding
        self._on_letters(claim.letters)
        return claim.is_ours

    async def expect(self, callback_data: str, call: Call) -> None:
        """Let webhooks of a call that has no id yet find this process, by what they carry."""
        name, holding = alias_of(callback_data), Holding(call.phone_number_id, call.direction)
        await self._try(lambda: self._directory.claim(name, holding))

    async def expect_no_more(self, callback_data: str) -> None:
        """The call has its id, or never will."""
        await self.release(alias_of(callback_data))

    async def seize(self, call_id: str) -> None:
        """Take a call whoever has it, since Meta may have connected it to this process."""
        if (holding := self._held.get(call_id)) is not None:
            self._unsure.add(call_id)
            await self._try(lambda: self._directory.seize(call_id, holding))

    async def bury(self, call_id: str) -> None:
        """Mark a call of ours as ended; told later to a directory that is away."""
        await self.refuse(call_id)
        await self._settle(call_id, is_over=True)

    async def release(self, call_id: str) -> None:
        """Leave a call to whoever has it otherwise."""
        self._left[call_id] = None
        while len(self._left) > MAX_LEFT:
            self._left.pop(next(iter(self._left)))
        await self._settle(call_id, is_over=False)

    async def refuse(self, call_id: str) -> None:
        """Never take this call: it is over."""
        await self._seen.first(call_id, TOMBSTONE_SECONDS)

    async def _settle(self, call_id: str, *, is_over: bool) -> None:
        self.drop(call_id)
        self._owed[call_id] = is_over
        try:
            await self.ask(lambda: self._tell(call_id))
        except DirectoryError:
            while len(self._owed) > MAX_OWED:
                self._owed.pop(next(iter(self._owed)))

    async def _tell(self, call_id: str) -> None:
        """Tell the directory what it is owed of a call."""
        if (is_over := self._owed.get(call_id)) is None:
            return
        await (self._directory.bury if is_over else self._directory.release)(call_id)
        self._owed.pop(call_id, None)

    def drop(self, call_id: str) -> None:
        """Another process has the call."""
        self._held.pop(call_id, None)
        self._unsure.discard(call_id)

    async def first(self, token: str, seconds: float) -> bool:
        """Whether a token is used for the first time within so many seconds."""
        if not await self._seen.first(token, seconds):
            return False
        try:
            return await self.ask(lambda: self._directory.first(token, seconds))
        except DirectoryError:
            return True

    async def catch_up(self) -> None:
        """The directory is back: tell it of the calls that have ended meanwhile."""
        clock = asyncio.get_running_loop().time
        until = clock() + CATCH_UP_SECONDS
        while self._owed and clock() < until:
            await self._tell(next(iter(self._owed)))

    async def _try(self, ask: Callable[[], Awaitable[object]]) -> None:
        try:
            await self.ask(ask)
        except DirectoryError as error:
            logger.debug("{}", error)

    async def ask(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the directory, unless it is known to be away: no call waits for that twice.

        Raises:
            DirectoryError: It is away.
        """
        if self.is_away:
            raise DirectoryError("The directory is away.")
        try:
            return await ask()
        except DirectoryError as error:
            self.lose_sight(error)
            raise
