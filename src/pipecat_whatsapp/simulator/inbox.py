"""What a business has sent to a phone, and asked its user."""

from __future__ import annotations

import asyncio

from pipecat_whatsapp.simulator.messages import Message
from pipecat_whatsapp.simulator.permission_prompt import PermissionPrompt


class Inbox:
    """The chat with a business at a user's phone.

    Attributes:
        messages: Every message so far.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._unread: asyncio.Queue[Message] = asyncio.Queue()
        self._prompts: asyncio.Queue[PermissionPrompt] = asyncio.Queue()

    def on_message(self, message: Message) -> None:
        """A message has come; Meta's side calls this."""
        self.messages.append(message)
        self._unread.put_nowait(message)

    def on_permission_request(self, prompt: PermissionPrompt) -> None:
        """The user is asked whether the business may call; Meta's side calls this."""
        self._prompts.put_nowait(prompt)

    async def message(self, timeout: float | None = 30.0) -> Message:  # noqa: ASYNC109
        """Wait for the next message, and read it.

        Args:
            timeout: How long to wait, s.

        Raises:
            TimeoutError: None came.
        """
        async with asyncio.timeout(timeout):
            return await self._unread.get()

    async def permission_prompt(
        self,
        timeout: float | None = 30.0,  # noqa: ASYNC109
    ) -> PermissionPrompt:
        """Wait until the user is asked whether the business may call.

        Args:
            timeout: How long to wait, s.

        Raises:
            TimeoutError: Nobody asked.
        """
        async with asyncio.timeout(timeout):
            return await self._prompts.get()
