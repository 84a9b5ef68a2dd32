from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conftest import until
from pipecat_whatsapp.errors import WhatsAppError
from pipecat_whatsapp.serving.settings import Plan, Role, Settings
from pipecat_whatsapp.serving.supervisor import (
    LONGEST_PAUSE,
    Supervisor,
    missing,
    pause_after,
)

STAND_IN = (sys.executable, str(Path(__file__).parent / "stand_in_worker.py"))


# Who is missing


@dataclass
class Somebody:
    role: Role
    is_busy: bool = False


def plan(settings: Settings | None = None, **numbers: int) -> Plan:
    return Plan(settings=settings or Settings(bot="bot.py"), **numbers)


def test_as_many_workers_as_are_planned() -> None:
    assert missing(plan(workers=3), [Somebody(Role.WHOLE)]) == [Role.WHOLE] * 2
    assert missing(plan(workers=1), [Somebody(Role.WHOLE)]) == []


def test_a_process_for_a_call_is_kept_warm() -> None:
    planned = plan(workers=2, warm=2, most=5)
    doors = [Somebody(Role.DOOR)] * 2
    assert Counter(missing(planned, [])) == {Role.DOOR: 2, Role.CALL: 2}
    assert missing(planned, [*doors, Somebody(Role.CALL), Somebody(Role.CALL)]) == []
    busy = Somebody(Role.CALL, is_busy=True)
    assert missing(planned, [*doors, Somebody(Role.CALL), busy]) == [Role.CALL]


def test_no_more_processes_than_the_machine_can_carry() -> None:
    planned = plan(workers=1, warm=2, most=3)
    busy = [Somebody(Role.CALL, is_busy=True)] * 3
    assert missing(planned, [Somebody(Role.DOOR), *busy]) == []
    assert missing(planned, [Somebody(Role.DOOR), *busy[:2]]) == [Role.CALL]


def test_pauses_between_deaths_grow_to_the_longest_and_stay_there() -> None:
    assert [pause_after(deaths) for deaths in (1, 2, 3)] == [0.25, 0.5, 1.0]
    assert pause_after(100) == pause_after(10_000) == LONGEST_PAUSE


# Processes


@dataclass
class Parent:
    """A supervisor of stand-in workers.

    Parameters:
        folder: Where workers note what happens.
    """

    folder: Path
    task: asyncio.Task[None] = field(init=False)

    @property
    def notes(self) -> list[dict[str, Any]]:
        file = self.folder / "notes"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def noted(self, word: str, role: Role | None = None) -> list[dict[str, Any]]:
        return [n for n in self.notes if n["word"] == word and role in (None, n["role"])]

    async def notes_of(
        self, word: str, number: int, role: Role | None = None
    ) -> list[dict[str, Any]]:
        """Wait until something was noted so many times."""
        await until(lambda: self.task.done() or len(self.noted(word, role)) >= number)
        assert len(self.noted(word, role)) >= number, self.task
        return self.noted(word, role)

    async def ends(self) -> None:
        await asyncio.wait_for(self.task, 60)

    def signal(self) -> None:
        """Tell the parent to end."""
        os.kill(os.getpid(), signal.SIGTERM)


Start = Callable[..., Parent]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a supervisor; ends it with its workers."""
    async with _started(tmp_path) as start:
        yield start


@asynccontextmanager
async def _started(folder: Path) -> AsyncIterator[Start]:
    parents = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def start(*behaviour: str, drain_timeout: float = 60.0, **numbers: int) -> Parent:
            settings = Settings(
                bot=str(folder),
                arguments=behaviour,
                drain_timeout=drain_timeout,
                goodbye_timeout=0.0,
            )
            parent = Parent(folder)
            supervisor = Supervisor(plan(settings, **numbers), listener, STAND_IN)
            parent.task = asyncio.create_task(supervisor.run())
            parents.append(parent)
            return parent

        yield start
        for parent in parents:
            # The second signal lets no worker stay.
            for _ in range(2):
                if not parent.task.done():
                    parent.signal()
                    await asyncio.sleep(0.1)
            await asyncio.wait({parent.task})


async def test_all_workers_are_told_to_drain_and_the_parent_ends_with_them(start: Start) -> None:
    parent = start(workers=2)
    ready = await parent.notes_of("ready", 2)
    assert {note["seat"] for note in ready} == {1, 2}
    assert len({note["node"] for note in ready}) == 2
    assert sum(note["is_first"] for note in ready) == 1
    parent.signal()
    await parent.ends()
    assert len(parent.noted("drain")) == 2
    assert not parent.noted("close")


async def test_the_second_signal_ends_all_at_once(start: Start) -> None:
    parent = start("stays", workers=2)
    await parent.notes_of("ready", 2)
    parent.signal()
    await parent.notes_of("drain", 2)
    assert not parent.task.done()
    parent.signal()
    await parent.ends()
    assert len(parent.noted("close")) == 2


async def test_a_worker_that_died_is_replaced_and_the_others_hear_of_it(start: Start) -> None:
    parent = start(workers=2)
    dying, other = await parent.notes_of("ready", 2)
    os.kill(dying["pid"], signal.SIGKILL)
    *_, new = await parent.notes_of("ready", 3)
    assert (new["seat"], new["is_first"]) == (dying["seat"], dying["is_first"])
    assert new["node"] != dying["node"]
    (heard,) = await parent.notes_of(f"dead: {dying['node']}", 1)
    assert heard["node"] == other["node"]


async def test_the_heir_of_the_only_worker_hears_of_its_death(start: Start) -> None:
    parent = start(workers=1)
    (dying,) = await parent.notes_of("ready", 1)
    os.kill(dying["pid"], signal.SIGKILL)
    await parent.notes_of(f"dead: {dying['node']}", 1)


async def test_a_worker_that_exits_unasked_has_died_whatever_its_code(start: Start) -> None:
    parent = start(workers=2)
    ending, _ = await parent.notes_of("ready", 2)
    os.kill(ending["pid"], signal.SIGUSR2)
    await parent.notes_of("ready", 3)
    await parent.notes_of(f"dead: {ending['node']}", 1)


async def test_children_of_a_dead_worker_do_not_hold_up_its_heir(start: Start) -> None:
    parent = start("forks", workers=1)
    (dying,) = await parent.notes_of("ready", 1)
    os.kill(dying["pid"], signal.SIGKILL)
    await parent.notes_of("ready", 2)
    for note in parent.notes:
        if note["word"].startswith("child: "):
            os.kill(int(note["word"].split()[1]), signal.SIGKILL)


async def test_workers_that_never_got_ready_end_the_parent_with_their_own_words(
    start: Start,
) -> None:
    parent = start("fails", workers=2)
    with pytest.raises(WhatsAppError, match=r"The bot has no voice\."):
        await parent.ends()


async def test_workers_that_crash_at_once_end_the_parent(start: Start) -> None:
    parent = start("crashes", workers=1)
    with pytest.raises(WhatsAppError, match="exit code 3"):
        await parent.ends()
    assert len(parent.noted("started")) == 1


async def test_a_command_that_cannot_be_run_ends_the_parent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        supervisor = Supervisor(plan(workers=1), listener, (str(tmp_path / "nothing"),))
        with pytest.raises(WhatsAppError, match="could not be started"):
            await asyncio.wait_for(supervisor.run(), 60)


async def test_a_worker_that_still_loads_its_bot_is_not_waited_for(start: Start) -> None:
    parent = start("loads", workers=1)
    await parent.notes_of("started", 1)
    parent.signal()
    await parent.ends()


async def test_a_worker_that_does_not_end_is_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat_whatsapp.serving.supervisor.CLOSE_PATIENCE", 0.5)
    parent = start("stays", "deaf", workers=1, drain_timeout=0.0)
    await parent.notes_of("ready", 1)
    parent.signal()
    with pytest.raises(WhatsAppError, match="before all calls had come to their ends"):
        await parent.ends()


async def test_a_death_in_the_end_is_no_good_end(start: Start, warnings: list[str]) -> None:
    parent = start("stays", workers=2)
    dying, other = await parent.notes_of("ready", 2)
    parent.signal()
    await parent.notes_of("drain", 2)
    os.kill(dying["pid"], signal.SIGKILL)
    await until(lambda: any("ended by SIGKILL" in line for line in warnings))
    os.kill(other["pid"], signal.SIGUSR2)
    with pytest.raises(WhatsAppError, match="before all calls had come to their ends"):
        await parent.ends()


async def test_a_terminal_that_closes_lets_calls_come_to_their_ends(start: Start) -> None:
    parent = start("stays", workers=1)
    (ending,) = await parent.notes_of("ready", 1)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGHUP)
        await parent.notes_of("drain", 1)
    os.kill(ending["pid"], signal.SIGUSR2)
    await parent.ends()
    assert not parent.noted("close")


async def test_a_terminal_that_closes_matters_not_to_who_ignores_it(start: Start) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        parent = start(workers=1)
        await parent.notes_of("ready", 1)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_worker_that_loads_its_bot_for_ever_is_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat_whatsapp.serving.supervisor.ALIVE_SECONDS", 0.2)
    monkeypatch.setattr("pipecat_whatsapp.serving.supervisor.LOADING_SECONDS", 1.0)
    parent = start("loads", workers=1)
    with pytest.raises(WhatsAppError, match="did not load its bot in 1 s"):
        await parent.ends()


async def test_a_worker_that_says_nothing_any_more_is_killed_and_replaced(
    start: Start, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setattr("pipecat_whatsapp.serving.supervisor.ALIVE_SECONDS", 0.2)
    monkeypatch.setattr("pipecat_whatsapp.serving.supervisor.HUNG_SECONDS", 0.5)
    parent = start(workers=1)
    (hung,) = await parent.notes_of("started", 1)
    await until(lambda: any("hung for 0.5 s" in line for line in warnings))
    # The next one says as little.
    monkeypatch.setattr("pipecat_whatsapp.serving.supervisor.HUNG_SECONDS", 60.0)
    (new,) = await parent.notes_of(f"dead: {hung['node']}", 1)
    assert new["pid"] != hung["pid"]


# One process for each call


async def test_each_call_that_begins_warms_another_process(start: Start) -> None:
    parent = start(workers=1, warm=1, most=2)
    (first,) = await parent.notes_of("ready", 1, Role.CALL)
    assert not first["is_first"]
    os.kill(first["pid"], signal.SIGUSR1)
    *_, second = await parent.notes_of("ready", 2, Role.CALL)
    os.kill(second["pid"], signal.SIGUSR1)
    # Now two calls run, and there is no room for a third.
    os.kill(first["pid"], signal.SIGUSR2)
    await parent.notes_of("ready", 3, Role.CALL)
    assert len(await parent.notes_of("ready", 1, Role.DOOR)) == 1


async def test_doors_stay_until_the_last_call_has_ended(start: Start) -> None:
    parent = start("stays", workers=1, warm=1, most=1)
    (call,) = await parent.notes_of("ready", 1, Role.CALL)
    await parent.notes_of("ready", 1, Role.DOOR)
    parent.signal()
    await parent.notes_of("drain", 2)
    assert not parent.noted("close")
    os.kill(call["pid"], signal.SIGUSR2)
    await parent.ends()
    assert [note["role"] for note in parent.noted("close")] == [Role.DOOR]
