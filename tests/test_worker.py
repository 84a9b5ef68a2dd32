from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from conftest import until
from pipecat_whatsapp.serving.channel import Close, Drain, Failed, Message, Ready
from pipecat_whatsapp.serving.front import url_of
from pipecat_whatsapp.serving.process import WorkerProcess
from pipecat_whatsapp.serving.settings import Role, Settings
from pipecat_whatsapp.simulator.phone import Phone, PhoneCall
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from whatsapp_world import variables

BOT = Path(__file__).parent / "served_bot.py"


@dataclass
class Kept:
    """A worker, and what its parent knows.

    Parameters:
        process: The worker.
        url: Where it serves.
        notes_file: What its bot notes.
    """

    process: WorkerProcess
    url: str
    notes_file: Path
    listening: asyncio.Task[None] = field(init=False)
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self.process.messages():
            self.messages.append(message)

    @property
    def notes(self) -> list[str]:
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []

    @property
    def pid(self) -> int:
        """The process's id, as its `on_start` notes it."""
        return int(self.notes[0].split()[0])

    async def says(self, message: Message) -> None:
        await until(lambda: message in self.messages or self.listening.done())
        assert message in self.messages

    async def ends(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.ended()

    async def answers(self) -> bool:
        try:
            return await self.status("/livez") == 200
        except aiohttp.ClientConnectionError:
            return False

    async def status(self, path: str) -> int:
        async with aiohttp.request("GET", self.url + path) as answer:
            return answer.status


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
async def worker(
    whatsapp: WhatsApp, listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Kept]:
    """A worker that serves the business number."""
    environ = variables(whatsapp.meta.account, whatsapp.meta.graph_url)
    environ |= {"NOTES": str(tmp_path / "notes"), "PYTHONPATH": str(BOT.parent)}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    process = WorkerProcess(Role.WHOLE, 1, is_first=True)
    settings = Settings(bot=str(BOT), arguments=("--greeting", "good morning"))
    await process.start(settings, listener)
    kept = Kept(process, url_of(listener, ""), tmp_path / "notes")
    await kept.says(Ready())
    listener.close()
    await whatsapp.meta.subscribe(kept.url + "/whatsapp")
    await until(lambda: "on_start" in " ".join(kept.notes))
    yield kept
    process.kill()
    await process.ended()


async def answered(phone: Phone) -> PhoneCall:
    call = await phone.dial()
    await call.answered()
    return call


async def test_a_worker_serves_the_bots_calls(worker: Kept, phone: Phone) -> None:
    call = await answered(phone)
    assert f"{worker.pid} began {call.id} good morning" in worker.notes
    assert await worker.status("/livez") == 200
    async with aiohttp.request("GET", worker.url + "/readyz") as answer:
        assert await answer.json() == {"ready": True, "model": "warm"}
    await call.hang_up()
    await until(lambda: f"{worker.pid} ended {call.id} caller hung up" in worker.notes)


async def test_a_worker_that_drains_serves_the_running_call_to_its_end(
    worker: Kept, phone: Phone
) -> None:
    call = await answered(phone)
    worker.process.send(Drain())
    async with asyncio.timeout(30):
        while await worker.status("/readyz") == 200:
            pass
    assert await worker.status("/livez") == 200
    await call.hang_up()
    assert await worker.ends() == 0
    assert f"ended {call.id} caller hung up" in worker.notes[-1]


async def test_a_worker_that_closes_ends_its_calls(worker: Kept, phone: Phone) -> None:
    call = await answered(phone)
    worker.process.send(Drain())
    worker.process.send(Close())
    assert await call.ended() == "terminated"
    assert await worker.ends() == 0


async def test_a_worker_without_a_parent_frees_the_address_and_ends_with_its_calls(
    worker: Kept, phone: Phone
) -> None:
    call = await answered(phone)
    worker.process.hang_up()
    async with asyncio.timeout(30):
        while await worker.answers():
            pass
    os.kill(worker.pid, 0)
    # Meta's word of it comes to nobody: the line alone says that the caller has gone.
    await call.hang_up()
    assert await worker.ends() == 0


async def test_signals_are_for_the_parent(worker: Kept, phone: Phone) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    call = await answered(phone)
    await call.hang_up()
    worker.process.send(Drain())
    assert await worker.ends() == 0


async def test_a_worker_that_cannot_start_says_why(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WHATSAPP_")]:
        monkeypatch.delenv(name)
    process = WorkerProcess(Role.WHOLE, 1, is_first=True)
    await process.start(Settings(bot=str(BOT)), listener)
    (message,) = [message async for message in process.messages()]
    assert isinstance(message, Failed)
    assert "WHATSAPP_TOKEN" in message.why
    assert await process.ended() == 1
