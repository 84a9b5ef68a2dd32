"""The `pipecat-whatsapp` command, run as somebody at a terminal does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

PATIENCE = 180.0


@dataclass
class Outcome:
    """How a command ended.

    Parameters:
        code: Its exit code.
        output: What it printed.
        complaint: What it printed to standard error.
    """

    code: int
    output: str
    complaint: str


class Command:
    """A command that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._output = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def prints(self, words: str) -> None:
        """Wait until it has printed something."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while words not in self._output:
                line = await self._process.stdout.readline()
                assert line, f"it ended without {words!r}: {self._output}"
                self._output += line.decode()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.send(signal.SIGINT)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ends(self) -> Outcome:
        """Wait until it has ended."""
        async with asyncio.timeout(PATIENCE):
            output, complaint = await self._process.communicate()
        assert self._process.returncode is not None
        text = self._output + output.decode()
        return Outcome(self._process.returncode, text, complaint.decode())


@asynccontextmanager
async def running(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Command]:
    """Run Python with arguments; it is killed if it is left behind."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


async def run(*arguments: object, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run Python with arguments to its end."""
    async with running(*arguments, environment=environment) as command:
        return await command.ends()
