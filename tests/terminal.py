"""The `pipecat-whatsapp` command, run as somebody at a terminal does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import log_watch

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
    """A command that runs.

    Its standard error is read all the time: who writes much of it is not held up.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        self._process = process
        self._output = ""
        self._complaint = asyncio.create_task(process.stderr.read())

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
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            output = await self._process.stdout.read()
            complaint = await self._complaint
            code = await self._process.wait()
        self._output += output.decode()
        return Outcome(code, self._output, complaint.decode())

    async def clean_up(self) -> None:
        """End it if it is left behind; a test that fails shows what it complained of."""
        if self._process.returncode is None:
            self._process.terminate()
            await self.ends()
        log_watch.read_answer("a command", self._output)
        if self._complaint.done():
            complaint = self._complaint.result().decode()
            log_watch.read_log("a command", complaint)
            sys.stderr.write(complaint)
        self._complaint.cancel()
        await asyncio.wait({self._complaint})


@asynccontextmanager
async def running(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Command]:
    """Run Python with arguments; it is ended if it is left behind."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    command = Command(process)
    try:
        yield command
    finally:
        await command.clean_up()


async def run(*arguments: object, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run Python with arguments to its end."""
    async with running(*arguments, environment=environment) as command:
        return await command.ends()
