"""One worker process, as its parent sees it."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from pipecat_whatsapp.serving.channel import Channel, Message
from pipecat_whatsapp.serving.settings import Assignment, Role, Settings

# The folder in which we were started may hold modules of any name.
COMMAND = (sys.executable, "-P", "-m", "pipecat_whatsapp.serving.start")

LAST_WORDS_SECONDS = 1.0
"""Seconds in which what a process said before its death is read."""


class WorkerProcess:
    """A worker that is to be started, runs, or has ended.

    Args:
        role: What it does.
        seat: A number that no other worker has at the same time.
        is_first: Whether it runs `on_start`.

    Attributes:
        node: Its name, which no process had before.
        is_ready: Whether it takes calls.
        is_busy: Whether its only call has begun.
        heard_at: When it last said anything, monotonic seconds.
        failure: Why it cannot go on, in its own words; empty while it can.
    """

    def __init__(self, role: Role, seat: int, *, is_first: bool) -> None:
        self.role = role
        self.seat = seat
        self.is_first = is_first
        self.node = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self.is_ready = False
        self.is_busy = False
        self.failure = ""
        self._began = self.heard_at = time.monotonic()
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None

    @property
    def age(self) -> float:
        """Seconds since it was to be started."""
        return time.monotonic() - self._began

    async def start(
        self, settings: Settings, listener: socket.socket, command: Sequence[str] = COMMAND
    ) -> None:
        """Start it.

        Args:
            settings: What all workers have in common.
            listener: The listening socket.
            command: What is run.

        Raises:
            OSError: The system does not let us.
        """
        ours, theirs = socket.socketpair()
        self._channel = await Channel.over(ours)
        with theirs:
            # A worker without webhooks shall not keep their address.
            shared = None if self.role is Role.CALL else listener.fileno()
            assignment = Assignment(
                settings=settings,
                role=self.role,
                node=self.node,
                seat=self.seat,
                is_first=self.is_first,
                channel=theirs.fileno(),
                listener=shared,
            )
            descriptors = [theirs.fileno()] + ([] if shared is None else [shared])
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.PIPE, pass_fds=descriptors
                )
            except OSError:
                self._channel.close()
                raise
        await _assign(assignment, self._process)

    def send(self, message: Message) -> None:
        """Tell it something."""
        assert self._channel is not None  # noqa: S101 - it was started
        self._channel.send(message)

    async def messages(self) -> AsyncIterator[Message]:
        """What it says, until it ends."""
        assert self._channel is not None  # noqa: S101 - it was started
        closing = asyncio.create_task(self._close_in_the_end())
        try:
            async for message in self._channel:
                self.heard_at = time.monotonic()
                yield message
        finally:
            closing.cancel()

    async def _close_in_the_end(self) -> None:
        """Close the channel soon after its death: children of it may hold the far end open."""
        assert self._process is not None  # noqa: S101 - it was started
        await self._process.wait()
        await asyncio.sleep(LAST_WORDS_SECONDS)
        self.hang_up()

    async def ended(self) -> int:
        """Wait until it has ended; returns its exit code."""
        assert self._process is not None  # noqa: S101 - it was started
        assert self._channel is not None  # noqa: S101
        code = await self._process.wait()
        self._channel.close()
        return code

    def hang_up(self) -> None:
        """Say no more: as if the parent had died."""
        if self._channel is not None:
            self._channel.close()

    def fail(self, why: str) -> None:
        """End it at once because it has failed; does nothing when it has ended."""
        self.failure = self.failure or why
        self.kill()

    def kill(self) -> None:
        """End it at once; does nothing when it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


async def _assign(assignment: Assignment, process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    # It may have died already.
    with suppress(ConnectionError):
        process.stdin.write(assignment.to_json().encode())
        await process.stdin.drain()
    process.stdin.close()
