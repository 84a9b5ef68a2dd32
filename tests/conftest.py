from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from aioice import stun
from hypothesis import settings
from loguru import logger

import log_watch
from pipecat_whatsapp.calls import adapter
from pipecat_whatsapp.calls.call import CallReport
from ports import free_port

if TYPE_CHECKING:
    from links import Link
    from pipecat_whatsapp.meta.graph import GraphClient
    from scripted_graph import ScriptedGraph

# What is right does not depend on how fast the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


class Reports(asyncio.Queue[CallReport]):
    """An `on_call_ended` hook that keeps what it is given."""

    async def __call__(self, report: CallReport) -> None:
        await self.put(report)

    async def next(self) -> CallReport:
        """The next report, waited for."""
        async with asyncio.timeout(30):
            return await self.get()


@pytest.fixture(autouse=True)
def _closes_briskly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Graph API that hangs on purpose is not waited for at the end of a test."""
    monkeypatch.setattr(adapter, "CLOSE_TIMEOUT", 0.5)


@pytest.fixture(autouse=True)
def leaks() -> Iterator[list[str]]:
    """What the test has logged and no log may hold; it fails if there is anything."""
    with log_watch.watched() as found:
        yield found
    assert not found, "\n".join(found)


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def patient_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that has not answered yet is waited for: the machine may have stood still."""
    from pipecat_whatsapp.calls import redis, redis_client

    monkeypatch.setattr(redis, "answers", lambda client, s: redis_client.answers(client, 30 * s))
    monkeypatch.setattr(redis_client, "ANSWER_SECONDS", 30.0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A connection and WhatsApp's relay."""
    from links import Link

    async with Link() as made:
        yield made


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedGraph]:
    """A Graph API that does as it is told."""
    from scripted_graph import served

    async with served() as made:
        yield made


@pytest.fixture
async def graph(scripted: ScriptedGraph) -> AsyncIterator[GraphClient]:
    """A client of it that is quick to try again."""
    from pipecat_whatsapp.meta.graph import GraphClient
    from scripted_graph import TOKEN

    async with GraphClient(token=TOKEN, url=scripted.url, retry_pauses=(0, 0)) as made:
        yield made


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """Warnings and errors in the log."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING")
    yield lines
    logger.remove(sink)


@pytest.fixture
async def turn_url() -> AsyncIterator[str]:
    """A real TURN server on loopback, for user ada with the password secret."""
    turnserver = shutil.which("turnserver")
    if turnserver is None:
        pytest.skip("turnserver is not installed (Debian package coturn)")
    port = free_port()
    options = f"-n --listening-ip=127.0.0.1 --listening-port={port} --relay-ip=127.0.0.1"
    options += " --lt-cred-mech --user=ada:secret --realm=test"
    options += " --log-file=stdout --pidfile= --allow-loopback-peers"
    # Older ones have a command line of their own, and newer ones do not know how to do without.
    options += f" --cli-password=secret --cli-port={free_port()}"
    process = await asyncio.create_subprocess_exec(
        turnserver,
        *options.split(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.to_thread(wait_for_stun, port)
        yield f"turn:127.0.0.1:{port}?transport=udp"
    finally:
        process.terminate()
        await process.wait()


def wait_for_stun(port: int) -> None:
    """Ask a STUN server until it answers (RFC 8489 section 6)."""
    request = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(0.1)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            # Nobody listens yet, or the answer is still to come.
            with contextlib.suppress(OSError):
                client.send(request)
                client.recv(2048)
                return
            time.sleep(0.01)
    raise TimeoutError("the STUN server does not answer")
