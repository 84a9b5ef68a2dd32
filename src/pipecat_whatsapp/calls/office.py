"""All that serves calls in one process, behind the adapter's public face."""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import socket
from collections.abc import Sequence
from functools import partial

from loguru import logger

from pipecat_whatsapp.calls.background import Background
from pipecat_whatsapp.calls.bot import Bot
from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.capacity import LagMeter, watch_lag
from pipecat_whatsapp.calls.claims import Claims
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.dialler import Dialler
from pipecat_whatsapp.calls.directory import CallDirectory, Holding, Standing, is_alias
from pipecat_whatsapp.calls.exchange import Exchange
from pipecat_whatsapp.calls.hooks import Hooks, guarded, log_event, log_report
from pipecat_whatsapp.calls.law import Signal
from pipecat_whatsapp.calls.letters import Forwarded, HangUp, Message
from pipecat_whatsapp.calls.neighbours import Neighbours
from pipecat_whatsapp.calls.observer import Observer, Observers
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.calls.post import Post
from pipecat_whatsapp.calls.pulse import Pulse
from pipecat_whatsapp.calls.session import CallSession
from pipecat_whatsapp.calls.switchboard import Switchboard
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import GraphError, GraphRequestError
from pipecat_whatsapp.meta.events import CallPermissionReply, Direction, Event, User
from pipecat_whatsapp.meta.graph import GraphClient


class Office:
    """The calls of one process, and its part in a deployment of several.

    Args:
        config: Settings.
        bot: The usual bot.
        directory: What it shares with other processes.
        hooks: The application's.
        cli_args: Given to every bot.
        observers: Told what happens.
    """

    def __init__(
        self,
        config: WhatsAppConfig,
        bot: Bot,
        *,
        directory: CallDirectory,
        hooks: Hooks,
        cli_args: argparse.Namespace | None,
        observers: Sequence[Observer],
    ) -> None:
        self.config = config
        self.bot = bot
        self.hooks = hooks
        self.cli_args = cli_args
        self.observers: Observer = Observers(observers)
        self.graph = GraphClient(
            token=config.token,
            url=config.graph_url,
            version=config.graph_version,
            on_attempt=self.observers.graph_request,
        )
        self.directory = directory
        self.is_draining = False
        self.tasks = Background()
        self._loops = Background()
        self._lag = LagMeter()
        self._host = socket.gethostname()
        self._is_started = False
        self._orphans: set[str] = set()
        self.neighbours = Neighbours(directory.node)
        self.claims = Claims(directory, self.open_letters)
        self.switchboard = Switchboard(self, self.tasks)
        self.dialler = Dialler(self, self.switchboard)
        self.post = Post(directory, self.claims.ask, self)
        self.pulse = Pulse(self, directory, self.claims, self.neighbours)
        self._exchange = Exchange(
            self, self.switchboard, self.neighbours, self.post, self.tasks, self._loops
        )

    def start(self) -> None:
        """Tell other processes of this one, and serve what they send. Safe to repeat."""
        if self._is_started:
            return
        self._is_started = True
        self.observers.capacity(self.config.max_calls)
        # The first request may bring this about, but what comes later is no part of its trace.
        contextvars.Context().run(self._run_loops)

    def _run_loops(self) -> None:
        self._loops(self.pulse.run())
        self._loops(self.post.run())
        self._loops(watch_lag(self._lag, self.observers.lag))

    async def close(self) -> None:
        """Leave the deployment, and close all connections. Safe to repeat."""
        await self._loops.cancel()
        if self._is_started:
            await self.post.leave(self.neighbours.names())
        await self.tasks.cancel()
        await self.directory.close()
        await self.graph.close()

    # How it stands

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that are not over."""
        return self.switchboard.calls

    @property
    def standing(self) -> Standing:
        """What other processes may know of this one."""
        calls, limit = len(self.calls), self.config.max_calls
        room = None if limit is None else max(limit - calls, 0)
        return Standing(
            calls=calls,
            room=room if self.refusal() is None else 0,
            region=self.config.region,
            host=self._host,
        )

    def refusal(self) -> Cause | None:
        """Why a further call is not taken now; or None."""
        return self._refusal_beside(len(self.calls))

    def admit(self, call: Call) -> Cause | None:
        """Give a call that has begun its place. Returns why there is none, or None."""
        # Of those that have not been decided on yet, most may be refused, or another's.
        refusal = self._refusal_beside(sum(c.is_admitted for c in self.calls))
        call.is_admitted = refusal is None
        return refusal

    def _refusal_beside(self, calls: int) -> Cause | None:
        if self.is_draining:
            return Cause.SHUTDOWN
        limit, max_lag = self.config.max_calls, self.config.max_lag
        if limit is not None and calls >= limit:
            return Cause.BUSY
        if max_lag is not None and self._lag.mean > max_lag:
            return Cause.OVERLOADED
        return None

    def hindrance(self) -> str | None:
        """Why neither this process nor another of this machine takes a further call; or None."""
        if self.is_draining:
            return "this process is ending"
        if (refusal := self.refusal()) is None:
            return None
        if self.neighbours.with_room(self._host, asyncio.get_running_loop().time()):
            return None
        return f"no further call is taken: {refusal.value}"

    # What webhooks and other processes say

    async def take(self, body: bytes) -> None:
        """Serve a webhook: calls first, then what is for the application."""
        hook = self.hooks.on_webhook_event
        for event in await self._exchange.take(body):
            log_event(event)
            if hook is not None:
                await guarded(partial(hook, event), "on_webhook_event")

    async def read(self, message: Message) -> None:
        """Do what another process asks for."""
        match message:
            case Forwarded(body, hops, age):
                await self._exchange.take(body, hops=hops, age=age)
            case HangUp(call_id):
                if (session := self.switchboard.find(call_id)) is not None:
                    session.hang_up(Cause.APP_HUNG_UP)

    def open_letters(self, letters: Sequence[str]) -> None:
        """Read letters that have waited for a call of this process."""
        if letters:
            self.tasks(self.post.open(letters))

    def take_permission(self, event: CallPermissionReply) -> bool:
        """Take a user's answer. Returns whether somebody here waited for it."""
        return self.dialler.permissions.take(event)

    def served(self, event: Event, result: str) -> None:
        """An event was dealt with."""
        self.observers.webhook(type(event).__name__, result)

    # What the pulse tells

    def lost(self, call_id: str, owner: str | None) -> None:
        """A call is another's, or is over, as the directory has it."""
        session = self.switchboard.find(call_id)
        if session is None:
            self.claims.drop(call_id)
        elif owner is None:
            session.end_was_told()
        elif session.is_with_meta:
            self.tasks(self.claims.seize(call_id))
        else:
            session.outrun()

    def inherit(self, call_id: str, holding: Holding) -> None:
        """A dead process has left this call, and it is for this process to end it."""
        if is_alias(call_id):
            # It was being placed: without an id nobody can end it.
            self.tasks(self.claims.release(call_id))
        elif self.switchboard.find(call_id) is None and call_id not in self._orphans:
            self._orphans.add(call_id)
            self.tasks(self._end_orphan(call_id, holding))

    async def _end_orphan(self, call_id: str, holding: Holding) -> None:
        call = Call(
            call_id=call_id,
            phone_number_id=holding.phone_number_id,
            direction=holding.direction,
            user=User(),
        )
        try:
            await self._end_at_meta(call)
        except GraphError as error:
            logger.warning("Meta did not take the end of call {}: {}", call_id, error)
        await self.claims.bury(call_id)
        self._orphans.discard(call_id)
        call.apply(Signal.HANG_UP, after=0.0, cause=Cause.PROCESS_DIED)
        self.observers.call_ended(call.report())
        await self.call_ended(call.report())

    async def _end_at_meta(self, call: Call) -> None:
        """End a call of which nobody knows how far it had come."""
        try:
            await self.graph.terminate(call.phone_number_id, call.id)
        except GraphRequestError:
            if call.direction is Direction.OUTBOUND:
                raise
            await self.graph.reject(call.phone_number_id, call.id)

    # The application

    async def call_ended(self, report: CallReport, session: CallSession | None = None) -> None:
        """Tell the application what became of a call.

        Args:
            report: What became of it.
            session: What served it; None when that was another process, which is no more.
        """
        log_report(report)
        ended, missed = self.hooks.on_call_ended, self.hooks.on_missed_call
        if ended is not None:
            await guarded(partial(ended, report), "on_call_ended")
        if missed is not None and session is not None and _is_missed(report):
            await guarded(partial(missed, session.call, session.contact), "on_missed_call")

    def contact(self, user: User, phone_number_id: str | None) -> Contact:
        """Somebody to send messages to."""
        return Contact(self.graph, self.dialler.number(phone_number_id), user)


def _is_missed(report: CallReport) -> bool:
    """Whether a user called for nothing. Elsewhere it may ring still, or somebody may talk."""
    is_theirs = report.direction is Direction.INBOUND
    return is_theirs and not report.answered and report.cause not in _SOMEBODY_ELSES


_SOMEBODY_ELSES = (Cause.HELD_BACK, Cause.SERVED_ELSEWHERE)
