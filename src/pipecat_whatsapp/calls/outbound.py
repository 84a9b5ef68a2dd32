"""A call of ours: offered, placed, picked up."""

from __future__ import annotations

import asyncio
import contextvars
import secrets
from typing import Protocol

from loguru import logger

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.desk import Desk
from pipecat_whatsapp.calls.dial_order import DialOrder
from pipecat_whatsapp.calls.law import Action, Signal, State
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.calls.session import CallSession
from pipecat_whatsapp.calls.waiting import comes
from pipecat_whatsapp.errors import (
    CallingUnavailableError,
    CallLimitError,
    ConfigError,
    GraphUnreachableError,
    NotPermittedError,
    RateLimitError,
    SdpError,
    UncallableError,
    UserBusyError,
    WhatsAppError,
)
from pipecat_whatsapp.media.connection import LinkEvent
from pipecat_whatsapp.media.offering import make_offer
from pipecat_whatsapp.meta.events import (
    CallConnect,
    CallEvent,
    CallStatus,
    CallTerminate,
    Direction,
)

LATE_WORD_SECONDS = 60.0
"""How long a call that counts as not placed is still watched for: a phone may ring after all."""

_STATUSES = {
    "RINGING": Signal.ALERTED,
    "ACCEPTED": Signal.PICKED_UP,
    "REJECTED": Signal.DECLINED,
}

_REFUSALS: tuple[tuple[type[WhatsAppError], Cause], ...] = (
    (NotPermittedError, Cause.NOT_PERMITTED),
    (CallingUnavailableError, Cause.NOT_PERMITTED),
    (UncallableError, Cause.UNCALLABLE),
    (UserBusyError, Cause.USER_BUSY),
    (CallLimitError, Cause.LIMIT_REACHED),
    (RateLimitError, Cause.LIMIT_REACHED),
)


class Watcher(Protocol):
    """What a call of ours tells of its id."""

    def placed(self, session: OutboundSession) -> None:
        """The call's id is known; told once."""

    def reply_lost(self, session: OutboundSession) -> None:
        """Connect got no answer: only a webhook can tell the call's id."""


class OutboundSession(CallSession):
    """One call of ours, from its offer to its report.

    Args:
        order: The call to place.
        desk: Settings, Graph client, claims and hooks.
        watcher: Told when the call's id is known, and when Meta does not tell it.
    """

    def __init__(self, order: DialOrder, desk: Desk, watcher: Watcher) -> None:
        call = Call(
            call_id="",
            phone_number_id=order.phone_number_id,
            direction=Direction.OUTBOUND,
            user=order.user,
            biz_opaque_callback_data=order.biz_opaque_callback_data,
        )
        super().__init__(call, order.bot, desk)
        self._order = order
        # It tells our call among those of other applications while its id is still unknown.
        self._callback_data = order.biz_opaque_callback_data or secrets.token_urlsafe(16)
        self._watcher = watcher
        self._reply_lost = False
        self._is_placed = asyncio.Event()
        self._decided = asyncio.Event()
        self._offer = ""
        self._answer: str | None = None

    async def decided(self) -> None:
        """Wait until the user has picked up, or the call is over."""
        await self._decided.wait()

    def is_told_of_by(self, event: CallEvent) -> bool:
        """Whether an event tells the id of this call, which the answer to connect has not told."""
        if self.call.id or not isinstance(event, CallConnect | CallStatus | CallTerminate):
            return False
        if event.biz_opaque_callback_data != self._callback_data:
            return False
        if self._order.biz_opaque_callback_data is None:
            return True
        # What the application attached may be attached to other calls, too: the last resort.
        ours, theirs = self.call.user, event.user
        same = {ours.phone, ours.user_id} & {theirs.phone, theirs.user_id} - {None}
        return self._reply_lost and bool(same)

    def placed(self, call_id: str) -> None:
        """Meta has taken the call, and this is its id."""
        if self.call.id:
            return
        self.call.id = call_id
        self._context = self._context.copy().run(_naming, call_id)
        self._is_placed.set()
        self._signal(Signal.PLACED)
        self._in_background(self._note_owner(), self._afterwards)
        self._watcher.placed(self)

    def take(self, event: CallEvent) -> None:
        """Take what a webhook says of the call."""
        match event:
            case CallConnect():
                self._take_answer(event)
            case CallStatus() if event.status in _STATUSES:
                self._signal(_STATUSES[event.status])
            case CallTerminate():
                self._terminated(event, self._cause_of(event))

    def _take_answer(self, event: CallConnect) -> None:
        if self._answer is None:
            self._answer = event.sdp
            self.call.business_phone = event.business_phone or self.call.business_phone
            self._signal(Signal.ANSWERED)

    def _cause_of(self, event: CallTerminate) -> Cause:
        if self.call.answered_after is not None or event.start_time is not None:
            return Cause.CALLER_HUNG_UP
        return Cause.NOT_CONNECTED if event.errors else Cause.UNANSWERED

    async def _may_begin(self) -> bool:
        return True

    async def _begin(self) -> None:
        """Write the offer."""
        self._after(self._order.ring_timeout, self._rang_out)
        if (refusal := self._desk.admit(self.call)) is not None:
            self.hang_up(refusal, "no further call is taken now")
            return
        try:
            self._connection, self._offer = await make_offer(
                self._observe,
                ice_servers=self._desk.config.ice_servers,
                network=self._desk.config.network,
            )
        except ConfigError as error:
            self.hang_up(Cause.NO_MEDIA, str(error))
            return
        self._signal(Signal.OFFERED)

    def _signal(self, signal: Signal, cause: Cause | None = None, detail: str = "") -> None:
        super()._signal(signal, cause, detail)
        if self.call.is_over or self.call.answered_after is not None:
            self._decided.set()
        if signal is Signal.PICKED_UP and self.call.state is State.PICKED_UP:
            self._after(self._timing.link_timeout, self._media_are_late)

    def _observe(self, event: LinkEvent) -> None:
        if event is LinkEvent.VOICE:
            # Who speaks has picked up, even if the webhook that says so is late or lost.
            self._signal(Signal.PICKED_UP)
        else:
            super()._observe(event)

    def _media_are_late(self) -> None:
        if self.call.state is not State.PICKED_UP:
            return
        if Signal.LINKED in self.call.awaited:
            self._link_is_late()
        else:
            self.hang_up(Cause.NOT_READY, "the bot's pipeline was not ready in time")

    def _rang_out(self) -> None:
        if self.call.answered_after is None:
            seconds = self._order.ring_timeout
            self.hang_up(Cause.UNANSWERED, f"nobody picked up within {seconds:.0f} s")

    def _perform(self, action: Action) -> None:
        match action:
            case Action.CONNECT:
                self._in_background(self._connect(), self._afterwards)
            case Action.START_LINK:
                self._in_background(self._start_link(), self._local)
            case _:
                super()._perform(action)

    async def _connect(self) -> None:
        """Place the call: once, since nobody knows what became of a request without an answer."""
        order = self._order
        if order.biz_opaque_callback_data is None:
            await self._expect_word()
        try:
            call_id = await self._graph.connect(
                order.phone_number_id,
                order.user,
                self._offer,
                biz_opaque_callback_data=self._callback_data,
                recording=order.recording,
                transcription=order.transcription,
            )
        except GraphUnreachableError as error:
            await self._wait_for_word(str(error))
        except WhatsAppError as error:
            cause = next((c for kind, c in _REFUSALS if isinstance(error, kind)), None)
            self._signal(Signal.CONNECT_REFUSED, cause or Cause.GRAPH_FAILED, str(error))
        except Exception:
            self._signal(Signal.CONNECT_REFUSED, Cause.BROKEN, "connect could not be sent")
            raise
        else:
            self.placed(call_id)
        finally:
            if not self.call.id:
                await self._desk.claims.expect_no_more(self._callback_data)

    async def _expect_word(self) -> None:
        """Let webhooks find this process though they tell an id that nobody knows yet."""
        await self._desk.claims.expect(self._callback_data, self.call)

    async def _wait_for_word(self, why: str) -> None:
        """Meta may have placed the call: then a webhook tells its id."""
        self._reply_lost = True
        # By what the application attached as well: see `is_told_of_by`.
        await self._expect_word()
        self._watcher.reply_lost(self)
        if not await comes(self._is_placed, self._timing.lost_reply_patience):
            self.hang_up(Cause.GRAPH_FAILED, why)
        if not await comes(self._is_placed, LATE_WORD_SECONDS):
            self._signal(Signal.CONNECT_LOST)

    async def _note_owner(self) -> None:
        """Let webhooks find this process; of a call that is over nobody shall hear again."""
        claims = self._desk.claims
        await claims.claim(self.call)
        if self.call.is_over:
            await claims.bury(self.call.id)
        await claims.expect_no_more(self._callback_data)

    async def _start_link(self) -> None:
        assert self._connection is not None  # noqa: S101 - the offer came from it
        try:
            await self._connection.take_answer(self._answer or "")
        except SdpError as error:
            logger.warning("{}", error)
            self.hang_up(Cause.BAD_OFFER, str(error))


def _naming(call_id: str) -> contextvars.Context:
    """The running context, but for the call's id in the log."""
    with logger.contextualize(call_id=call_id):
        return contextvars.copy_context()
