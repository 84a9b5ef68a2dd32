"""A call of the business at a user's phone: it rings, and is picked up, declined, or neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.media_rules import MediaRules
from pipecat_whatsapp.simulator.phone_call import MetaCall, PhoneCall, PhoneError


class RingingCall(MetaCall, Protocol):
    """A call of the business as Meta's side knows it."""

    def pick_up(self) -> None:
        """The user picks up."""


class IncomingCall(PhoneCall):
    """A call that rings at a phone; implements `RingingLeg`. Given by `Phone.rings`.

    It ends with "user hung up", "declined" or "not answered", or for a reason that every
    `PhoneCall` may have.

    Parameters:
        endpoint: The media end of the call.
        rules: When to give a silent call up.
        dtx: Whether nearly nothing is sent while nobody speaks, see `Voice`.
        on_ring: Called when it rings.

    Attributes:
        answer_sdp: The phone's answer to the business's offer; empty before.
    """

    HUNG_UP = "user hung up"

    def __init__(
        self,
        endpoint: LiteEndpoint,
        *,
        rules: MediaRules,
        dtx: bool,
        on_ring: Callable[[IncomingCall], None],
    ) -> None:
        super().__init__(endpoint, rules=rules, dtx=dtx)
        self.answer_sdp = ""
        self._ringing: RingingCall | None = None
        self._on_ring = on_ring

    def answer(self, offer_sdp: str, setup: str) -> None:
        """Answer the business's offer, and let it connect while the phone rings.

        Args:
            offer_sdp: The offer.
            setup: The phone's part in DTLS, see `write_answer`.

        Raises:
            AnswerError: It cannot carry a call.
        """
        self.answer_sdp = self.media.answer(offer_sdp, setup)

    def on_ringing(self, call: RingingCall) -> None:
        """Meta has placed the call: the phone rings."""
        self.meta_call = self._ringing = call
        self._on_ring(self)

    async def pick_up(self) -> None:
        """Take the call: the phone sends what is said, else silence, and media must flow.

        Raises:
            PhoneError: The call ended before.
        """
        if self._reason is not None:
            raise PhoneError(self._reason)
        if self._ringing is not None:
            self._ringing.pick_up()
        self.on_accepted()

    async def decline(self) -> None:
        """Refuse the call while it rings; nothing if it is over.

        Raises:
            RuntimeError: It was picked up: then it can only be hung up.
        """
        if self._reason is None and self.recording.accepted_at is not None:
            raise RuntimeError("The call was picked up: hang it up instead.")
        self._finish("declined", tell_meta=True)
        await self._closed()
