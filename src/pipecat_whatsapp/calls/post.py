"""Letters between the processes of one deployment: sealed here, brought by the directory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from loguru import logger

from pipecat_whatsapp.calls.directory import CallDirectory, Delivery
from pipecat_whatsapp.calls.letters import Message, seal, unseal
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import DirectoryError, WebhookError

RETRY_SECONDS = 1.0
"""Between two looks into an inbox that cannot be reached."""


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
        reader: Gets those that come.
    """

    def __init__(self, directory: CallDirectory, reader: Reader) -> None:
        self._directory = directory
        self._reader = reader

    async def send(self, node: str, message: Message) -> bool:
        """Write to a process. Returns whether it will get the letter."""
        try:
            return await self._directory.send(node, self._sealed(message))
        except DirectoryError:
            return False

    async def deliver(
        self, call_id: str, message: Message, *, alias: str | None = None, final: bool = False
    ) -> Delivery:
        """Write to the owner of a call; see `CallDirectory.deliver`.

        Raises:
            DirectoryError: The directory cannot be reached.
        """
        return await self._directory.deliver(call_id, alias, self._sealed(message), final=final)

    async def run(self) -> None:
        """Receive letters until this is cancelled. One is done when it was read, not before."""
        while True:
            try:
                letters = await self._directory.receive()
                await self.open(letter.text for letter in letters)
                await self._directory.done(letters)
            except DirectoryError:
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
            for letter in await self._directory.leave():
                for node in heirs:
                    if await self._directory.send(node, letter.text):
                        break
        except DirectoryError as error:
            logger.debug("{}", error)

    def _sealed(self, message: Message) -> str:
        return seal(message, self._reader.config.app_secrets[0])
