"""One running call: feeds the law with what happens, and performs what it asks for.

Here is what a user's call and a call of ours have in common; `inbound.py` and `outbound.py` have
the rest.
"""

from __future__ import annotations

import asyncio
import contextvars
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from loguru import logger

from pipecat_whatsapp.calls.bot import Bot, runner_arguments
from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.desk import Desk
from pipecat_whatsapp.calls.hooks import words_of
from pipecat_whatsapp.calls.law import Action, Signal, State
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.calls.watchdog import watch
from pipecat_whatsapp.errors import GraphError, WhatsAppError
from pipecat_whatsapp.media.connection import LinkEvent, WhatsAppConnection
from pipecat_whatsapp.media.quality import QualityMeter
from pipecat_whatsapp.meta.events import CallEvent, CallTerminate

CANCEL_TIMEOUT = 20.0
"""Seconds that a cancelled bot gets, as pipecat gives a cancelled pipeline."""


class CallSession(ABC):
    """One call, from its beginning to its report.

    Args:
        call: The call.
        bot: The bot that talks in it.
        desk: Settings, Graph client, claims and hooks.
    """

    def __init__(self, call: Call, bot: Bot, desk: Desk) -> None:
        self.call = call
        self.contact = Contact(desk.graph, call.phone_number_id, call.user)
        self._bot = bot
        self._desk = desk
        self._graph = desk.graph
        self._timing = desk.config.timing
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._meter = QualityMeter(self._began)
        self._packets = 0
        self._context = contextvars.copy_context()
        self._timers: list[asyncio.TimerHandle] = []
        self._local: set[asyncio.Task[None]] = set()
        self._afterwards: set[asyncio.Task[None]] = set()
        self._media_task: asyncio.Task[None] | None = None
        self._bot_task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._put_away = asyncio.Event()
        self._connection: WhatsAppConnection | None = None

    async def run(self) -> CallReport | None:
        """Serve the call until it is over here and everything it held is released.

        Returns:
            What became of it; None for a call that is not ours to serve.
        """
        with logger.contextualize(call_id=self.call.id):
            self._context = contextvars.copy_context()
            if not await self._may_begin():
                return None
            self._desk.observers.call_began(self.call)
            self._context = contextvars.copy_context()
            try:
                self._in_background(self._begin(), self._local)
                await self._over.wait()
            finally:
                await self._put_all_away()
            report = self.call.report()
            # A call of ours has got its id meanwhile.
            self._context.run(self._desk.observers.call_ended, report)
            return report

    async def report(self) -> CallReport:
        """Wait until the call is over here. Returns what became of it."""
        await self._put_away.wait()
        return self.call.report()

    async def settled(self) -> None:
        """Wait until Meta has heard what it must hear of the call, and all is put away."""
        while self._afterwards:
            await asyncio.wait(self._afterwards)

    def hang_up(self, cause: Cause, detail: str = "") -> None:
        """End the call from our side."""
        self._signal(Signal.HANG_UP, cause, detail)

    def end_was_told(self) -> None:
        """Another process has heard of the call's end, or brought it about."""
        if self.is_with_meta:
            # Once too often does no harm; not at all would leave the user on a dead line.
            self.hang_up(Cause.ENDED_ELSEWHERE)
        else:
            self._signal(Signal.TERMINATED, Cause.ENDED_ELSEWHERE)

    def outrun(self, detail: str = "") -> None:
        """Another process answers the call."""
        self._signal(Signal.OUTRUN, detail=detail)

    @property
    def is_with_meta(self) -> bool:
        """Whether Meta has connected the call to this process, or was asked to."""
        return self.call.state is not State.RINGING

    async def say_goodbye(self) -> None:
        """Tell the bot that the call is about to be ended from here."""
        if self._connection is not None:
            await self._connection.say_goodbye()

    @abstractmethod
    def take(self, event: CallEvent) -> None:
        """Take what a webhook says of the call."""

    def cancel_bot(self) -> None:
        """Stop waiting for the bot to end by itself."""
        # Once: a second time would break into its clean-up.
        if self._bot_task is not None and not self._bot_task.cancelling():
            self._bot_task.cancel()

    def give_up(self) -> None:
        """Stop waiting for what is left to do after the call."""
        if self._afterwards:
            logger.warning("Gave up what is left to do of call {}", self.call.id)
        for task in self._afterwards:
            task.cancel()

    # What happens

    @abstractmethod
    async def _may_begin(self) -> bool:
        """Whether this call is ours to serve."""

    @abstractmethod
    async def _begin(self) -> None:
        """Set the call up."""

    def _signal(self, signal: Signal, cause: Cause | None = None, detail: str = "") -> None:
        before = self.call.state
        after = self._loop.time() - self._began
        for action in self.call.apply(signal, after=after, cause=cause, detail=detail):
            self._perform(action)
        if self.call.state is not before and self._connection is not None:
            self._in_background(self._connection.announce(self.call.state.value), self._local)

    def _terminated(self, event: CallTerminate, cause: Cause = Cause.CALLER_HUNG_UP) -> None:
        """Take Meta's word that the call is over."""
        if not self.call.is_over:
            self.call.terminate = event
        self._signal(Signal.TERMINATED, cause, "; ".join(map(words_of, event.errors)))

    def _observe(self, event: LinkEvent) -> None:
        match event:
            case LinkEvent.ICE_UP:
                self.call.ice_up_after = self._loop.time() - self._began
            case LinkEvent.UP:
                self._signal(Signal.LINKED)
            case LinkEvent.BOT_READY:
                self._signal(Signal.READY)
            case LinkEvent.BOT_HUNG_UP:
                self.hang_up(Cause.BOT_HUNG_UP)
            case LinkEvent.LOST:
                # The user's hang-up closes the link too, and its webhook may be slower.
                self._after(self._timing.link_lost_grace, self._link_lost)

    def _link_lost(self) -> None:
        was_up = Signal.LINKED not in self.call.awaited
        self.hang_up(Cause.MEDIA_LOST if was_up else Cause.NO_MEDIA, "the link to the user closed")

    def _link_is_late(self) -> None:
        if Signal.LINKED in self.call.awaited:
            self.hang_up(
                Cause.NO_MEDIA,
                f"ICE and DTLS were not up after {self._timing.link_timeout:.0f} s: "
                "is UDP to the internet open?",
            )

    # What the law asks for

    def _perform(self, action: Action) -> None:
        match action:
            case Action.START_BOT:
                self._bot_task = self._in_background(self._run_bot(), set())
            case Action.OPEN_MEDIA:
                self._media_task = self._in_background(self._open_media(), self._local)
            case Action.REJECT:
                self._in_background(self._tell(self._graph.reject), self._afterwards)
            case Action.TERMINATE:
                self._in_background(self._tell(self._graph.terminate), self._afterwards)
            case Action.CLEAN_UP:
                self._over.set()

    async def _run_bot(self) -> None:
        if self.call.is_over or self._connection is None:
            return
        try:
            await self._bot(
                runner_arguments(self.call, self._connection, self.contact, self._desk.cli_args)
            )
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a bot may raise anything
            logger.exception("The bot raised; the call ends")
            self.hang_up(Cause.BOT_FAILED, f"the bot raised {type(error).__name__}")
        else:
            self.hang_up(Cause.BOT_HUNG_UP)

    async def _open_media(self) -> None:
        """Let sound through, and watch over it until the far end is gone."""
        assert self._connection is not None  # noqa: S101 - the law opens media of a link only
        await self._connection.open()
        if (limit := self._desk.config.max_call_duration) is not None:
            self._after(limit, lambda: self.hang_up(Cause.TIME_LIMIT))
        cause, silence = await watch(self._review, self._connection.has_consent, self._timing)
        self.hang_up(cause, f"no sign of life from the user for {silence:.0f} s")

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

    async def _put_all_away(self) -> None:
        """Release what the call held; what fails on the way is logged, and stops nothing."""
        try:
            for step in (self._close_link, self._end_bot, self._end_tasks, self._bury):
                try:
                    await step()
                except Exception:  # noqa: BLE001 - the rest must be put away whatever happens
                    logger.exception("Call {} could not be put away in full", self.call.id)
        finally:
            self._put_away.set()

    async def _close_link(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._media_task is not None:
            self._media_task.cancel()
        if self._connection is not None:
            if self._connection.is_connected():
                await self._review()
            await self._connection.close()

    async def _end_tasks(self) -> None:
        for task in self._local:
            task.cancel()
        await asyncio.gather(*self._local, return_exceptions=True)
        if self._connection is not None:
            # Once more, for one that came up only now.
            await self._connection.close()
            self._in_background(self._connection.release(), self._afterwards)

    async def _bury(self) -> None:
        if self.call.cause is Cause.SERVED_ELSEWHERE:
            await self._desk.claims.release(self.call.id)  # There it goes on.
        elif self.call.id:
            await self._desk.claims.bury(self.call.id)

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
        task.add_done_callback(self._check)
        return task

    def _check(self, task: asyncio.Task[None]) -> None:
        """A call shall not hang because a task of it broke, or waited for what was cancelled."""
        if task.cancelled():
            # Here tasks are cancelled of calls that are over only.
            self.hang_up(Cause.BOT_FAILED, "something that the bot or a hook awaits was cancelled")
        elif (error := task.exception()) is not None:
            is_ours = isinstance(error, WhatsAppError)
            what = str(error) if is_ours else f"a task of the call raised {type(error).__name__}"
            # What we raise says all, and where it came from loguru may print our settings.
            logger.opt(exception=None if is_ours else error).error(
                "Call {} broke: {}", self.call.id, what
            )
            self.hang_up(Cause.BROKEN, what)

    def _after(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(max(seconds, 0.0), callback))
