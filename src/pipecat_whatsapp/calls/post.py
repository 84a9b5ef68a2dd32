"""Letters between the processes of one deployment: sealed here, brought by the directory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from loguru import logger

from pipecat_whatsapp.calls.directory import CallDirectory, Delivery
from pipecat_whatsapp.calls.letters import Message, seal, unseal
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import DirectoryError, WebhookError

RETRY_SECONDS = 1.0
"""Between two looks into an inbox that cannot be reached."""


_T = TypeVar("_T")


class Ask(Protocol):
    """Asks the directory, unless it is known to be away."""

    async def __call__(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Raises DirectoryError when there is no answer."""
        ...


class Reader(Protocol):
    """Who gets the letters of a process."""

    config: WhatsAppConfig

    async def read(self, message: Message) -> None:
        """Do what a letter says."""
        ...


class Post:
    """Sends and receives.

    Args:
        directory: Brings the letters.
        ask: Asks it.
        reader: Gets the letters that come.
    """

    def __init__(self, directory: CallDirectory, ask: Ask, reader: Reader) -> None:
        self._directory = directory
        self._ask = ask
        self._reader = reader

    async def send(self, node: str, message: Message) -> bool:
        """Write to a process. Returns whether there is such a process.

        Raises:
            DirectoryError: The directory cannot be reached.
        """
        letter = self._sealed(message)
        return await self._ask(lambda: self._directory.send(node, letter))

    async def deliver(
        self, call_id: str, message: Message, *, alias: str | None = None, otherwise: Delivery
    ) -> Delivery:
        """Write to the owner of a call; see `CallDirectory.deliver`.

        Raises:
            DirectoryError: The directory cannot be reached.
        """
        letter = self._sealed(message)
        return await self._ask(
            lambda: self._directory.deliver(call_id, alias, letter, otherwise=otherwise)
        )

    async def run(self) -> None:
        """Receive letters until this is cancelled. One is done when it was read, not before."""
        while True:
            try:
                letters = await self._directory.receive()
                await self.open(letter.text for letter in letters)
                await self._directory.done(letters)
            except DirectoryError:
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - who reads no letters must not go on being sent some
                logger.exception("The inbox could not be read")
                await asyncio.sleep(RETRY_SECONDS)

    async def open(self, letters: Iterable[str]) -> None:
        """Read letters, each on its own."""
        for letter in letters:
            try:
                message = unseal(letter, self._reader.config.app_secrets)
                if message is not None:
                    await self._reader.read(message)
            except WebhookError:
                logger.warning("Dropped a letter that was not signed with our app secret")
            except Exception:  # noqa: BLE001 - the others must be read whatever happens
                logger.exception("A letter could not be served")

    async def leave(self, heirs: Sequence[str]) -> None:
        """Receive nothing any more; what has not been read goes to others.

        Args:
            heirs: The other processes.
        """
        try:
            letters = await self._directory.leave()
            for letter in letters:
                for node in heirs:
                    if await self._directory.send(node, letter.text):
                        break
            await self._directory.done(letters)
        except DirectoryError as error:
            logger.debug("{}", error)

    def _sealed(self, message: Message) -> str:
        # The oldest secret: another process may not know the newest yet.
        return seal(message, self._reader.config.app_secrets[-1])
