"""Which calls this process may serve: asks the directory, and decides alone while it is away.

A call that was taken while the directory was away is an unsure one: another process may have taken
it too, and then Meta decides. Whom Meta refuses goes silently, since a `reject` would end the call
of the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from typing import TypeVar

from loguru import logger

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.directory import TOMBSTONE_SECONDS, CallDirectory, Holding
from pipecat_whatsapp.calls.memory import MemoryDirectory
from pipecat_whatsapp.errors import DirectoryError

MAX_UNBURIED = 100_000
"""Ends of calls that the directory is told of later."""

BURIED_AT_ONCE = 200
"""Ends that it is told of between two beats, which must not wait long."""

_T = TypeVar("_T")

_ALIAS = "alias:"


def alias_of(callback_data: str) -> str:
    """The name of a call of ours that has no id yet: by what its webhooks carry."""
    return _ALIAS + callback_data


def is_alias(name: str) -> bool:
    """Whether a name is that of a call without an id."""
    return name.startswith(_ALIAS)


class Claims:
    """The calls of this process.

    Args:
        directory: Who owns which call.
        on_letters: Given the letters that waited for a call.
    """

    def __init__(
        self, directory: CallDirectory, on_letters: Callable[[Iterable[str]], None]
    ) -> None:
        self._directory = directory
        self._on_letters = on_letters
        self._seen = MemoryDirectory()
        self._held: dict[str, Holding] = {}
        self._unsure: set[str] = set()
        self._unburied: dict[str, None] = {}
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

    def is_unsure(self, call_id: str) -> bool:
        """Whether another process may have taken the call, too."""
        return call_id in self._unsure

    async def claim(self, call: Call) -> bool:
        """Take a call. True exactly once for a call, and never for one that has ended."""
        if not await self._seen.first(call.id, TOMBSTONE_SECONDS):
            return False
        holding = Holding(call.phone_number_id, call.direction)
        try:
            claim = await self._ask(lambda: self._directory.claim(call.id, holding))
        except DirectoryError:
            logger.warning("Took call {} without asking the other processes", call.id)
            self._unsure.add(call.id)
            self._held[call.id] = holding
            return True
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
        """Take a call whoever has it: Meta has connected it to this process."""
        if (holding := self._held.get(call_id)) is not None:
            await self._try(lambda: self._directory.seize(call_id, holding))

    async def bury(self, call_id: str) -> None:
        """Mark a call as ended; told later to a directory that is away."""
        await self._seen.first(call_id, TOMBSTONE_SECONDS)
        self._held.pop(call_id, None)
        self._unsure.discard(call_id)
        try:
            await self._ask(lambda: self._directory.bury(call_id))
        except DirectoryError:
            if len(self._unburied) < MAX_UNBURIED:
                self._unburied[call_id] = None

    async def release(self, call_id: str) -> None:
        """Leave a call to whoever has it otherwise."""
        self.drop(call_id)
        await self._try(lambda: self._directory.release(call_id))

    def drop(self, call_id: str) -> None:
        """Another process has the call."""
        self._held.pop(call_id, None)
        self._unsure.discard(call_id)

    async def first(self, token: str, seconds: float) -> bool:
        """Whether a token is used for the first time within so many seconds."""
        if not await self._seen.first(token, seconds):
            return False
        try:
            return await self._ask(lambda: self._directory.first(token, seconds))
        except DirectoryError:
            return True

    async def catch_up(self, sure: Iterable[str]) -> None:
        """The directory is back: tell it of the calls that have ended meanwhile.

        Args:
            sure: The calls that it has as ours.
        """
        self._unsure.difference_update(sure)
        for call_id in list(islice(self._unburied, BURIED_AT_ONCE)):
            await self._directory.bury(call_id)
            self._unburied.pop(call_id, None)

    async def _try(self, ask: Callable[[], Awaitable[object]]) -> None:
        try:
            await self._ask(ask)
        except DirectoryError as error:
            logger.debug("{}", error)

    async def _ask(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the directory, unless it is known to be away: no call waits for that twice."""
        if self.is_away:
            raise DirectoryError("The directory is away.")
        try:
            return await ask()
        except DirectoryError as error:
            self.lose_sight(error)
            raise
