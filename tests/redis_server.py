"""A real Redis, which a test may kill, freeze and start again."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self

import pytest

PORTS = range(30_000, 32_000)
"""Below what Linux gives away by itself, and beside the ports of simulated bots."""

PATIENCE = 30.0
"""Seconds until it answers, on however slow a machine."""


class RedisServer:
    """A Redis on loopback that keeps nothing on disk. Use it with `async with`.

    Skips the test where redis-server is not installed.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed (Debian package redis-server)")
        options = f"--bind 127.0.0.1 --port {self.port} --appendonly no --loglevel warning"
        self._process = await asyncio.create_subprocess_exec(
            program,
            *options.split(),
            "--save",
            "",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(PATIENCE):
            while not await self._answers():
                assert self._process.returncode is None, "redis-server has ended"
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it at once, as a crash does; does nothing when it has ended."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """A crash, and an empty Redis at the same address."""
        await self.kill()
        await self.start()

    def pause(self) -> None:
        """Let it answer nothing; connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    async def _answers(self) -> bool:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
        return False

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._signal(number)
        self._signal(signal.SIGCONT)
        await self._process.wait()
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def free_port() -> int:
    """A port that is likely to be free still when somebody binds it."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


@pytest.fixture
async def redis_server() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server
