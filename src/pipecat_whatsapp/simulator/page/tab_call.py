"""One call of a tab's phone, from the first ring to the end, as its user sees it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine
from contextlib import suppress

from pipecat_whatsapp.calls.background import Background
from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.meta.events import MetaErrorInfo
from pipecat_whatsapp.simulator.incoming_call import IncomingCall
from pipecat_whatsapp.simulator.inspection.inspector import PhoneInspection
from pipecat_whatsapp.simulator.inspection.record import CallRecord, Party
from pipecat_whatsapp.simulator.page import orders
from pipecat_whatsapp.simulator.page.desk import NotNowError, Seat, name_of
from pipecat_whatsapp.simulator.page.tab_sound import SoundError, TabSound
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.phone_call import PhoneCall, PhoneError
from pipecat_whatsapp.simulator.story import Story, end_in_words

TERMINATED = "terminated by WhatsApp"
"""The reason for the end when Meta ends a call."""

NOT_PUT_THROUGH = "it was not put through"

_BY_THE_USER = {
    PhoneCall.HUNG_UP: "you hung up",
    IncomingCall.HUNG_UP: "you hung up",
    "declined": "you declined",
}
"""How the user reads the ends that are their own doing."""

_ENDED_BY_META = MetaErrorInfo(
    code=131000, title="Something went wrong", message="WhatsApp ended the call"
)


class TabCall:
    """One call of a tab's phone.

    Args:
        seat: The tab.
        record: What is written down of the call.
        inspection: Writes it down.
        story: Told what happens.
        errands: Does what takes time.

    Attributes:
        is_over: Whether it has ended, for the user.
    """

    def __init__(
        self,
        seat: Seat,
        record: CallRecord,
        inspection: PhoneInspection,
        *,
        story: Story,
        errands: Background,
    ) -> None:
        self.is_over = False
        self._seat = seat
        self._record = record
        self._inspection = inspection
        self._story = story
        self._errands = errands
        self._call: PhoneCall | None = None
        self._sound: TabSound | None = None
        self._given_up = False
        self._taken_up = False

    async def place(
        self, phone: Phone, *, cta_payload: str | None, offer_variant: str | None
    ) -> None:
        """Call the business; returns when the call is over.

        Args:
            phone: Who calls.
            cta_payload: Payload of the call button that was tapped.
            offer_variant: See `Phone.dial`.
        """
        self._tell_state("calling", f"{name_of(phone.user)} dials +{self._record.business_phone}")
        try:
            if await self._bring_sound_up():
                self._note(Party.WHATSAPP, "dials")
                call = await phone.dial(cta_payload=cta_payload, offer_variant=offer_variant)
                await self._follow(call)
            else:
                self._end(PhoneCall.HUNG_UP)
        except (SimulatorError, OSError) as error:
            self._seat.notice(str(error))
            self._end(NOT_PUT_THROUGH)
        finally:
            await self._hush()

    async def take(self, call: IncomingCall) -> None:
        """Let a call of the business ring; returns when it is over."""
        self._tell_state("ringing", "rings")
        try:
            await self._follow(call)
        finally:
            await self._hush()

    def obey(self, order: orders.OrderInCall) -> None:
        """Do what the user wants.

        Raises:
            NotNowError: It cannot be done now.
        """
        match order:
            case orders.MediaAnswer(sdp):
                if self._sound is not None:
                    self._sound.take_answer(sdp)
            case orders.Accept():
                self._accept()
            case orders.Decline():
                self._decline()
            case orders.HangUp():
                self._hang_up()
            case orders.Press(key):
                self._press(key)
            case orders.Muted(on):
                self._note(Party.PHONE, "mutes" if on else "unmutes")
            case orders.Terminate():
                self._terminate()
            case orders.Concealed(share):
                self._inspection.note_concealed(share)

    def _accept(self) -> None:
        if isinstance(self._call, IncomingCall) and not self._taken_up:
            self._taken_up = True
            self._errands(self._pick_up(self._call))

    async def _pick_up(self, call: IncomingCall) -> None:
        try:
            if await self._bring_sound_up():
                self._note(Party.WHATSAPP, "picks up")
                await call.pick_up()
        except SoundError as error:
            self._seat.notice(str(error))
            await call.decline()
        except PhoneError:
            pass  # `take` tells why it ended.

    def _decline(self) -> None:
        call = self._call
        if isinstance(call, IncomingCall) and call.recording.accepted_at is None:
            self._note(Party.WHATSAPP, "declines")
            self._leave(call, call.decline)

    def _hang_up(self) -> None:
        self._given_up = True
        if self._call is not None:
            self._note(Party.WHATSAPP, "hangs up")
            self._leave(self._call, self._call.hang_up)

    def _leave(
        self, call: PhoneCall, say_so: Callable[[], Coroutine[object, object, None]]
    ) -> None:
        """End a call, and tell Meta if there is a way to."""
        if self._seat.network.down:
            call.vanish()
        else:
            self._errands(say_so())

    def _press(self, key: str) -> None:
        call = self._call
        if call is None or call.recording.accepted_at is None:
            raise NotNowError("Keys can be pressed once the call is answered.")
        self._note(Party.BOT, f"presses {key}")
        self._story.tell("phone", f"presses {key}")
        self._errands(_press(call, key))

    def _terminate(self) -> None:
        call = self._call
        if call is None or call.meta_call is None:
            raise NotNowError("The call has not reached WhatsApp yet.")
        # Meta tells the business, and then the phone.
        call.meta_call.hang_up(_ENDED_BY_META)
        call.on_ended(TERMINATED)

    async def _bring_sound_up(self) -> bool:
        """Whether the sound came up before the call was over or given up."""
        self._sound = sound = await TabSound.open(self._seat)
        if self._call is not None:
            sound.join(self._call)
        return await sound.is_up(unless=self._is_pointless)

    def _is_pointless(self) -> bool:
        return self._given_up or (self._call is not None and self._call.is_over)

    async def _follow(self, call: PhoneCall) -> None:
        """Tell the tab what becomes of the call, until it ends."""
        self._call = call
        self._inspection.attach(call)
        if self._sound is not None:
            self._sound.join(call)
        if self._given_up:
            # It was on its way to WhatsApp when the user hung up.
            self._hang_up()
        try:
            await call.answered(timeout=None)
            self._tell_state("answered", "answered")
            await self._tell_keys(call)
        except PhoneError as error:
            self._end(error.reason)

    async def _tell_keys(self, call: PhoneCall) -> None:
        """Tell what the bot presses, until the call ends."""
        for count in itertools.count(1):
            await _until_keys(call, count)
            self._seat.tell("heard", {"key": call.recording.keys[count - 1]})

    def _end(self, reason: str) -> None:
        self.is_over = True
        words = end_in_words(reason)
        if self._call is None:
            self._inspection.end(self._record, words)
        self._story.tell("phone", f"call over: {words}")
        self._show("ended", _BY_THE_USER.get(reason, words))

    def _tell_state(self, state: str, words: str) -> None:
        self._story.tell("phone", words)
        self._show(state, words)

    def _show(self, state: str, words: str) -> None:
        self._seat.tell(
            "call",
            {
                "state": state,
                "direction": self._record.direction.value,
                "record": self._record.id,
                "text": words,
            },
        )

    def _note(self, target: Party, title: str) -> None:
        self._inspection.note(Party.PHONE, target, title)

    async def _hush(self) -> None:
        if self._sound is not None:
            await self._sound.close()


async def _press(call: PhoneCall, key: str) -> None:
    with suppress(PhoneError):
        await call.press(key)


async def _until_keys(call: PhoneCall, count: int) -> None:
    await call.until(lambda recording: len(recording.keys) >= count, timeout=None)
