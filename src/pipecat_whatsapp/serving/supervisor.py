"""The parent process: keeps its workers running, and ends them in good order."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import count
from typing import Protocol

from loguru import logger

from pipecat_whatsapp.errors import WhatsAppError
from pipecat_whatsapp.serving.channel import (
    ALIVE_SECONDS,
    Alive,
    CallBegan,
    Close,
    Drain,
    Failed,
    Message,
    NodeDied,
    Ready,
)
from pipecat_whatsapp.serving.front import url_of
from pipecat_whatsapp.serving.notify import tell_systemd
from pipecat_whatsapp.serving.process import COMMAND, WorkerProcess
from pipecat_whatsapp.serving.settings import Plan, Role

FIRST_PAUSE = 0.25
"""Seconds until a worker that has died is replaced; each that dies soon after doubles them."""

LONGEST_PAUSE = 30.0
"""Seconds to which they grow."""

GOOD_AGE = 60.0
"""Seconds that a worker must have lived for its death to count as the first."""

HUNG_SECONDS = 60.0
"""Seconds after which a worker that says nothing is killed: its event loop hangs for good."""

LOADING_SECONDS = 300.0
"""Seconds in which a worker must have loaded its bot, models and all."""

CLOSE_PATIENCE = 30.0
"""Seconds beyond all time-outs until a worker that was told to end is killed."""

CALLS_CUT = "A worker process died before all calls had come to their ends: see the log above."


class Staff(Protocol):
    """What counts of a worker when it is decided who is missing."""

    role: Role
    is_busy: bool


def missing(plan: Plan, workers: Collection[Staff]) -> list[Role]:
    """The workers that are to be started.

    Args:
        plan: What shall run.
        workers: What runs.
    """
    calls = [worker for worker in workers if worker.role is Role.CALL]
    idle = [worker for worker in calls if not worker.is_busy]
    front = plan.workers - (len(workers) - len(calls))
    back = min(plan.warm - len(idle), plan.most - len(calls))
    return [plan.front] * front + [Role.CALL] * back


def pause_after(deaths: int) -> float:
    """Seconds until a worker is replaced, after so many deaths in a row."""
    # As an integer, since a float has an end.
    return FIRST_PAUSE * min(1 << (deaths - 1), LONGEST_PAUSE / FIRST_PAUSE)


class Supervisor:
    """Runs workers until it is told to end, by SIGTERM or SIGINT.

    The first signal lets running calls come to their ends, the second does not. SIGHUP, of a
    terminal that closes, is as the first.

    Args:
        plan: What to keep running.
        listener: The bound socket of the webhooks' address.
        command: What a worker is.
    """

    def __init__(
        self, plan: Plan, listener: socket.socket, command: Sequence[str] = COMMAND
    ) -> None:
        self._plan = plan
        self._listener = listener
        self._command = command
        self._workers: set[WorkerProcess] = set()
        self._ending = asyncio.Event()
        self._was_ready = False
        self._was_complete = False
        self._deaths = 0
        self._untold: list[str] = []
        self._failure = ""

    async def run(self) -> None:
        """Keep workers running until the end.

        Raises:
            WhatsAppError: No worker ever got ready, in its own words; or calls were cut in the end.
        """
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGINT: self._signalled, signal.SIGTERM: self._signalled}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # As nohup has it.
            # A terminal that closes may say so more than once.
            handlers[signal.SIGHUP] = self._drain
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            # Ends when all workers have ended, and none is replaced.
            async with asyncio.TaskGroup() as self._minding:
                self._fill()
                self._look_after(loop.time())
        finally:
            self._next_look.cancel()
            for number in handlers:
                loop.remove_signal_handler(number)
        if self._failure:
            raise WhatsAppError(self._failure)

    # Workers come and go

    def _fill(self) -> None:
        """Start whoever is missing."""
        if self._ending.is_set():
            return
        for role in missing(self._plan, self._workers):
            worker = self._hired(role)
            self._workers.add(worker)
            self._minding.create_task(self._mind(worker))

    def _hired(self, role: Role) -> WorkerProcess:
        taken = {worker.seat for worker in self._workers}
        seat = next(seat for seat in count(1) if seat not in taken)
        has_first = any(worker.is_first for worker in self._workers)
        return WorkerProcess(role, seat, is_first=role is self._plan.front and not has_first)

    async def _mind(self, worker: WorkerProcess) -> None:
        """Run a worker to its end, and see to its replacement."""
        code = await self._lived(worker)
        self._forget_figures(worker)
        has_served, worker.is_ready = worker.is_ready, False
        # A process of one call ends with it; of any other, nobody knows what it has left undone.
        has_died = code != 0 or (worker.role is not Role.CALL and not self._ending.is_set())
        if has_died:
            self._tell_of_death(worker.node)
        if has_died or not has_served:
            await self._mourn(worker, code, has_served=has_served)
        self._workers.discard(worker)
        self._fill()
        self._close_doors()

    async def _lived(self, worker: WorkerProcess) -> int:
        """Run a worker to its end; returns its exit code."""
        try:
            await worker.start(self._plan.settings, self._listener, self._command)
        except OSError as error:
            worker.failure = f"A worker process could not be started ({error})."
            return 1
        if self._ending.is_set():
            worker.kill()
        async for message in worker.messages():
            self._take(worker, message)
        return await worker.ended()

    def _take(self, worker: WorkerProcess, message: Message) -> None:
        match message:
            case Ready():
                worker.is_ready = self._was_ready = True
                while self._untold:
                    worker.send(NodeDied(self._untold.pop()))
                self._announce()
            case Alive():
                pass
            case CallBegan():
                worker.is_busy = True
                self._fill()
            case Failed(why):
                worker.failure = why
            case _:
                raise TypeError(f"{message} is not for the parent")

    def _announce(self) -> None:
        """Say that all is ready, as soon as it is."""
        ready = [worker for worker in self._workers if worker.is_ready]
        if self._was_complete or missing(self._plan, ready):
            return
        self._was_complete = True
        url = url_of(self._listener, self._plan.settings.path)
        logger.info("WhatsApp calls are served at {}, processes: {}", url, len(ready))
        tell_systemd("READY=1")

    async def _mourn(self, worker: WorkerProcess, code: int, *, has_served: bool) -> None:
        """Note that a worker has died, and wait until it is wise to replace it."""
        why = worker.failure or _epitaph(code)
        if self._ending.is_set():
            if has_served:
                logger.error("{} Its calls, if it had any, were cut.", why)
                self._failure = self._failure or CALLS_CUT
            return
        if not self._was_ready:
            self._give_up(why)
            return
        self._deaths = 1 if worker.age > GOOD_AGE else self._deaths + 1
        pause = pause_after(self._deaths)
        logger.error("{} It is replaced in {:g} s.", why, pause)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), pause)

    def _look_after(self, due: float) -> None:
        """Kill the workers that hang, every few seconds."""
        loop = asyncio.get_running_loop()
        # Who was away itself has not heard what was said meanwhile.
        if loop.time() - due < ALIVE_SECONDS:
            for worker in self._workers:
                if not worker.is_ready and worker.age > LOADING_SECONDS:
                    worker.fail(f"A worker process did not load its bot in {LOADING_SECONDS:g} s.")
                elif worker.is_ready and time.monotonic() - worker.heard_at > HUNG_SECONDS:
                    worker.fail(f"A worker process hung for {HUNG_SECONDS:g} s, and was killed.")
        due = loop.time() + ALIVE_SECONDS
        self._next_look = loop.call_at(due, self._look_after, due)

    def _tell_of_death(self, node: str) -> None:
        """Have the others end a dead process's calls; the next one, when there are none."""
        others = [worker for worker in self._workers if worker.is_ready]
        for worker in others:
            worker.send(NodeDied(node))
        if not others:
            self._untold.append(node)

    def _forget_figures(self, worker: WorkerProcess) -> None:
        folder = self._plan.settings.figures
        if folder:
            from pipecat_whatsapp.serving.figures import forget_seat

            forget_seat(folder, worker.seat)

    # The end

    def _signalled(self) -> None:
        if self._ending.is_set():
            logger.warning("Told to end for the second time: all calls end now")
            self._end(Close(), CLOSE_PATIENCE)
        else:
            self._drain()

    def _drain(self) -> None:
        if self._ending.is_set():
            return
        settings = self._plan.settings
        patience = settings.drain_timeout + settings.goodbye_timeout
        logger.info("No further calls; running ones have {:g} s to end", settings.drain_timeout)
        tell_systemd("STOPPING=1")
        self._end(Drain(), patience + CLOSE_PATIENCE)

    def _give_up(self, why: str) -> None:
        self._failure = self._failure or why
        self._end(Close(), CLOSE_PATIENCE)

    def _end(self, order: Message, patience: float) -> None:
        """Have all workers end; who has not after so many seconds is killed."""
        self._ending.set()
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            if worker.is_ready:
                worker.send(order)
                loop.call_later(patience, worker.fail, "A worker process did not end in time.")
            else:
                worker.kill()
        self._close_doors()

    def _close_doors(self) -> None:
        """End the doors when the last call has ended: until then its webhooks need them."""
        if self._ending.is_set() and all(w.role is not Role.CALL for w in self._workers):
            for worker in self._workers:
                if worker.role is Role.DOOR and worker.is_ready:
                    worker.send(Close())


def _epitaph(code: int) -> str:
    """What an exit code says of a process's end."""
    if code < 0:
        return f"A worker process was ended by {signal.Signals(-code).name}."
    return f"A worker process ended with exit code {code}: the log above may say why."
