"""A user's call: decided on, answered, accepted."""

from __future__ import annotations

import asyncio

from loguru import logger

from pipecat_whatsapp.calls.bot import Accept, HoldBack, Reject
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.desk import Desk
from pipecat_whatsapp.calls.law import Action, Signal, State
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.calls.session import CallSession
from pipecat_whatsapp.errors import (
    ConfigError,
    GraphError,
    GraphUnreachableError,
    InvalidRequestError,
    SdpError,
)
from pipecat_whatsapp.media.answering import answer_offer
from pipecat_whatsapp.media.sdp import read_offer
from pipecat_whatsapp.meta.events import CallConnect, CallEvent, CallTerminate


class InboundSession(CallSession):
    """One call of a user, from its webhook to its report.

    Args:
        connect: The webhook event that announced the call.
        desk: Settings, Graph client, claims, bot and hooks.
        phone_number_id: The business number's id.
        age: Seconds since Meta sent it.
        was_handed_on: Whether another process has left the call to this one.
    """

    def __init__(
        self,
        connect: CallConnect,
        desk: Desk,
        *,
        phone_number_id: str,
        age: float,
        was_handed_on: bool,
    ) -> None:
        super().__init__(Call.announced(connect, phone_number_id=phone_number_id), desk.bot, desk)
        self._offer = connect.sdp
        self._was_handed_on = was_handed_on
        self._deadline = self._began + self._timing.accept_deadline - age
        self._terms = Accept()
        self._pre_accept_sent = asyncio.Event()
        self._sdp = ""
        self._is_claimed = False
        self._hang_up_when_claimed: tuple[Cause, str] | None = None

    def take(self, event: CallEvent) -> None:
        """Take what a webhook says of the call."""
        if isinstance(event, CallTerminate):
            self._terminated(event)
        else:
            logger.debug("Call {} was announced again", event.call_id)

    def hang_up(self, cause: Cause, detail: str = "") -> None:
        """End the call from our side, once it is known to be ours."""
        if self._is_claimed:
            super().hang_up(cause, detail)
        else:
            self._hang_up_when_claimed = cause, detail

    async def _may_begin(self) -> bool:
        self._is_claimed = await self._desk.claims.claim(self.call)
        if not self._is_claimed:
            logger.debug("Call {} is already served, or over", self.call.id)
        return self._is_claimed

    async def _begin(self) -> None:
        """Decide on the call, and answer its offer."""
        if self._hang_up_when_claimed is not None:
            self.hang_up(*self._hang_up_when_claimed)
        if self.call.is_over:
            return
        self._after(self._deadline - self._loop.time(), self._deadline_passed)
        if (refusal := self._desk.admit(self.call)) is not None:
            self.hang_up(refusal)
        elif await self._is_welcome():
            await self._answer()

    def _deadline_passed(self) -> None:
        awaited = self.call.awaited
        if self.call.state is State.RINGING:
            self.hang_up(Cause.NOT_READY, "on_incoming_call, or the SDP answer, took too long")
        elif self.call.state is not State.CONNECTING:
            return
        elif Signal.PRE_ACCEPTED in awaited:
            self.hang_up(Cause.GRAPH_FAILED, "pre-accept was not answered in time")
        elif Signal.LINKED in awaited:
            self.hang_up(Cause.NO_MEDIA, "ICE and DTLS were not up in time")
        else:
            self.hang_up(Cause.NOT_READY, "the bot's pipeline was not ready in time")

    def _perform(self, action: Action) -> None:
        match action:
            case Action.PRE_ACCEPT:
                self._in_background(self._pre_accept(), self._local)
            case Action.ACCEPT:
                self._in_background(self._accept(), self._afterwards)
            case _:
                super()._perform(action)

    async def _is_welcome(self) -> bool:
        """Ask the application's hook whether to take the call, and on which terms."""
        hook = self._desk.hooks.on_incoming_call
        if hook is None:
            return True
        try:
            decision = await hook(self.call)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a hook may raise anything
            logger.exception("on_incoming_call raised; the call is rejected")
            self.hang_up(Cause.BOT_FAILED, f"on_incoming_call raised {type(error).__name__}")
            return False
        match decision:
            case None:
                return True
            case Reject():
                self.hang_up(Cause.REJECTED, decision.reason)
                return False
            case HoldBack():
                self._signal(Signal.HELD_BACK, Cause.HELD_BACK, decision.reason)
                return False
            case Accept():
                self._terms = decision
            case _:
                self._terms = Accept(bot=decision)
        self._bot = self._terms.bot or self._bot
        self.call.biz_opaque_callback_data = self._terms.biz_opaque_callback_data
        return True

    async def _answer(self) -> None:
        try:
            offer = read_offer(self._offer)
            self._connection, self._sdp = await answer_offer(
                offer,
                self._observe,
                ice_servers=self._desk.config.ice_servers,
                network=self._desk.config.network,
            )
        except SdpError as error:
            logger.warning("{}", error)
            self.hang_up(Cause.BAD_OFFER, str(error))
            return
        except ConfigError as error:
            self.hang_up(Cause.NO_MEDIA, str(error))
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
            if self._is_outrun(error):
                self.outrun(str(error))
                return
            if not _was_done_before(error):
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
        await super()._run_bot()

    async def _accept(self) -> None:
        call, terms = self.call, self._terms
        try:
            await self._graph.accept(
                call.phone_number_id,
                call.id,
                self._sdp,
                deadline=self._deadline,
                biz_opaque_callback_data=terms.biz_opaque_callback_data,
                recording=terms.recording,
                transcription=terms.transcription,
            )
        except GraphError as error:
            if self._is_outrun(error):
                self.outrun(str(error))
            elif _was_done_before(error):
                self._signal(Signal.ACCEPTED)
            elif isinstance(error, GraphUnreachableError):
                self._signal(Signal.ACCEPT_UNANSWERED, Cause.GRAPH_FAILED, str(error))
            else:
                self._signal(Signal.ACCEPT_REFUSED, Cause.GRAPH_FAILED, str(error))
        except Exception:
            self._signal(Signal.ACCEPT_UNANSWERED, Cause.BROKEN, "accept could not be sent")
            raise
        else:
            self._signal(Signal.ACCEPTED)

    def _is_outrun(self, error: GraphError) -> bool:
        """Whether Meta refuses us because another process may have been faster."""
        # Who handed the call on may not know that it came here, and serve it, too.
        may_be_others = self._was_handed_on or self._desk.claims.is_unsure(self.call.id)
        return may_be_others and isinstance(error, InvalidRequestError)

    async def _end_bot(self) -> None:
        self._pre_accept_sent.set()
        await super()._end_bot()


def _was_done_before(error: GraphError) -> bool:
    """Whether Meta refuses to do again what it did when its answer was lost.

    Should it refuse because the call is over, its terminate says so, or the silence on the line.
    """
    refusal = error.refusal if isinstance(error, GraphUnreachableError) else None
    return isinstance(refusal, InvalidRequestError)
