"""A user's phone in a tab of the browser."""

from __future__ import annotations

from pipecat_whatsapp.calls.background import Background
from pipecat_whatsapp.calls.dial_client import DialError
from pipecat_whatsapp.meta.events import Direction, User
from pipecat_whatsapp.simulator.callee import MESSAGE
from pipecat_whatsapp.simulator.incoming_call import IncomingCall
from pipecat_whatsapp.simulator.inspection.record import CallRecord, Party
from pipecat_whatsapp.simulator.network import NetworkConditions
from pipecat_whatsapp.simulator.page import orders
from pipecat_whatsapp.simulator.page.chat import Chat
from pipecat_whatsapp.simulator.page.desk import FAILURE, Desk, NotNowError, Seat, name_of
from pipecat_whatsapp.simulator.page.switches import WORDS
from pipecat_whatsapp.simulator.page.tab_call import TabCall
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.phone import Phone


class PagePhone:
    """One user's phone in one tab; close it.

    Args:
        desk: What all tabs share.
        seat: The tab.
        user: Whose it is; also kept as an attribute.
    """

    def __init__(self, desk: Desk, seat: Seat, user: User) -> None:
        self.user = user
        self._desk = desk
        self._seat = seat
        self._phone = Phone(desk.meta, user, network=seat.network)
        self._inspection = desk.inspector.watch(self._phone, seat.tell)
        self._chat = Chat(self._phone, seat, self._inspection)
        self._call: TabCall | None = None
        self._asked: CallRecord | None = None
        self._errands = Background(FAILURE)
        self._errands(self._take_calls())
        self._errands(self._chat.take_messages())
        self._errands(self._chat.take_prompts())

    @property
    def is_busy(self) -> bool:
        """Whether there is a call."""
        return self._call is not None and not self._call.is_over

    def rename(self, user: User) -> None:
        """Have the same user be known by another name."""
        self.user = self._phone.user = user

    def obey(self, order: orders.PhoneOrder) -> None:
        """Do what the user wants, or begin to.

        Raises:
            SimulatorError: It cannot be done now.
        """
        match order:
            case orders.Dial():
                self._dial(None)
            case orders.Tap(message):
                self._dial(self._chat.payload_behind(message))
            case orders.AskCall():
                self._ask_call()
            case orders.Write(text):
                self._write(text)
            case orders.Reply(prompt, consent):
                self._chat.reply(prompt, consent)
            case orders.SetConditions(conditions):
                self._seat.network.conditions = conditions
                self._seat.tell("conditions", conditions_json(conditions))
            case orders.Offline(on):
                self._drop_off(on=on)
            case orders.Fault(name, on):
                self._turn(name, on=on)
            case _:
                # The call may have ended while this was on its way.
                if self._call is not None and not self._call.is_over:
                    self._call.obey(order)

    async def close(self) -> None:
        """Hang up, and be called no more."""
        await self._errands.cancel()
        if self.is_busy:
            self._desk.story.tell("phone", f"{name_of(self.user)} is gone")
        await self._phone.close()
        await self._inspection.close()

    def _dial(self, cta_payload: str | None) -> None:
        self._demand_free_line()
        call = self._begin(self._record(Direction.INBOUND))
        variant = "sdes" if self._desk.switches.sdes else None
        self._errands(call.place(self._phone, cta_payload=cta_payload, offer_variant=variant))

    async def _take_calls(self) -> None:
        """Let the bot's calls ring."""
        while True:
            call = await self._phone.rings(timeout=None)
            if self.is_busy:
                # The user was about to dial.
                self._errands(call.decline())
            elif not call.is_over:
                self._ring(call)

    def _ring(self, call: IncomingCall) -> None:
        record, self._asked = self._asked, None
        if record is None or record is not self._inspection.record:
            record = self._record(Direction.OUTBOUND)
        self._errands(self._begin(record).take(call))

    def _begin(self, record: CallRecord) -> TabCall:
        self._call = TabCall(
            self._seat, record, self._inspection, story=self._desk.story, errands=self._errands
        )
        return self._call

    def _record(self, direction: Direction) -> CallRecord:
        self._desk.story.restart()
        return self._inspection.begin(direction)

    def _write(self, text: str) -> None:
        self._demand_network()
        if self._inspection.record is None:
            # What comes of it has to be written down somewhere.
            self._record(Direction.INBOUND)
        self._errands(self._chat.send(text))

    def _ask_call(self) -> None:
        self._demand_free_line()
        if self._asked is not None:
            raise NotNowError("The bot has been asked to call already: wait a moment.")
        self._asked = record = self._record(Direction.OUTBOUND)
        self._errands(self._order_call(record))

    async def _order_call(self, record: CallRecord) -> None:
        self._desk.story.tell("phone", f'{name_of(self.user)} writes "{MESSAGE}"')
        await self._chat.send(MESSAGE)
        self._inspection.note(Party.PHONE, Party.BOT, "orders a call at the bot's dial door")
        try:
            outcome = f"The bot did not call: {await self._desk.dialer(self.user)}."
        except DialError as error:
            outcome = str(error)
        if self._asked is record:
            self._asked = None
            self._desk.story.tell("order", outcome)
            self._seat.notice(outcome)
            self._inspection.end(record, "the bot did not call")

    def _drop_off(self, *, on: bool) -> None:
        self._seat.network.down = on
        title = "drops off the network" if on else "comes back to the network"
        self._inspection.note(Party.PHONE, Party.PHONE, title)
        self._seat.tell("offline", {"on": on})

    def _turn(self, name: str, *, on: bool) -> None:
        self._desk.switches.turn(name, on=on)
        title = f"{'from now on' if on else 'no longer'} {WORDS[name]}"
        self._inspection.note(Party.WHATSAPP, Party.WHATSAPP, title)
        self._desk.tell_all("faults", {"faults": self._desk.switches.state()})

    def _demand_free_line(self) -> None:
        self._demand_network()
        if self.is_busy:
            raise NotNowError("There is a call on this phone: end it first.")

    def _demand_network(self) -> None:
        if self._seat.network.down:
            raise NotNowError("This phone is off the network: let it come back first.")


def conditions_json(conditions: NetworkConditions) -> Json:
    """A line as the page has it: a share, and milliseconds."""
    return {
        "loss": conditions.loss,
        "delay": round(conditions.delay * 1000, 3),
        "jitter": round(conditions.jitter * 1000, 3),
    }
