"""The phones that a simulated WhatsApp reaches."""

from __future__ import annotations

from typing import Protocol

from pipecat_whatsapp.simulator import conversations
from pipecat_whatsapp.simulator.address import Address
from pipecat_whatsapp.simulator.call import BusinessCall, Leg


class RingingLeg(Leg, Protocol):
    """The end of a call at a phone that is called."""

    @property
    def answer_sdp(self) -> str:
        """Its answer to the business's offer."""

    def on_ringing(self, call: BusinessCall) -> None:
        """The call is placed: the phone rings."""


class Handset(conversations.Handset, Protocol):
    """A phone that can be called, and written to."""

    async def answer(self, offer_sdp: str) -> RingingLeg:
        """Get the media of a call ready."""


class Phones:
    """The phones that are switched on."""

    def __init__(self) -> None:
        self._phones: list[Handset] = []

    def register(self, phone: Handset) -> None:
        """Let a phone be reached; of several phones of one user, the youngest is."""
        self._phones.append(phone)

    def unregister(self, phone: Handset) -> None:
        """Let a phone be reached no more."""
        if phone in self._phones:
            self._phones.remove(phone)

    def find(self, address: Address) -> Handset | None:
        """The phone that an address means, if there is one."""
        return next((one for one in reversed(self._phones) if address.means(one.user)), None)
