"""The production server as its users start it: parent and workers, real signals, real calls."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from conftest import until
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.phone import Phone, PhoneCall
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from ports import free_port
from terminal import Command, running
from whatsapp_world import CLI, variables

BOT = Path(__file__).parent / "served_bot.py"


@dataclass
class Served:
    """A server that runs.

    Parameters:
        command: The parent process.
        url: Where it serves.
        folder: Where it, and what its bots note, is.
    """

    command: Command
    url: str
    folder: Path

    @property
    def webhook_url(self) -> str:
        return self.url + "/whatsapp"

    @property
    def notes(self) -> list[str]:
        return _lines(self.folder / "notes")

    @property
    def call_log(self) -> list[dict[str, Any]]:
        """What it has logged of calls, given `--call-log {folder}/calls`."""
        return [json.loads(line) for line in _lines(self.folder / "calls")]

    @property
    def workers(self) -> list[int]:
        """The processes that the parent runs."""
        return children(self.command.pid)

    def pid_of(self, call: PhoneCall) -> int:
        """The process that serves a call."""
        (pid,) = [int(n.split()[0]) for n in self.notes if f" began {call.id} " in n]
        return pid

    def ends_of(self, call_id: str) -> list[str]:
        """Why a call has ended, each time that it was reported."""
        return [note.split(maxsplit=3)[3] for note in self.notes if f" ended {call_id} " in note]

    def ends_at_owner_of(self, call_id: str) -> list[str]:
        """The same, without those who have heard too late that another has it."""
        return [end for end in self.ends_of(call_id) if end != Cause.SERVED_ELSEWHERE.value]

    async def noted(self, words: str) -> None:
        await until(lambda: any(words in note for note in self.notes))

    async def logged(self, call: PhoneCall) -> dict[str, Any]:
        """What is logged of a call, waited for; it must be one line."""
        await until(lambda: any(line["call_id"] == call.id for line in self.call_log))
        (line,) = [line for line in self.call_log if line["call_id"] == call.id]
        return line

    async def answers(self, path: str = "/livez") -> bool:
        try:
            async with aiohttp.request("GET", self.url + path) as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def is_unready(self) -> None:
        """Wait until none of its processes is ready: any of them may answer when it is asked."""
        refusals = 0
        async with asyncio.timeout(60):
            while refusals < 20:
                refusals = 0 if await self.answers("/readyz") else refusals + 1


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def runs(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that run."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [child for child in map(int, told.split()) if runs(child)]


@asynccontextmanager
async def serving(
    whatsapp: WhatsApp, folder: Path, *options: object, bot: Path = BOT, subscribe: bool = True
) -> AsyncIterator[Served]:
    """Serve the business number, from the first moment on which it is ready.

    Args:
        whatsapp: The simulated WhatsApp.
        folder: Where everything is kept; each server needs its own.
        *options: Of the command.
        bot: The bot's file.
        subscribe: Whether webhooks go straight to it.
    """
    port = free_port()
    environ = variables(whatsapp.meta.account, whatsapp.meta.graph_url)
    environ |= {"NOTES": str(folder / "notes"), "PYTHONPATH": str(BOT.parent)}
    environ["NOTIFY_SOCKET"] = str(folder / "systemd")
    arguments: tuple[object, ...] = (*CLI, "serve", bot, "--port", port)
    # A machine that runs many tests at once is late, and a frozen process is when it wakes up.
    arguments += ("--max-lag", 100, "--env-file", os.devnull, *options)
    with _service_manager(folder) as notifications:
        async with running(*arguments, environment=environ) as command:
            served = Served(command, f"http://127.0.0.1:{port}", folder)
            async with asyncio.timeout(60):
                loop = asyncio.get_running_loop()
                assert await loop.sock_recv(notifications, 100) == b"READY=1"
            if subscribe:
                await whatsapp.meta.subscribe(served.webhook_url)
            try:
                yield served
            finally:
                await _end(command)


@contextmanager
def _service_manager(folder: Path) -> Iterator[socket.socket]:
    """What a server tells as soon as it is ready, as systemd hears it."""
    folder.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(folder / "systemd"))
        notifications.setblocking(False)
        yield notifications


async def _end(command: Command) -> None:
    """End a server that may have ended, and any calls with it."""
    with suppress(ProcessLookupError):
        for _ in range(2):
            command.send(signal.SIGTERM)
            await asyncio.sleep(0.1)


async def answered(phone: Phone) -> PhoneCall:
    call = await phone.dial()
    await call.answered()
    return call


async def caller(whatsapp: WhatsApp, number: int, *, wish: str | None = None) -> PhoneCall:
    """A call of one of several users.

    Args:
        whatsapp: The simulated WhatsApp.
        number: Which of them.
        wish: What the bot shall do, as the call button's payload.
    """
    call = await (await user_phone(whatsapp, number)).dial(cta_payload=wish)
    await call.answered(60)
    return call


async def user_phone(whatsapp: WhatsApp, number: int) -> Phone:
    """The phone of one of several users."""
    user = User(phone=f"4915100{number:06}", user_id=f"DE.{1000 + number}", name="Somebody")
    return await whatsapp.phone(user)


async def is_heard(call: PhoneCall) -> None:
    """Wait for half a second more of what the bot says."""
    packets = call.recording.received
    await call.until(lambda recording: recording.received > packets + 25)


def requests_of(whatsapp: WhatsApp, call_id: str) -> Counter[tuple[str, int | None]]:
    """What Meta was asked for a call, and its answers."""
    return Counter((r.action, r.status) for r in whatsapp.meta.requests if r.call_id == call_id)


async def calls_of_two_processes(
    whatsapp: WhatsApp, served: Served, *, wish: str | None = None
) -> dict[int, list[PhoneCall]]:
    """Calls by the processes that serve them, as many as it takes until there are two."""
    found: dict[int, list[PhoneCall]] = {}
    for number in range(50):
        call = await caller(whatsapp, number, wish=wish)
        found.setdefault(served.pid_of(call), []).append(call)
        if len(found) == 2:
            break
    assert len(found) == 2
    return found
