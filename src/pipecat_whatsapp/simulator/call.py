"""One call as Meta sees it: between a caller's phone and a business."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from pipecat_whatsapp.meta.events import MetaErrorInfo, User
from pipecat_whatsapp.simulator.rules import RefusalError, check_answer
from pipecat_whatsapp.simulator.webhooks import Delivery

CONNECT_TIMEOUT = 138007
NOT_ANSWERED = "not answered"


class CallState(Enum):
    """How far a call has come, seen from Meta."""

    RINGING = "ringing"
    PRE_ACCEPTED = "pre-accepted"
    ACCEPTED = "accepted"
    ENDED = "ended"


class Leg(Protocol):
    """The caller's phone, as Meta drives it. Callbacks must return at once."""

    def on_answer(self, sdp: str) -> None:
        """The business's SDP is known, so the media path can be built; called once."""

    def on_accepted(self) -> None:
        """The business has picked up."""

    def on_ended(self, reason: str) -> None:
        """The call ended, though not by the caller: "rejected", "terminated", "not answered"."""


class MetaCall:
    """A user's call to the business.

    The methods named after Graph actions raise `RefusalError` where Meta answers with an error,
    and then change nothing.

    Args:
        call_id: The call's id.
        user: Who calls.
        leg: The caller's phone.
        offer_sdp: The SDP that the business has to answer.
        extras: What the call's webhooks carry besides, such as `cta_payload`.
        answer_deadline: Seconds until an unanswered call ends.
        on_end: Sends the terminate webhook; called once, with the error that ended the call.
    """

    def __init__(
        self,
        call_id: str,
        user: User,
        leg: Leg,
        offer_sdp: str,
        *,
        extras: dict[str, str],
        answer_deadline: float,
        on_end: Callable[[MetaCall, MetaErrorInfo | None], asyncio.Future[Delivery]],
    ) -> None:
        self.id = call_id
        self.user = user
        self.extras = extras
        self.state = CallState.RINGING
        self.answer_sdp: str | None = None
        self.accepted_at: float | None = None
        self.ended_reason: str | None = None
        self._leg = leg
        self._offer_sdp = offer_sdp
        self._on_end = on_end
        self._farewell: asyncio.Future[Delivery] | None = None
        self._deadline = asyncio.get_running_loop().call_later(answer_deadline, self._expire)

    def pre_accept(self, sdp: str) -> None:
        """The business's SDP arrives ahead of its accept (Meta: user-initiated calls)."""
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
        self._pick_up(sdp)

    def reject(self) -> None:
        """The business declines; possible until it has accepted."""
        self._demand_live()
        if self.state is CallState.ACCEPTED:
            raise RefusalError("An accepted call cannot be rejected, only terminated")
        self._end("rejected", tell_leg=True)

    def terminate(self) -> None:
        """The business hangs up; possible before it has accepted, too."""
        self._demand_live()
        self._end("terminated", tell_leg=True)

    def hang_up(self, error: MetaErrorInfo | None = None) -> asyncio.Future[Delivery]:
        """The caller hangs up, or the caller's client fails.

        Args:
            error: Why the client failed, such as 138021 (no media from the business).

        Returns:
            The delivery of the terminate webhook; of the earlier one when the call had ended.
            Need not be awaited.
        """
        return self._end("failed" if error else "hung up", tell_leg=False, error=error)

    def cancel_deadline(self) -> None:
        """Let the call ring without end."""
        self._deadline.cancel()

    def _pick_up(self, sdp: str) -> None:
        self.cancel_deadline()
        self.state = CallState.ACCEPTED
        self.accepted_at = time.time()
        if self.answer_sdp is None:
            self._set_answer(sdp)
        self._leg.on_accepted()

    def _set_answer(self, sdp: str) -> None:
        self.answer_sdp = sdp
        self._leg.on_answer(sdp)

    def _expire(self) -> None:
        self._end(NOT_ANSWERED, tell_leg=True)

    def _end(
        self, reason: str, *, tell_leg: bool, error: MetaErrorInfo | None = None
    ) -> asyncio.Future[Delivery]:
        if self._farewell is not None:
            return self._farewell
        self.cancel_deadline()
        self.state = CallState.ENDED
        self.ended_reason = reason
        self._farewell = self._on_end(self, error)
        if tell_leg:
            self._leg.on_ended(reason)
        return self._farewell

    def _demand_live(self) -> None:
        if self.state is CallState.ENDED:
            raise RefusalError(f"The call has ended already: {self.ended_reason}")
