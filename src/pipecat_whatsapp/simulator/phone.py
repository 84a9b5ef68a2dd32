"""A WhatsApp user's phone without a screen: it dials and is called, speaks, listens, hangs up.

Signalling goes to a simulated Meta (`Exchange`); media are real UDP packets on this machine.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, Self

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.business import Business
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.inbox import Inbox
from pipecat_whatsapp.simulator.incoming_call import IncomingCall
from pipecat_whatsapp.simulator.media_rules import MediaRules
from pipecat_whatsapp.simulator.network import Network
from pipecat_whatsapp.simulator.phone_call import MetaCall, PhoneCall, PhoneError

__all__ = [
    "ADA",
    "Exchange",
    "IncomingCall",
    "MediaRules",
    "MetaCall",
    "Phone",
    "PhoneCall",
    "PhoneError",
]

ADA = User(phone="4915550002222", user_id="DE.900000000000000001", name="Ada Example")


class Exchange(Protocol):
    """What a phone needs of Meta's side."""

    def ring(
        self,
        leg: PhoneCall,
        offer_sdp: str,
        user: User,
        *,
        cta_payload: str | None = None,
        deeplink_payload: str | None = None,
    ) -> MetaCall:
        """Ring the business; must not wait for its answer."""

    @property
    def business(self) -> Business:
        """What Meta keeps of the business."""

    @property
    def offer_variant(self) -> str:
        """The form of offers to the business, see `write_offer`."""

    def register(self, phone: Phone) -> None:
        """Let the phone be called."""

    def unregister(self, phone: Phone) -> None:
        """Let the phone not be called any more."""


class Phone(Inbox):
    """One WhatsApp user's phone. Close it, or use it with `async with`.

    Parameters:
        meta: Meta's side.
        user: Whose it is.
        network: The line between phone and business; a perfect one by default.
        rules: When the phone gives a silent call up.
        host: The address its relay binds and offers.
        dtx: Whether it sends nearly nothing while nobody speaks, see `Voice`.
        answer_setup: Its part in DTLS when the business calls, see `write_answer`.
    """

    def __init__(
        self,
        meta: Exchange,
        user: User = ADA,
        *,
        network: Network | None = None,
        rules: MediaRules | None = None,
        host: str = "127.0.0.1",
        dtx: bool = False,
        answer_setup: str = "active",
    ) -> None:
        super().__init__()
        self.user = user
        self.network = network or Network()
        self._meta = meta
        self._rules = rules or MediaRules()
        self._host = host
        self._dtx = dtx
        self._answer_setup = answer_setup
        self._calls: list[PhoneCall] = []
        self._ringing: asyncio.Queue[IncomingCall] = asyncio.Queue()
        meta.register(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def dial(
        self,
        *,
        cta_payload: str | None = None,
        deeplink_payload: str | None = None,
        offer_variant: str | None = None,
    ) -> PhoneCall:
        """Call the business; returns when it rings.

        Args:
            cta_payload: Payload of the call button that was tapped.
            deeplink_payload: Payload of the link that was opened.
            offer_variant: The form of the offer, see `write_offer`; by default that which the
                business's settings ask for.

        Raises:
            ValueError: There is no such form of offer.
            OSError: No socket could be opened.
        """
        endpoint = await LiteEndpoint.open(self._host, self.network)
        call = PhoneCall(endpoint, rules=self._rules, dtx=self._dtx)
        try:
            offer = call.offer(offer_variant or self._meta.offer_variant)
            payloads = {"cta_payload": cta_payload, "deeplink_payload": deeplink_payload}
            call.meta_call = self._meta.ring(call, offer, self.user, **payloads)
        except BaseException:
            call.vanish()
            await call.ended()
            raise
        self._calls.append(call)
        return call

    async def rings(self, timeout: float | None = 30.0) -> IncomingCall:  # noqa: ASYNC109
        """Wait until the business calls.

        Args:
            timeout: How long to wait, s.

        Returns:
            The next call that rang, to be picked up or declined; it may be over by now.

        Raises:
            TimeoutError: Nobody called.
        """
        async with asyncio.timeout(timeout):
            return await self._ringing.get()

    async def send_text(self, text: str) -> None:
        """Write to the business, which may answer freely for 24 hours; returns when it has it."""
        await self._meta.business.conversations.send_text(self.user, text)

    async def change_user(self, user: User) -> None:
        """Be reached by another number, or another user id; returns when the business is told.

        A new number brings a new user id along (Meta: business-scoped user ids).
        """
        before, self.user = self.user, user
        await self._meta.business.conversations.change_user(before, user)

    async def answer(self, offer_sdp: str) -> IncomingCall:
        """Get ready for a call of the business; Meta's side calls this.

        Raises:
            AnswerError: The offer cannot carry a call.
            OSError: No socket could be opened.
        """
        endpoint = await LiteEndpoint.open(self._host, self.network)
        call = IncomingCall(
            endpoint, rules=self._rules, dtx=self._dtx, on_ring=self._ringing.put_nowait
        )
        try:
            call.answer(offer_sdp, self._answer_setup)
        except BaseException:
            endpoint.vanish()
            raise
        self._calls.append(call)
        return call

    async def close(self) -> None:
        """Decline what rings, hang up whatever call is still up, and be called no more."""
        self._meta.unregister(self)
        await asyncio.gather(*(call.hang_up() for call in self._calls))
