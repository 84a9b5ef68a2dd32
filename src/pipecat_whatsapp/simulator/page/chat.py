"""The chat of one phone with the business, as a tab shows it."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat_whatsapp.simulator.inspection.inspector import PhoneInspection
from pipecat_whatsapp.simulator.inspection.record import Party
from pipecat_whatsapp.simulator.page.desk import NotNowError, Seat
from pipecat_whatsapp.simulator.page.orders import Consent
from pipecat_whatsapp.simulator.permission_prompt import PermissionPrompt
from pipecat_whatsapp.simulator.phone import Phone

OPEN = "open"
EXPIRED = "expired"

_DECISIONS = {
    Consent.ONCE: "allows calls for 7 days",
    Consent.ALWAYS: "allows calls for good",
    Consent.REJECT: "allows no calls",
}


@dataclass
class _Asked:
    """A request for permission to call, and what the tab shows of its fate."""

    prompt: PermissionPrompt
    state: str = OPEN


class Chat:
    """What a user and the business write to each other.

    Args:
        phone: The user's phone.
        seat: The tab.
        inspection: Writes down what the user does.
    """

    def __init__(self, phone: Phone, seat: Seat, inspection: PhoneInspection) -> None:
        self._phone = phone
        self._seat = seat
        self._inspection = inspection
        self._asked: dict[int, _Asked] = {}

    async def take_messages(self) -> None:
        """Show what the business writes."""
        while True:
            message = await self._phone.message(timeout=None)
            # A request for permission is shown as such.
            if not message.asks_permission:
                button = message.call_button
                words = button.display_text if button else None
                self._show(message.id, "business", message.text, words)

    async def take_prompts(self) -> None:
        """Show what the user is asked."""
        while True:
            prompt = await self._phone.permission_prompt(timeout=None)
            number = next(self._seat.numbers)
            self._asked[number] = _Asked(prompt)
            self._set_state(number, OPEN)

    async def send(self, text: str) -> None:
        """Write to the business; returns when the business has it."""
        self._show(f"written-{next(self._seat.numbers)}", "user", text, None)
        self._inspection.note(Party.PHONE, Party.WHATSAPP, "writes", {"text": text})
        await self._phone.send_text(text)

    def payload_behind(self, message_id: str) -> str | None:
        """The payload of a message's call button.

        Raises:
            NotNowError: There is no such button in this phone's chat.
        """
        for message in self._phone.messages:
            if message.id == message_id and message.call_button is not None:
                return message.call_button.payload
        raise NotNowError("There is no such call button on this phone: ask for another message.")

    def reply(self, number: int, consent: Consent) -> None:
        """Answer a request for permission to call, or change the answer.

        Raises:
            NotNowError: There is no such request on this phone.
            PromptExpiredError: It is too late.
        """
        asked = self._asked.get(number)
        if asked is None:
            raise NotNowError("There is no such request on this phone.")
        try:
            if consent is Consent.REJECT:
                asked.prompt.reject()
            else:
                asked.prompt.accept(permanent=consent is Consent.ALWAYS)
            self._set_state(number, consent.value)
            self._inspection.note(Party.PHONE, Party.WHATSAPP, _DECISIONS[consent])
        finally:
            # An answer ends all that was asked before.
            self._expire()

    def _expire(self) -> None:
        for number, asked in self._asked.items():
            if asked.state == OPEN and asked.prompt.expired:
                self._set_state(number, EXPIRED)

    def _set_state(self, number: int, state: str) -> None:
        asked = self._asked[number]
        asked.state = state
        self._seat.tell("prompt", {"id": number, "text": asked.prompt.text, "state": state})

    def _show(self, message_id: str, author: str, text: str, button: str | None) -> None:
        message = {"id": message_id, "from": author, "text": text, "button": button}
        self._seat.tell("message", message)
