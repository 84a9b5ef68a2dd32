"""Redis that is killed, empty, away or slow, while calls run and come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from load_balancer import LoadBalancer
from obedient_bot import Wish
from pipecat_whatsapp.calls.neighbours import BEAT_SECONDS, DEAD_SECONDS
from pipecat_whatsapp.simulator.phone import PhoneCall
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer, redis_server
from served import Served, caller, is_heard, requests_of, serving

__all__ = ["redis_server"]

BOT = Path(__file__).parent / "obedient_bot.py"


@asynccontextmanager
async def two_servers(
    whatsapp: WhatsApp, folder: Path, redis_url: str
) -> AsyncIterator[tuple[Served, Served, LoadBalancer]]:
    """Two processes, each with its own address, so that a test chooses who hears what."""
    options = ("--workers", 1, "--redis-url", redis_url)
    async with (
        serving(whatsapp, folder / "a", *options, bot=BOT) as a,
        serving(whatsapp, folder / "b", *options, bot=BOT) as b,
        LoadBalancer(whatsapp, a, b) as balancer,
    ):
        await asyncio.sleep(2 * BEAT_SECONDS)  # Then each knows of the other.
        yield a, b, balancer


async def check_alive(whatsapp: WhatsApp, call: PhoneCall) -> None:
    """The call was answered once, and never ended; what the bot says is heard."""
    requests = requests_of(whatsapp, call.id)
    assert requests["accept", 200] == 1
    assert not {"terminate", "reject"} & {action for action, _ in requests}
    await is_heard(call)


async def end_by_the_other(call: PhoneCall, a: Served, b: Served, balancer: LoadBalancer) -> None:
    """Let the process that has not got the call hear of its end, and tell the one that has."""
    owners = [s for s in (a, b) if served_here(call, s)]
    assert len(owners) == 1
    balancer.servers = [s for s in (a, b) if s not in owners]
    await call.hang_up()
    await owners[0].noted(f" ended {call.id} caller hung up")


def served_here(call: PhoneCall, server: Served) -> bool:
    """Whether a process has the call, rather than never, or no more since another was faster."""
    began = any(f" began {call.id} " in note for note in server.notes)
    return began and not server.ends_of(call.id)


async def test_redis_comes_back_empty(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with two_servers(whatsapp, tmp_path, redis_server.url) as (a, b, balancer):
        balancer.servers = [a]
        before = await caller(whatsapp, 0, wish=Wish.SPEAK)
        await redis_server.kill()
        meanwhile = [await caller(whatsapp, number, wish=Wish.SPEAK) for number in (1, 2)]
        await redis_server.start()
        await asyncio.sleep(3 * BEAT_SECONDS)
        afterwards = await caller(whatsapp, 3, wish=Wish.SPEAK)
        for call in (before, *meanwhile, afterwards):
            await check_alive(whatsapp, call)
            await end_by_the_other(call, a, b, balancer)


async def test_redis_is_away_for_longer_than_the_dead_are(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with two_servers(whatsapp, tmp_path, redis_server.url) as (a, b, balancer):
        balancer.servers = [a]
        before = await caller(whatsapp, 0, wish=Wish.SPEAK)
        redis_server.pause()
        away = asyncio.create_task(asyncio.sleep(DEAD_SECONDS + 2))
        balancer.servers = [b]
        meanwhile = await caller(whatsapp, 1, wish=Wish.SPEAK)
        balancer.servers = [a, b]
        # Both processes hear of these, and neither can ask the other.
        balancer.pass_on = balancer.send_to_all
        contested = [await caller(whatsapp, number, wish=Wish.SPEAK) for number in range(2, 6)]
        balancer.pass_on = None
        await away
        redis_server.resume()
        await asyncio.sleep(4 * BEAT_SECONDS)
        for call in (before, meanwhile, *contested):
            await check_alive(whatsapp, call)
        for call in (before, meanwhile, *contested):
            await end_by_the_other(call, a, b, balancer)
        assert not any("process died" in note for note in a.notes + b.notes)


@pytest.mark.parametrize("delay", [0.2, 1.0, 2.0])
async def test_redis_is_slow(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path, delay: float
) -> None:
    async with (
        SlowLine(redis_server.port) as line,
        two_servers(whatsapp, tmp_path, f"redis://127.0.0.1:{line.port}/0") as (a, b, balancer),
    ):
        balancer.servers = [a]
        before = await caller(whatsapp, 0, wish=Wish.SPEAK)
        line.delay = delay
        await asyncio.sleep(2 * BEAT_SECONDS)
        meanwhile = [await caller(whatsapp, number, wish=Wish.SPEAK) for number in (1, 2)]
        await asyncio.sleep(DEAD_SECONDS)
        for call in (before, *meanwhile):
            await check_alive(whatsapp, call)
        line.delay = 0.0
        await asyncio.sleep(3 * BEAT_SECONDS)
        for call in (before, *meanwhile):
            await end_by_the_other(call, a, b, balancer)
        assert not any("process died" in note for note in a.notes + b.notes)


class SlowLine:
    """A line to a port on which every answer takes longer. Use it with `async with`.

    Args:
        target: The port behind it.

    Attributes:
        delay: Seconds for each piece of an answer.
    """

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> SlowLine:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._target)
        for copying in (self._copy(reader, questions), self._copy(answers, writer, slowly=True)):
            task = asyncio.create_task(copying)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, slowly: bool = False
    ) -> None:
        try:
            while piece := await source.read(1 << 16):
                if slowly:
                    await asyncio.sleep(self.delay)
                target.write(piece)
        except ConnectionError:
            pass
        finally:
            target.close()
