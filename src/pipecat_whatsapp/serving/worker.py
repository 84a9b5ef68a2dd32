"""What one worker process does, from its start to its end."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib.util import find_spec

from loguru import logger

from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.bot import Decision, IncomingCallHook
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
from pipecat_whatsapp.serving.front import served
from pipecat_whatsapp.serving.settings import Assignment, Role, Settings

ROOM_PATIENCE = 10.0
"""Seconds that a call waits for a process of its own."""


class Worker:
    """Serves calls until its parent, or the parent's death, ends it.

    Args:
        assignment: What it is told.
        module: The bot.
        channel: To its parent.
        listener: Where webhooks come to; None where none do.
    """

    def __init__(
        self,
        assignment: Assignment,
        module: BotModule,
        channel: Channel,
        listener: socket.socket | None,
    ) -> None:
        self._assignment = assignment
        self._settings = assignment.settings
        self._module = module
        self._channel = channel
        self._listener = listener
        self._ending = asyncio.Event()
        self._closing = asyncio.Event()
        self._orphaned = asyncio.Event()
        if assignment.role is Role.CALL:
            only = OnlyCall(module.on_incoming_call, self._only_call_began, self._ending.set)
            module = replace(
                module,
                on_incoming_call=only.on_incoming_call,
                observers=[*module.observers, only],
            )
        self._adapter = _adapter(assignment, module)

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
                await self._leave(front)
        finally:
            obeying.cancel()
            living.cancel()

    async def _open(self, front: AsyncExitStack) -> None:
        adapter, module = self._adapter, self._module
        if self._listener is not None:
            app = create_routes(adapter, path=self._settings.path, readyz=module.readyz)
            await front.enter_async_context(served(app, self._listener))
        module.run_beside(adapter, is_first=self._assignment.is_first)

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
        self._orphaned.set()
        self._ending.set()
        if self._assignment.role is Role.DOOR:
            # Nobody is left to say when the last call has ended.
            self._closing.set()

    async def _tell_of_life(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            self._channel.send(Alive())

    async def _only_call_began(self) -> None:
        self._channel.send(CallBegan())
        # Whatever happens to this process, it shall happen to no other call.
        await self._adapter.drain(0)

    async def _leave(self, front: AsyncExitStack) -> None:
        """Let the running calls come to their ends, unless all has to end now."""
        farewell = asyncio.create_task(self._farewell())
        closing = asyncio.create_task(self._closing.wait())
        orphaned = asyncio.create_task(self._orphaned.wait())
        tasks = {farewell, closing, orphaned}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._orphaned.is_set():
            # The address is for the next parent.
            await front.aclose()
        await asyncio.wait({farewell, closing}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _farewell(self) -> None:
        if self._assignment.role is Role.DOOR:
            await self._adapter.drain(0)
            # Calls in other processes still have webhooks; the parent knows when the last ends.
            await self._closing.wait()
        elif not await self._adapter.drain(self._settings.drain_timeout):
            await self._adapter.say_goodbye(self._settings.goodbye_timeout)


class OnlyCall(Observer):
    """The one call of a process: the first that gets its place.

    Others may come and be refused, and those of dead processes may be ended here: they matter not.

    Args:
        hook: The application's `on_incoming_call`.
        began: Called when it has its place.
        ended: Called when it is over.
    """

    def __init__(
        self,
        hook: IncomingCallHook | None,
        began: Callable[[], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        self._hook = hook
        self._began = began
        self._ended = ended
        self._call_id: str | None = None

    async def on_incoming_call(self, call: Call) -> Decision:
        """Note which call it is, and ask the application; no call is asked about in vain."""
        self._call_id = call.id
        await self._began()
        return None if self._hook is None else await self._hook(call)

    def call_ended(self, report: CallReport) -> None:
        """Tell of its end."""
        if report.call_id == self._call_id:
            self._ended()


def _adapter(assignment: Assignment, module: BotModule) -> WebhookAdapter:
    return module.adapter(
        _config(assignment),
        directory=_directory(assignment),
        observers=our_observers(assignment.settings, module.observers),
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


def our_observers(settings: Settings, others: Sequence[Observer]) -> list[Observer]:
    """The server's own observers.

    Args:
        settings: What was asked for.
        others: Those of the bot's file, which stand beside them.
    """
    observers: list[Observer] = []
    if settings.figures:
        from pipecat_whatsapp.metrics import PrometheusMetrics

        observers.append(PrometheusMetrics())
    if settings.call_log:
        from pipecat_whatsapp.call_log import CallLog

        observers.append(CallLog(sys.stdout if settings.call_log == "-" else settings.call_log))
    if _is_installed("opentelemetry.trace"):
        from pipecat_whatsapp.tracing import Tracing

        if not any(isinstance(other, Tracing) for other in others):
            observers.append(Tracing())
    return observers


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # The package around it.
        return False


async def serve(
    assignment: Assignment,
    module: BotModule,
    end: socket.socket,
    listener: socket.socket | None,
) -> None:
    """Be a worker.

    Args:
        assignment: What it is told.
        module: The bot.
        end: Its end of the channel.
        listener: Where webhooks come to; None where none do.

    Raises:
        WhatsAppError: It cannot start.
    """
    await Worker(assignment, module, await Channel.over(end), listener).run()
