from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from bots import PlainBot
from conftest import Reports, until
from finished_calls import fail, users_call
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.serving.channel import Close, Drain, Failed, Message, Ready
from pipecat_whatsapp.serving.front import url_of
from pipecat_whatsapp.serving.process import WorkerProcess
from pipecat_whatsapp.serving.settings import Role, Settings
from pipecat_whatsapp.serving.worker import OnlyCall, our_observers
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

    async def is_silent(self) -> None:
        """Wait until its address is free."""
        async with asyncio.timeout(30):
            while await self.answers():
                pass

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


Hire = Callable[..., Awaitable[Kept]]


@pytest.fixture
async def hire(
    whatsapp: WhatsApp, listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hire]:
    """Starts a worker that serves the business number."""
    environ = variables(whatsapp.meta.account, whatsapp.meta.graph_url)
    environ |= {"NOTES": str(tmp_path / "notes"), "PYTHONPATH": str(BOT.parent)}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    process: WorkerProcess

    async def hire(bot: Path = BOT, *arguments: str, role: Role = Role.WHOLE) -> Kept:
        nonlocal process
        process = WorkerProcess(role, 1, is_first=True)
        await process.start(Settings(bot=str(bot), arguments=arguments), listener)
        kept = Kept(process, url_of(listener, ""), tmp_path / "notes")
        await kept.says(Ready())
        listener.close()
        await whatsapp.meta.subscribe(kept.url + "/whatsapp")
        await until(lambda: "on_start" in " ".join(kept.notes))
        return kept

    yield hire
    process.kill()
    await process.ended()


@pytest.fixture
async def worker(hire: Hire) -> Kept:
    """A worker that runs."""
    return await hire(BOT, "--greeting", "good morning")


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
    await worker.is_silent()
    os.kill(worker.pid, 0)
    # Meta's word of it comes to nobody: the line alone says that the caller has gone.
    await call.hang_up()
    assert await worker.ends() == 0


async def test_a_worker_that_drains_and_loses_its_parent_frees_the_address(
    worker: Kept, phone: Phone
) -> None:
    call = await answered(phone)
    worker.process.send(Drain())
    async with asyncio.timeout(30):
        while await worker.status("/readyz") == 200:
            pass
    worker.process.hang_up()
    await worker.is_silent()
    os.kill(worker.pid, 0)
    await call.hang_up()
    assert await worker.ends() == 0


@pytest.mark.parametrize("drains", [False, True])
async def test_a_door_ends_with_its_parent(hire: Hire, drains: bool) -> None:
    door = await hire(role=Role.DOOR)
    if drains:
        door.process.send(Drain())
    door.process.hang_up()
    assert await door.ends() == 0


LEFT_BEHIND = {
    "a forked child": "multiprocessing.get_context('fork').Process(target=time.sleep, args=(99,))",
    "a program": "subprocess.Popen(['sleep', '99'], close_fds=False)",
}


@pytest.mark.parametrize("child", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
async def test_what_a_bot_leaves_behind_does_not_keep_the_address(
    hire: Hire, tmp_path: Path, child: str
) -> None:
    bot = tmp_path / "some_bot.py"
    bot.write_text(
        "import multiprocessing, subprocess, time\nfrom served_bot import bot, note\n"
        f"child = {child}\ngetattr(child, 'start', lambda: None)()\n"
        "async def on_start(adapter): note('on_start', child.pid)\n"
    )
    worker = await hire(bot)
    os.kill(worker.pid, signal.SIGKILL)
    try:
        await worker.is_silent()
        await asyncio.wait_for(worker.listening, 30)
    finally:
        os.kill(int(worker.notes[0].split()[2]), signal.SIGKILL)


async def test_a_bot_may_remove_the_logs_default_handler(
    hire: Hire, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bot = tmp_path / "some_bot.py"
    bot.write_text(
        "import sys\nfrom loguru import logger\nfrom served_bot import bot, note\n"
        "logger.remove(0)\nlogger.add(sys.stderr, format='in its own way: {message}')\n"
        "async def on_start(adapter):\n    logger.warning('Hello')\n    note('on_start')\n"
    )
    await hire(bot)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "Hello" in line]
    assert "WARNING" in line


async def test_figures_of_the_bots_own_are_counted(
    hire: Hire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prometheus_client")
    from pipecat_whatsapp.serving.figures import create_app

    folder = tmp_path / "figures"
    folder.mkdir()
    monkeypatch.setattr(f"{__name__}.Settings", partial(Settings, figures=str(folder)))
    bot = tmp_path / "some_bot.py"
    bot.write_text(
        "from prometheus_client import Counter\nfrom served_bot import bot, note\n"
        "greetings = Counter('greetings', 'Greetings.')\n"
        "async def on_start(adapter):\n    greetings.inc()\n    note('on_start')\n"
    )
    await hire(bot)
    async with TestClient(TestServer(create_app(str(folder)))) as client:
        answer = await client.get("/metrics")
        assert "greetings_total 1.0" in (await answer.text()).splitlines()


async def test_the_only_call_is_the_one_that_got_its_place(
    whatsapp: WhatsApp, reports: Reports
) -> None:
    told: list[str] = []

    async def began() -> None:
        told.append("began")

    only = OnlyCall(None, began, lambda: told.append("ended"))
    hooks = {"on_incoming_call": only.on_incoming_call, "on_call_ended": reports}
    await whatsapp.serve(PlainBot(), max_calls=1, observers=[only], **hooks)
    phones = [await whatsapp.phone(User(user_id=f"DE.{number}")) for number in range(4)]
    calls = await asyncio.gather(*(phone.dial() for phone in phones))
    refused = [(await reports.next()).call_id for _ in range(3)]
    (running,) = [call for call in calls if call.id not in refused]
    await running.answered()
    assert told == ["began"]
    await running.hang_up()
    await until(lambda: told == ["began", "ended"])


def test_the_end_of_a_dead_processs_call_is_not_that_of_the_only_one() -> None:
    ended: list[None] = []

    async def began() -> None:
        raise AssertionError

    call = users_call()
    fail(call)
    OnlyCall(None, began, lambda: ended.append(None)).call_ended(call.report())
    assert not ended


async def test_signals_are_for_the_parent(worker: Kept, phone: Phone) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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


def kinds(*others: Observer) -> list[type[Observer]]:
    return [type(each) for each in our_observers(Settings(bot="bot.py"), others)]


def test_calls_are_traced_once() -> None:
    tracing = pytest.importorskip("pipecat_whatsapp.tracing", exc_type=ImportError)
    assert kinds(Observer()) == [tracing.Tracing]
    assert kinds(tracing.Tracing()) == []


def test_without_opentelemetry_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert kinds() == []
