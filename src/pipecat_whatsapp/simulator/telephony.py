"""The calls between users' phones and the business number, and the webhooks they cause."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections import deque
from collections.abc import Callable

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.meta.events import MetaErrorInfo, User
from pipecat_whatsapp.simulator import captures, payloads
from pipecat_whatsapp.simulator.address import Address, check_allowed
from pipecat_whatsapp.simulator.business import Business
from pipecat_whatsapp.simulator.call import (
    FAILED,
    NOT_ANSWERED,
    REJECTED,
    BusinessCall,
    CallState,
    Leg,
    MetaCall,
    Recordable,
    UserCall,
)
from pipecat_whatsapp.simulator.phones import Phones
from pipecat_whatsapp.simulator.requests import ConnectOrder
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account, Timing
from pipecat_whatsapp.simulator.webhooks import Delivery, WebhookSender

DAY = 24 * 3600.0
"""Seconds of a day."""

NO_PAYMENT = 131044

_NO_PAYMENT = MetaErrorInfo(
    code=NO_PAYMENT,
    title="Business eligibility payment issue",
    message="There is no valid payment method, so the call was not put through",
)


class NotCallableError(SimulatorError):
    """A user's call does not reach the business, which hears nothing of it; the text says why."""


class Telephony:
    """All calls of one business number.

    Args:
        account: The business.
        timing: How long phones ring.
        webhooks: Tells the business.
        business: What Meta keeps of it.
        phones: Which users can be reached.
        clock: Unix seconds.

    Attributes:
        calls: Every call by its id, ended ones too.
    """

    def __init__(
        self,
        account: Account,
        timing: Timing,
        webhooks: WebhookSender,
        business: Business,
        phones: Phones,
        clock: Callable[[], float],
    ) -> None:
        self.calls: dict[str, MetaCall] = {}
        self._account = account
        self._timing = timing
        self._webhooks = webhooks
        self._business = business
        self._phones = phones
        self._clock = clock
        self._connects: deque[float] = deque()
        self._placing = asyncio.Lock()

    def ring(
        self,
        leg: Leg,
        offer_sdp: str,
        user: User,
        *,
        extras: dict[str, str],
        call_id: str | None,
        timestamp: int | None,
    ) -> UserCall:
        """Let a user call the business, see `SimulatedMeta.ring`.

        Raises:
            NotCallableError: The business takes no call now, or none of this user.
            ValueError: There is a call of this id already.
        """
        call_id = call_id or _new_call_id()
        if call_id in self.calls:
            raise ValueError(f"There is a call {call_id} already.")
        self._check_reachable(user)
        call = UserCall(
            call_id,
            user,
            leg,
            self,
            self._clock,
            offer_sdp=offer_sdp,
            patience=self._patience(),
            extras=extras,
        )
        self._business.conversations.open_window(user)
        self._announce(call, offer_sdp, self._now() if timestamp is None else timestamp)
        self.calls[call_id] = call
        return call

    async def connect(self, order: ConnectOrder) -> BusinessCall:
        """Let the business call a user: the webhooks go out in the background.

        Raises:
            RefusalError: The business may not, or the user cannot be called.
        """
        async with self._placing:
            self._check_number(order.address)
            self._check_limits()
            phone = self._phones.find(order.address)
            if phone is None:
                raise RefusalError("This user cannot be called on WhatsApp", code=138001)
            self._check_user(phone.user)
            leg = await phone.answer(order.offer_sdp)
            call = BusinessCall(
                _new_call_id(),
                phone.user,
                leg,
                self,
                self._clock,
                patience=self._timing.ring_timeout,
                extras=order.extras,
                captures=order.captures,
            )
            self.calls[call.id] = call
            self._connects.append(self._clock())
        self._send_connect(call, leg.answer_sdp, self._now())
        self._send_status(call, "RINGING")
        leg.on_ringing(call)
        return call

    def on_answered(self, call: MetaCall) -> None:
        """A call was picked up (`CallObserver`)."""
        self._business.permissions.note_connected(call.user, call.direction)
        if isinstance(call, BusinessCall):
            self._business.conversations.open_window(call.user)
            self._send_status(call, "ACCEPTED", at=call.accepted_at)

    def on_declined(self, call: MetaCall) -> None:
        """A user declined the business's call (`CallObserver`)."""
        self._send_status(call, "REJECTED")

    def on_end(self, call: MetaCall, error: MetaErrorInfo | None) -> asyncio.Future[Delivery]:
        """A call ended (`CallObserver`)."""
        start_time = None if call.accepted_at is None else int(call.accepted_at)
        value = payloads.terminate(
            self._account,
            call.facts,
            timestamp=self._now(),
            start_time=start_time,
            error=error,
        )
        farewell = self._webhooks.send("calls", value)
        self._follow_up(call)
        return farewell

    def close(self) -> None:
        """Forget the calls that are left."""
        for call in self.calls.values():
            call.cancel_deadline()

    def _patience(self) -> float:
        """How long a user's call rings: voicemail may take it before Meta gives up."""
        voicemail, deadline = self._business.settings.voicemail, self._timing.answer_deadline
        if voicemail is None or voicemail.timeout is None:
            return deadline
        return min(deadline, voicemail.timeout)

    def _follow_up(self, call: MetaCall) -> None:
        """What a call leads to once it is over."""
        if call.accepted_at is not None:
            self._publish(call)
        elif isinstance(call, BusinessCall):
            if call.ended_reason != FAILED:
                self._business.permissions.note_unanswered(call.user)
        elif self._goes_to_voicemail(call):
            self._send_voicemail(call)
        if isinstance(call, UserCall) and self._business.settings.gives_call_back:
            self._business.conversations.grant_call_back(call.user, call.id)

    def _publish(self, call: MetaCall) -> None:
        """Send what Meta was to make of the call (Meta: call recording, call transcription)."""
        if not call.captures:
            return  # To decode what was heard takes its time.
        sound = call.leg.recorded() if isinstance(call.leg, Recordable) else b""
        for kind in sorted(call.captures):
            file = self._business.media.put(*captures.make(kind, sound))
            value = payloads.media_available(
                self._account, call.facts, kind, file, timestamp=self._now()
            )
            self._webhooks.send("calls", value)

    def _goes_to_voicemail(self, call: MetaCall) -> bool:
        voicemail = self._business.settings.voicemail
        if voicemail is None:
            return False
        if call.ended_reason == REJECTED:
            return voicemail.on_reject
        return call.ended_reason == NOT_ANSWERED and voicemail.timeout is not None

    def _send_voicemail(self, call: MetaCall) -> None:
        """Deliver what the caller said to Meta's announcement (Meta: voicemail)."""
        file = self._business.media.put(*captures.make("recording", b""))
        value = payloads.voicemail(self._account, call.facts, file, timestamp=self._now())
        self._webhooks.send("messages", value)

    def _check_reachable(self, user: User) -> None:
        """Check that a user's call reaches the business (Meta: user-initiated calls, FAQ)."""
        settings = self._business.settings
        if not settings.takes_calls or (settings.sip_enabled and not settings.tells_sip_calls):
            raise NotCallableError("The business takes no WhatsApp calls by webhook now.")
        if self._is_on_a_call(user):
            raise NotCallableError("User and business are on a call already: end it first.")
        if self._is_busy():
            raise NotCallableError("The business has too many calls now: let one end first.")

    def _announce(self, call: UserCall, offer_sdp: str, timestamp: int) -> None:
        """Tell the business that a user calls, as its means and settings allow."""
        if not self._account.can_pay:
            self._webhooks.send("calls", payloads.notice(self._account, _NO_PAYMENT))
        elif self._business.settings.sip_enabled:
            value = payloads.call_created(self._account, call.facts, timestamp=timestamp)
            self._webhooks.send("calls", value)
        else:
            self._send_connect(call, offer_sdp, timestamp)

    def _check_number(self, address: Address) -> None:
        self._business.settings.check_placing()
        if not self._account.can_pay:
            raise RefusalError("There is no valid payment method", code=NO_PAYMENT)
        check_allowed(address, self._account)

    def _check_limits(self) -> None:
        while self._connects and self._connects[0] <= self._clock() - DAY:
            self._connects.popleft()
        if len(self._connects) >= self._account.connects_per_day:
            raise RefusalError("Too many calls within 24 hours", code=138005, status=429)
        if self._is_busy():
            raise RefusalError("Too many calls at the same time", code=138002, status=429)

    def _check_user(self, user: User) -> None:
        if self._is_on_a_call(user):
            raise RefusalError("A call with this user is going on already", code=138003)
        self._business.permissions.check_call(user)

    def _is_busy(self) -> bool:
        return len(self._live_calls()) >= self._account.concurrent_calls

    def _is_on_a_call(self, user: User) -> bool:
        return any(call.user.key == user.key for call in self._live_calls())

    def _live_calls(self) -> list[MetaCall]:
        return [call for call in self.calls.values() if call.state is not CallState.ENDED]

    def _now(self) -> int:
        return int(self._clock())

    def _send_connect(self, call: MetaCall, sdp: str, timestamp: int) -> None:
        value = payloads.connect(self._account, call.facts, sdp, timestamp=timestamp)
        self._webhooks.send("calls", value)

    def _send_status(self, call: MetaCall, status: str, *, at: float | None = None) -> None:
        timestamp = self._now() if at is None else int(at)
        value = payloads.status(self._account, call.facts, status, timestamp=timestamp)
        self._webhooks.send("calls", value)


def _new_call_id() -> str:
    # 25 bytes end in "==" and may hold "/" and "+": an id that is not to be put into a URL as is.
    return "wacid." + base64.b64encode(secrets.token_bytes(25)).decode()
