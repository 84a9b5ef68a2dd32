"""The calls between users' phones and the business number, and the webhooks they cause."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections import deque
from typing import Protocol

from pipecat_whatsapp.meta.events import Direction, MetaErrorInfo, User
from pipecat_whatsapp.simulator import payloads
from pipecat_whatsapp.simulator.call import BusinessCall, CallState, Leg, MetaCall, UserCall
from pipecat_whatsapp.simulator.requests import ConnectOrder
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account, Timing
from pipecat_whatsapp.simulator.webhooks import Delivery, WebhookSender

DAY = 24 * 3600.0
"""Seconds of a day."""

_NO_OUTBOUND = ("1", "20", "84", "234")
"""Country codes whose numbers may not call: USA and Canada, Egypt, Vietnam, Nigeria."""


class RingingLeg(Leg, Protocol):
    """The end of a call at a phone that is called."""

    @property
    def answer_sdp(self) -> str:
        """Its answer to the business's offer."""

    def on_ringing(self, call: BusinessCall) -> None:
        """The call is placed: the phone rings."""


class Handset(Protocol):
    """A phone that can be called."""

    @property
    def user(self) -> User:
        """Whose it is."""

    async def answer(self, offer_sdp: str) -> RingingLeg:
        """Get the media of a call ready."""


class CallPermissions(Protocol):
    """What is known of whom the business may call."""

    def check_call(self, user: User) -> None:
        """Raise `RefusalError` if it may not call this user now."""

    def note_connected(self, user: User, direction: Direction) -> None:
        """A call was picked up."""

    def note_unanswered(self, user: User) -> None:
        """The user did not pick up."""


class Telephony:
    """All calls of one business number.

    Args:
        account: The business.
        timing: How long phones ring.
        webhooks: Tells the business.
        permissions: Whom it may call.

    Attributes:
        calls: Every call by its id, ended ones too.
    """

    def __init__(
        self,
        account: Account,
        timing: Timing,
        webhooks: WebhookSender,
        permissions: CallPermissions,
    ) -> None:
        self.calls: dict[str, MetaCall] = {}
        self._account = account
        self._timing = timing
        self._webhooks = webhooks
        self._permissions = permissions
        self._phones: list[Handset] = []
        self._connects: deque[float] = deque()
        self._placing = asyncio.Lock()

    def register(self, phone: Handset) -> None:
        """Let a phone be called; of several phones of one user the youngest rings."""
        self._phones.append(phone)

    def unregister(self, phone: Handset) -> None:
        """Let a phone not be called any more."""
        if phone in self._phones:
            self._phones.remove(phone)

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
            RuntimeError: Nothing is subscribed.
            ValueError: There is a call of this id already.
        """
        call_id = call_id or _new_call_id()
        if call_id in self.calls:
            raise ValueError(f"There is a call {call_id} already.")
        call = UserCall(
            call_id,
            user,
            leg,
            self,
            offer_sdp=offer_sdp,
            patience=self._timing.answer_deadline,
            extras=extras,
        )
        self._send_connect(call, offer_sdp, timestamp)
        self.calls[call_id] = call
        return call

    async def connect(self, order: ConnectOrder) -> BusinessCall:
        """Let the business call a user: the webhooks go out in the background.

        Raises:
            RefusalError: The business may not, or the user cannot be called.
        """
        async with self._placing:
            self._check_number()
            phone = self._phone_of(order)
            self._check_user(phone.user)
            leg = await phone.answer(order.offer_sdp)
            call = BusinessCall(
                _new_call_id(),
                phone.user,
                leg,
                self,
                patience=self._timing.ring_timeout,
                extras=order.extras,
                captures=order.captures,
            )
            self.calls[call.id] = call
            self._connects.append(time.monotonic())
        self._send_connect(call, leg.answer_sdp)
        self._send_status(call, "RINGING")
        leg.on_ringing(call)
        return call

    def on_answered(self, call: MetaCall) -> None:
        """A call was picked up (`CallObserver`)."""
        self._permissions.note_connected(call.user, call.direction)
        if isinstance(call, BusinessCall):
            self._send_status(call, "ACCEPTED")

    def on_declined(self, call: MetaCall) -> None:
        """A user declined the business's call (`CallObserver`)."""
        self._send_status(call, "REJECTED")

    def on_end(self, call: MetaCall, error: MetaErrorInfo | None) -> asyncio.Future[Delivery]:
        """A call ended (`CallObserver`)."""
        if isinstance(call, BusinessCall) and call.accepted_at is None and error is None:
            self._permissions.note_unanswered(call.user)
        start_time = None if call.accepted_at is None else int(call.accepted_at)
        value = payloads.terminate(
            self._account,
            call.facts,
            timestamp=int(time.time()),
            start_time=start_time,
            error=error,
        )
        return self._webhooks.send("calls", value)

    def close(self) -> None:
        """Forget the calls that are left."""
        for call in self.calls.values():
            call.cancel_deadline()

    def _check_number(self) -> None:
        if not self._webhooks.subscribed:
            raise RefusalError("No app is subscribed to calls, so none can be placed", code=138018)
        if self._account.display_phone_number.startswith(_NO_OUTBOUND):
            raise RefusalError("Numbers of this country cannot place calls", code=138013)
        while self._connects and self._connects[0] < time.monotonic() - DAY:
            self._connects.popleft()
        if len(self._connects) >= self._account.connects_per_day:
            raise RefusalError("Too many calls within 24 hours", code=138005, status=429)
        if len(self._live_calls()) >= self._account.concurrent_calls:
            raise RefusalError("Too many calls at the same time", code=138002, status=429)

    def _phone_of(self, order: ConnectOrder) -> Handset:
        for phone in reversed(self._phones):
            if order.is_for(phone.user):
                return phone
        raise RefusalError("This user cannot be called on WhatsApp", code=138001)

    def _check_user(self, user: User) -> None:
        if any(call.user.key == user.key for call in self._live_calls()):
            raise RefusalError("A call with this user is going on already", code=138003)
        self._permissions.check_call(user)

    def _live_calls(self) -> list[MetaCall]:
        return [call for call in self.calls.values() if call.state is not CallState.ENDED]

    def _send_connect(self, call: MetaCall, sdp: str, timestamp: int | None = None) -> None:
        timestamp = int(time.time()) if timestamp is None else timestamp
        value = payloads.connect(self._account, call.facts, sdp, timestamp=timestamp)
        self._webhooks.send("calls", value)

    def _send_status(self, call: MetaCall, status: str) -> None:
        value = payloads.status(self._account, call.facts, status, timestamp=int(time.time()))
        self._webhooks.send("calls", value)


def _new_call_id() -> str:
    # 25 bytes end in "==" and may hold "/" and "+": an id that is not to be put into a URL as is.
    return "wacid." + base64.b64encode(secrets.token_bytes(25)).decode()
