"""A real Redis, which a test may kill, freeze and start again."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Self

import pytest

from ports import free_port

PATIENCE = 30.0
"""Seconds until it answers, on however slow a machine."""


class RedisServer:
    """A Redis on loopback that keeps nothing on disk. Use it with `async with`.

    Skips the test where redis-server is not installed.

    Args:
        cluster: Whether it is a cluster, of one node.
    """

    def __init__(self, *, cluster: bool = False) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed (Debian package redis-server)")
        self._program = program
        self.port = free_port()
        self._cluster = cluster
        self._folder = TemporaryDirectory()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"--bind 127.0.0.1 --port {self.port} --appendonly no --loglevel warning"
        if self._cluster:
            options += f" --dir {self._folder.name}"
            options += f" --cluster-enabled yes --cluster-port {free_port()}"
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            *options.split(),
            "--save",
            "",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(PATIENCE):
            while not await self._answers(self._process.pid):
                assert self._process.returncode is None, "redis-server has ended"
                await asyncio.sleep(0.01)
            if self._cluster:
                await self._take_all_slots()

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

    async def _answers(self, pid: int) -> bool:
        """Whether it answers itself: another server may have its port."""
        with suppress(OSError, EOFError):
            told = await self._ask(b"INFO server", b"run_id:")
            return b"process_id:%d\r\n" % pid in told
        return False

    async def _take_all_slots(self) -> None:
        await self._ask(b"CLUSTER ADDSLOTSRANGE 0 16383")
        while (await self._ask(b"GET slot")).startswith(b"-CLUSTERDOWN"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def _ask(self, command: bytes, end: bytes = b"\r\n") -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(command + b"\r\n")
            return await reader.readuntil(end)
        finally:
            writer.close()

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


@pytest.fixture
async def redis_server() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server
