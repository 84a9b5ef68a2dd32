"""One call as Meta sees it: between a user's phone and a business."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import ClassVar, Protocol, runtime_checkable

from pipecat_whatsapp.meta.events import Direction, MetaErrorInfo, User
from pipecat_whatsapp.simulator.payloads import CallFacts
from pipecat_whatsapp.simulator.rules import RefusalError, check_answer
from pipecat_whatsapp.simulator.webhooks import Delivery

CONNECT_TIMEOUT = 138007

FAILED = "failed"
NOT_ANSWERED = "not answered"
REJECTED = "rejected"


class CallState(Enum):
    """How far a call has come, seen from Meta."""

    RINGING = "ringing"
    PRE_ACCEPTED = "pre-accepted"
    ACCEPTED = "accepted"
    ENDED = "ended"


class Leg(Protocol):
    """The phone's end of a call, as Meta drives it. Callbacks must return at once."""

    def on_answer(self, sdp: str) -> None:
        """The business's SDP is known, so the media path can be built; called once."""

    def on_accepted(self) -> None:
        """The business has picked up."""

    def on_ended(self, reason: str) -> None:
        """The call ended, though not by the user: "rejected", "terminated", "not answered"."""


@runtime_checkable
class Recordable(Protocol):
    """A leg that knows what was heard."""

    def recorded(self) -> bytes:
        """All that was heard so far, as `sound` has it."""


class CallObserver(Protocol):
    """Who tells the world what becomes of a call. Each is called once at most."""

    def on_answered(self, call: MetaCall) -> None:
        """It was picked up."""

    def on_declined(self, call: MetaCall) -> None:
        """The user declined; `on_end` follows."""

    def on_end(self, call: MetaCall, error: MetaErrorInfo | None) -> asyncio.Future[Delivery]:
        """It ended, and if `error` is given it failed; returns the terminate webhook's delivery."""


class MetaCall:
    """A call between a user and the business.

    The methods named after Graph actions raise `RefusalError` where Meta answers with an error,
    and then change nothing.

    Args:
        call_id: The call's id.
        user: The user on the other side.
        leg: The user's phone.
        observer: Told what becomes of the call.
        clock: Unix seconds.
        patience: Seconds until an unanswered call ends.
        extras: What the call's webhooks carry besides, such as `cta_payload`.
        captures: What Meta is to make of the call: "recording", "transcription".
    """

    direction: ClassVar[Direction]

    def __init__(
        self,
        call_id: str,
        user: User,
        leg: Leg,
        observer: CallObserver,
        clock: Callable[[], float],
        *,
        patience: float,
        extras: dict[str, str],
        captures: frozenset[str] = frozenset(),
    ) -> None:
        self.id = call_id
        self.user = user
        self.leg = leg
        self.extras = extras
        self.captures = captures
        self.state = CallState.RINGING
        self.accepted_at: float | None = None
        self.ended_reason: str | None = None
        self._observer = observer
        self._clock = clock
        self._farewell: asyncio.Future[Delivery] | None = None
        self._deadline = asyncio.get_running_loop().call_later(patience, self._expire)

    @property
    def facts(self) -> CallFacts:
        """What webhooks tell of the call."""
        return CallFacts(self.id, self.user, self.direction, self.extras)

    def terminate(self) -> None:
        """The business hangs up; possible before the call is answered, too."""
        self._demand_live()
        self._end("terminated", tell_leg=True)

    def hang_up(self, error: MetaErrorInfo | None = None) -> asyncio.Future[Delivery]:
        """The user hangs up, or the user's client fails.

        Args:
            error: Why the client failed, such as 138021 (no media from the business).

        Returns:
            The delivery of the terminate webhook; of the earlier one when the call had ended.
            Need not be awaited.
        """
        return self._end(FAILED if error else "hung up", error=error)

    def cancel_deadline(self) -> None:
        """Let the call ring without end."""
        self._deadline.cancel()

    def _note_answered(self) -> None:
        self.cancel_deadline()
        self.state = CallState.ACCEPTED
        self.accepted_at = self._clock()
        self._observer.on_answered(self)

    def _expire(self) -> None:
        self._end(NOT_ANSWERED, tell_leg=True)

    def _end(
        self, reason: str, *, tell_leg: bool = False, error: MetaErrorInfo | None = None
    ) -> asyncio.Future[Delivery]:
        if self._farewell is not None:
            return self._farewell
        self.cancel_deadline()
        self.state = CallState.ENDED
        self.ended_reason = reason
        self._farewell = self._observer.on_end(self, error)
        if tell_leg:
            self.leg.on_ended(reason)
        return self._farewell

    def _demand_live(self) -> None:
        if self.state is CallState.ENDED:
            raise RefusalError(f"The call has ended already: {self.ended_reason}")


class UserCall(MetaCall):
    """A user's call to the business (Meta: user-initiated calls).

    Args:
        call_id: The call's id.
        user: Who calls.
        leg: The caller's phone.
        observer: See `MetaCall`.
        clock: See there.
        offer_sdp: The SDP that the business has to answer.
        patience: See there.
        extras: See there.
    """

    direction = Direction.INBOUND

    def __init__(
        self,
        call_id: str,
        user: User,
        leg: Leg,
        observer: CallObserver,
        clock: Callable[[], float],
        *,
        offer_sdp: str,
        patience: float,
        extras: dict[str, str],
    ) -> None:
        super().__init__(call_id, user, leg, observer, clock, patience=patience, extras=extras)
        self.answer_sdp: str | None = None
        self._offer_sdp = offer_sdp

    def pre_accept(self, sdp: str) -> None:
        """The business's SDP arrives ahead of its accept."""
        self._demand_live()
        if self.state is not CallState.RINGING:
            raise RefusalError(f"The call is {self.state.value} already")
        check_answer(sdp, self._offer_sdp)
        self.state = CallState.PRE_ACCEPTED
        self._set_answer(sdp)

    def accept(self, sdp: str) -> None:
        """The business picks up, with the SDP of its pre_accept if there was one."""
        if self.ended_reason == NOT_ANSWERED:
            details = "The call was accepted too late"
            raise RefusalError(details, code=CONNECT_TIMEOUT, status=500)
        self._demand_live()
        if self.state is CallState.ACCEPTED:
            raise RefusalError("The call is accepted already")
        if self.answer_sdp is None:
            check_answer(sdp, self._offer_sdp)
        elif sdp != self.answer_sdp:
            raise RefusalError("The SDP of accept differs from that of pre_accept")
        self._note_answered()
        if self.answer_sdp is None:
            self._set_answer(sdp)
        self.leg.on_accepted()

    def reject(self) -> None:
        """The business declines; possible until it has accepted."""
        self._demand_live()
        if self.state is CallState.ACCEPTED:
            raise RefusalError("An accepted call cannot be rejected, only terminated")
        self._end(REJECTED, tell_leg=True)

    def _set_answer(self, sdp: str) -> None:
        self.answer_sdp = sdp
        self.leg.on_answer(sdp)


class BusinessCall(MetaCall):
    """The business's call to a user (Meta: business-initiated calls)."""

    direction = Direction.OUTBOUND

    def pick_up(self) -> None:
        """The user picks up; nothing when the call does not ring any more."""
        if self.state is CallState.RINGING:
            self._note_answered()

    def hang_up(self, error: MetaErrorInfo | None = None) -> asyncio.Future[Delivery]:
        """The user declines, or hangs up, or the user's client fails; as with `MetaCall`."""
        if self.state is CallState.RINGING and error is None:
            self._observer.on_declined(self)
            return self._end("declined")
        return super().hang_up(error)
