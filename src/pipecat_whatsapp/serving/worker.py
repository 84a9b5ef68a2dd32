"""What one worker process does, from its start to its end."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib.util import find_spec

from loguru import logger

from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.directory import CallDirectory
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.config import Timing, WhatsAppConfig
from pipecat_whatsapp.server import create_routes
from pipecat_whatsapp.serving.bot_module import BotModule
from pipecat_whatsapp.serving.channel import (
    ALIVE_SECONDS,
    Alive,
    CallBegan,
    Channel,
    Close,
    Drain,
    NodeDied,
    Ready,
)
from pipecat_whatsapp.serving.front import inherited, served
from pipecat_whatsapp.serving.settings import Assignment, Role, Settings

ROOM_PATIENCE = 10.0
"""Seconds that a call waits for a process of its own."""


class Worker:
    """Serves calls until its parent, or the parent's death, ends it.

    Args:
        assignment: What it is told.
        module: The bot.
        channel: To its parent.
    """

    def __init__(self, assignment: Assignment, module: BotModule, channel: Channel) -> None:
        self._assignment = assignment
        self._settings = assignment.settings
        self._module = module
        self._channel = channel
        self._ending = asyncio.Event()
        self._closing = asyncio.Event()
        self._is_orphan = False
        self._adapter = _adapter(assignment, module, self._observers())

    async def run(self) -> None:
        """Serve until the end.

        Raises:
            WhatsAppError: It cannot start.
        """
        obeying = asyncio.create_task(self._obey())
        living = asyncio.create_task(self._tell_of_life())
        try:
            async with self._adapter, AsyncExitStack() as front:
                await self._open(front)
                self._channel.send(Ready())
                await self._ending.wait()
                if self._is_orphan:
                    # The address is for the next parent.
                    await front.aclose()
                await self._leave()
        finally:
            obeying.cancel()
            living.cancel()

    async def _open(self, front: AsyncExitStack) -> None:
        adapter, module, listener = self._adapter, self._module, self._assignment.listener
        if listener is not None:
            app = create_routes(adapter, path=self._settings.path, readyz=module.readyz)
            await front.enter_async_context(served(app, inherited(listener)))
        if self._assignment.is_first and module.on_start is not None:
            adapter.run_beside(module.on_start(adapter))

    async def _obey(self) -> None:
        async for message in self._channel:
            match message:
                case NodeDied(node):
                    self._adapter.node_died(node)
                case Drain():
                    self._ending.set()
                case Close():
                    self._ending.set()
                    self._closing.set()
        logger.warning("The parent process has died: this one ends with its calls")
        self._is_orphan = True
        self._ending.set()

    async def _tell_of_life(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            self._channel.send(Alive())

    async def _leave(self) -> None:
        """Let the running calls come to their ends, unless all has to end now."""
        farewell = asyncio.create_task(self._farewell())
        closing = asyncio.create_task(self._closing.wait())
        await asyncio.wait({farewell, closing}, return_when=asyncio.FIRST_COMPLETED)
        for task in (farewell, closing):
            task.cancel()

    async def _farewell(self) -> None:
        if self._assignment.role is Role.DOOR and not self._is_orphan:
            await self._adapter.drain(0)
            # Calls in other processes still have webhooks; the parent knows when the last ends.
            await self._closing.wait()
        elif not await self._adapter.drain(self._settings.drain_timeout):
            await self._adapter.say_goodbye(self._settings.goodbye_timeout)

    def _observers(self) -> list[Observer]:
        ours = _observers(self._settings, self._assignment.seat)
        observers = [*ours, *self._module.observers]
        if self._assignment.role is Role.CALL:
            observers.append(
                _OneCall(began=lambda: self._channel.send(CallBegan()), ended=self._ending.set)
            )
        return observers


class _OneCall(Observer):
    """Tells when the only call of a process begins and ends."""

    def __init__(self, *, began: Callable[[], None], ended: Callable[[], None]) -> None:
        self._began = began
        self._ended = ended

    def call_began(self, call: Call) -> None:
        self._began()

    def call_ended(self, report: CallReport) -> None:
        self._ended()


def _adapter(
    assignment: Assignment, module: BotModule, observers: list[Observer]
) -> WebhookAdapter:
    return WebhookAdapter(
        _config(assignment),
        module.bot,
        directory=_directory(assignment),
        observers=observers,
        cli_args=module.cli_args,
        region=module.region,
        on_incoming_call=module.on_incoming_call,
        on_missed_call=module.on_missed_call,
        on_webhook_event=module.on_webhook_event,
        on_call_ended=module.on_call_ended,
    )


def _config(assignment: Assignment) -> WhatsAppConfig:
    settings = assignment.settings
    config = WhatsAppConfig.from_env(max_lag=settings.max_lag, region=settings.region)
    if assignment.role is Role.WHOLE:
        return replace(config, max_calls=settings.max_calls)
    # A process with a call may be sent another one, before all know that it is busy.
    patient = Timing(room_patience=ROOM_PATIENCE)
    return replace(config, max_calls=int(assignment.role is Role.CALL), timing=patient)


def _directory(assignment: Assignment) -> CallDirectory | None:
    settings = assignment.settings
    if not settings.redis_url:
        return None
    from pipecat_whatsapp.calls.redis import RedisDirectory

    return RedisDirectory.from_url(
        settings.redis_url, node=assignment.node, prefix=settings.redis_prefix
    )


def _observers(settings: Settings, seat: int) -> list[Observer]:
    observers: list[Observer] = []
    if settings.figures:
        from pipecat_whatsapp.serving import figures

        figures.count_in(settings.figures, seat)
        from pipecat_whatsapp.metrics import PrometheusMetrics

        observers.append(PrometheusMetrics())
    if settings.call_log:
        from pipecat_whatsapp.call_log import CallLog

        observers.append(CallLog(sys.stdout if settings.call_log == "-" else settings.call_log))
    if find_spec("opentelemetry") is not None:
        from pipecat_whatsapp.tracing import Tracing

        observers.append(Tracing())
    return observers


async def serve(assignment: Assignment, module: BotModule, end: socket.socket) -> None:
    """Be a worker.

    Args:
        assignment: What it is told.
        module: The bot.
        end: Its end of the channel.

    Raises:
        WhatsAppError: It cannot start.
    """
    await Worker(assignment, module, await Channel.over(end)).run()
