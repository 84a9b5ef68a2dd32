"""One running call: feeds the law with what happens, and performs what it asks for."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from loguru import logger

from pipecat_whatsapp.calls.bot import Bot, IncomingCallHook, Reject, runner_arguments
from pipecat_whatsapp.calls.call import Action, Call, CallReport, Cause, Signal, State
from pipecat_whatsapp.calls.directory import CallDirectory
from pipecat_whatsapp.calls.watchdog import watch
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import GraphError, GraphUnreachableError, SdpError
from pipecat_whatsapp.media.answering import answer_offer
from pipecat_whatsapp.media.connection import LinkEvent, WhatsAppConnection
from pipecat_whatsapp.media.quality import QualityMeter
from pipecat_whatsapp.media.sdp import read_offer
from pipecat_whatsapp.meta.events import CallConnect, CallTerminate
from pipecat_whatsapp.meta.graph import GraphClient

CANCEL_TIMEOUT = 20.0
"""Seconds that a cancelled bot gets, as pipecat gives a cancelled pipeline."""


class Desk(Protocol):
    """What a session needs of whoever runs it."""

    config: WhatsAppConfig
    graph: GraphClient
    directory: CallDirectory
    bot: Bot
    on_incoming_call: IncomingCallHook | None

    def refusal(self, call: Call) -> Cause | None:
        """Why this call is not taken now, or None."""
        ...


class CallSession:
    """One inbound call, from its webhook to its report.

    Args:
        connect: The webhook event that announced the call.
        desk: Settings, Graph client, directory, bot and hooks.
        phone_number_id: The business number's id.
    """

    def __init__(self, connect: CallConnect, desk: Desk, *, phone_number_id: str) -> None:
        self.call = Call(connect, phone_number_id=phone_number_id)
        self._connect = connect
        self._desk = desk
        self._graph = desk.graph
        self._timing = desk.config.timing
        self._bot = desk.bot
        self._loop = asyncio.get_running_loop()
        self._arrived = self._loop.time()
        self._meter = QualityMeter(self._arrived)
        self._packets = 0
        self._media_task: asyncio.Task[None] | None = None
        self._deadline = self._arrived + self._timing.accept_deadline - age_of(connect)
        self._context = contextvars.copy_context()
        self._timers: list[asyncio.TimerHandle] = []
        self._local: set[asyncio.Task[None]] = set()
        self._afterwards: set[asyncio.Task[None]] = set()
        self._pre_accept_sent = asyncio.Event()
        self._over = asyncio.Event()
        self._connection: WhatsAppConnection | None = None
        self._sdp = ""
        self._bot_task: asyncio.Task[None] | None = None

    async def run(self) -> CallReport | None:
        """Serve the call until it is over here and everything it held is released.

        Returns:
            What became of it; None for a call that is not ours to serve.
        """
        with logger.contextualize(call_id=self.call.id):
            self._context = contextvars.copy_context()
            if not await self._desk.directory.claim(self.call.id):
                logger.debug("Call {} is already served, or over", self.call.id)
                return None
            try:
                self._in_background(self._ring(), self._local)
                await self._over.wait()
            finally:
                await self._clean_up()
                await self._desk.directory.bury(self.call.id)
            return self.call.report()

    async def settled(self) -> None:
        """Wait until Meta has heard what it must hear of the call, and all is put away."""
        while self._afterwards:
            await asyncio.wait(self._afterwards)

    def hang_up(self, cause: Cause, detail: str = "") -> None:
        """End the call from our side."""
        self._signal(Signal.HANG_UP, cause, detail)

    def terminated(self, event: CallTerminate) -> None:
        """Take Meta's word that the call is over."""
        if not self.call.is_over:
            self.call.terminate = event
        words = "; ".join(f"{e.code} {e.title or e.message or ''}".strip() for e in event.errors)
        self._signal(Signal.TERMINATED, Cause.CALLER_HUNG_UP, words)

    def cancel_bot(self) -> None:
        """Stop waiting for the bot to end by itself."""
        if self._bot_task is not None:
            self._bot_task.cancel()

    def give_up(self) -> None:
        """Stop waiting for what is left to do after the call."""
        for task in self._afterwards:
            task.cancel()

    # What happens

    def _signal(self, signal: Signal, cause: Cause | None = None, detail: str = "") -> None:
        before = self.call.state
        after = self._loop.time() - self._arrived
        for action in self.call.apply(signal, after=after, cause=cause, detail=detail):
            self._perform(action)
        if self.call.state is not before and self._connection is not None:
            self._in_background(self._connection.announce(self.call.state.value), self._local)

    def _observe(self, event: LinkEvent) -> None:
        match event:
            case LinkEvent.UP:
                self._signal(Signal.LINKED)
            case LinkEvent.BOT_READY:
                self._signal(Signal.READY)
            case LinkEvent.BOT_HUNG_UP:
                self.hang_up(Cause.BOT_HUNG_UP)
            case LinkEvent.LOST:
                # The caller's hang-up closes the link too, and its webhook may be slower.
                self._after(self._timing.link_lost_grace, self._link_lost)

    def _link_lost(self) -> None:
        was_up = Signal.LINKED not in self.call.awaited
        self.hang_up(
            Cause.MEDIA_LOST if was_up else Cause.NO_MEDIA, "the link to the caller closed"
        )

    def _link_is_late(self) -> None:
        if Signal.LINKED in self.call.awaited:
            self.hang_up(
                Cause.NO_MEDIA,
                f"ICE and DTLS were not up after {self._timing.link_timeout:.0f} s: "
                "is UDP to the internet open?",
            )

    def _deadline_passed(self) -> None:
        awaited = self.call.awaited
        if self.call.state is State.RINGING:
            self.hang_up(Cause.NOT_READY, "on_incoming_call took too long")
        elif self.call.state is not State.CONNECTING:
            return
        elif Signal.PRE_ACCEPTED in awaited:
            self.hang_up(Cause.GRAPH_FAILED, "pre-accept was not answered in time")
        elif Signal.LINKED in awaited:
            self.hang_up(Cause.NO_MEDIA, "ICE and DTLS were not up in time")
        else:
            self.hang_up(Cause.NOT_READY, "the bot's pipeline was not ready in time")

    # What the law asks for

    def _perform(self, action: Action) -> None:
        match action:
            case Action.PRE_ACCEPT:
                self._in_background(self._pre_accept(), self._local)
            case Action.START_BOT:
                self._bot_task = self._in_background(self._run_bot(), set())
            case Action.ACCEPT:
                self._in_background(self._accept(), self._afterwards)
            case Action.OPEN_MEDIA:
                self._media_task = self._in_background(self._open_media(), self._local)
            case Action.REJECT:
                self._in_background(self._tell(self._graph.reject), self._afterwards)
            case Action.TERMINATE:
                self._in_background(self._tell(self._graph.terminate), self._afterwards)
            case Action.CLEAN_UP:
                self._over.set()

    async def _ring(self) -> None:
        """Decide on the call, and answer its offer."""
        self._after(self._deadline - self._loop.time(), self._deadline_passed)
        if (refusal := self._desk.refusal(self.call)) is not None:
            self.hang_up(refusal)
        elif await self._is_welcome():
            await self._answer()

    async def _is_welcome(self) -> bool:
        """Ask the application's hook whether to take the call, and with which bot."""
        hook = self._desk.on_incoming_call
        if hook is None:
            return True
        try:
            decision = await hook(self.call)
        except Exception as error:  # noqa: BLE001 - an application's hook may raise anything
            logger.exception("on_incoming_call raised; the call is rejected")
            self.hang_up(Cause.BOT_FAILED, f"on_incoming_call raised {type(error).__name__}")
            return False
        if isinstance(decision, Reject):
            self.hang_up(Cause.REJECTED, decision.reason)
            return False
        self._bot = decision or self._bot
        return True

    async def _answer(self) -> None:
        try:
            offer = read_offer(self._connect.sdp)
            self._connection, self._sdp = await answer_offer(
                offer, self._observe, ice_servers=self._desk.config.ice_servers
            )
        except SdpError as error:
            logger.warning("{}", error)
            self.hang_up(Cause.BAD_OFFER, str(error))
            return
        self._signal(Signal.ANSWERED)

    async def _pre_accept(self) -> None:
        try:
            await self._graph.pre_accept(
                self.call.phone_number_id,
                self.call.id,
                self._sdp,
                deadline=self._deadline,
                on_sent=self._pre_accept_sent.set,
            )
        except GraphError as error:
            self.hang_up(Cause.GRAPH_FAILED, str(error))
            return
        finally:
            self._pre_accept_sent.set()
        self._signal(Signal.PRE_ACCEPTED)
        if self._connection is not None:
            self._after(self._timing.link_timeout, self._link_is_late)
            await self._connection.start_link()

    async def _run_bot(self) -> None:
        # Building a pipeline may block the loop: the caller's phone must have our answer first.
        await self._pre_accept_sent.wait()
        if self.call.is_over or self._connection is None:
            return
        try:
            await self._bot(runner_arguments(self.call, self._connection))
        except Exception as error:  # noqa: BLE001 - a bot may raise anything
            logger.exception("The bot raised; the call ends")
            self.hang_up(Cause.BOT_FAILED, f"the bot raised {type(error).__name__}")
        else:
            self.hang_up(Cause.BOT_HUNG_UP)

    async def _accept(self) -> None:
        call = self.call
        try:
            await self._graph.accept(
                call.phone_number_id, call.id, self._sdp, deadline=self._deadline
            )
        except GraphUnreachableError as error:
            self._signal(Signal.ACCEPT_UNANSWERED, Cause.GRAPH_FAILED, str(error))
        except GraphError as error:
            self._signal(Signal.ACCEPT_REFUSED, Cause.GRAPH_FAILED, str(error))
        else:
            self._signal(Signal.ACCEPTED)

    async def _open_media(self) -> None:
        """Let sound through, and watch over it until the far end is gone."""
        assert self._connection is not None  # noqa: S101 - the law opens media after an answer only
        await self._connection.open()
        cause, silence = await watch(self._review, self._connection.has_consent, self._timing)
        self.hang_up(cause, f"no sign of life from the caller for {silence:.0f} s")

    async def _review(self) -> int:
        """Measure the call. What goes wrong is said, and must not end the watch over it."""
        assert self._connection is not None  # noqa: S101 - media are open
        try:
            self.call.quality, self._packets = await self._connection.review(self._meter)
        except Exception:  # noqa: BLE001
            logger.exception("The call could not be measured")
        return self._packets

    async def _tell(self, request: Callable[[str, str], Awaitable[None]]) -> None:
        """Tell Meta that the call is over."""
        try:
            await request(self.call.phone_number_id, self.call.id)
        except GraphError as error:
            # The usual reason is that the call has ended there already.
            logger.warning("Meta did not take the end of call {}: {}", self.call.id, error)

    # Tear-down

    async def _clean_up(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._media_task is not None:
            self._media_task.cancel()
        if self._connection is not None:
            if self._connection.is_connected():
                await self._review()
            await self._connection.close()
            self._in_background(self._connection.release(), self._afterwards)
        self._pre_accept_sent.set()
        await self._end_bot()
        for task in self._local:
            task.cancel()
        await asyncio.gather(*self._local, return_exceptions=True)

    async def _end_bot(self) -> None:
        task = self._bot_task
        if task is None:
            return
        await asyncio.wait({task}, timeout=self._timing.bot_grace)
        if not task.done():
            logger.warning(
                "The bot of call {} still runs {:.0f} s after the call's end; cancelling it",
                self.call.id,
                self._timing.bot_grace,
            )
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_TIMEOUT)
        if not task.done():
            logger.error("The bot of call {} cannot be cancelled; leaving it", self.call.id)

    def _in_background(
        self, coroutine: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]
    ) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine, context=self._context)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def _after(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(max(seconds, 0.0), callback))


def age_of(connect: CallConnect) -> float:
    """Seconds since Meta sent a connect, by its own timestamp; never negative."""
    if connect.timestamp is None:
        return 0.0
    return max(time.time() - connect.timestamp, 0.0)
