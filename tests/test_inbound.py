"""On which terms a user's call is taken, and who hears of one that was not."""

from __future__ import annotations

import asyncio

import pytest

from bots import PlainBot
from conftest import Reports, until
from pipecat_whatsapp.calls.bot import Accept, Bot, Decision, HoldBack, IncomingCallHook, Reject
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.capture import Capture
from pipecat_whatsapp.meta.events import CallMediaAvailable, Event, User
from pipecat_whatsapp.simulator.graph import CallState
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp


def actions(whatsapp: WhatsApp) -> list[str]:
    return [request.action for request in whatsapp.meta.requests]


def always(decision: Decision) -> IncomingCallHook:
    """A hook that decides the same on every call."""

    async def decide(_: Call) -> Decision:
        return decision

    return decide


class Missed(asyncio.Queue[tuple[Call, Contact]]):
    """An `on_missed_call` hook that keeps what it is given."""

    async def __call__(self, call: Call, contact: Contact) -> None:
        await self.put((call, contact))

    async def next(self) -> tuple[Call, Contact]:
        async with asyncio.timeout(30):
            return await self.get()


@pytest.fixture
def missed() -> Missed:
    return Missed()


# Terms


async def test_the_terms_reach_metas_accept(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    terms = Accept(
        recording=Capture("to learn", "de"),
        transcription=Capture(),
        biz_opaque_callback_data="ticket-7",
    )
    await whatsapp.serve(PlainBot(), on_incoming_call=always(terms), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    accept = (await whatsapp.meta.wait_request("accept", call.id)).body
    assert accept["recording"] == Capture("to learn", "de").body()
    assert accept["transcription"] == Capture().body()
    assert accept["biz_opaque_callback_data"] == "ticket-7"
    await call.hang_up()
    report = await reports.next()
    assert report.biz_opaque_callback_data == "ticket-7"
    assert report.terminate is not None
    assert report.terminate.biz_opaque_callback_data == "ticket-7"


async def test_without_terms_nothing_is_recorded(whatsapp: WhatsApp, phone: Phone) -> None:
    await whatsapp.serve(PlainBot(), on_incoming_call=always(Accept()))
    call = await phone.dial()
    await call.answered()
    accept = (await whatsapp.meta.wait_request("accept", call.id)).body
    assert set(accept) == {"messaging_product", "call_id", "action", "session"}


async def test_a_recording_is_told_of_after_the_call(whatsapp: WhatsApp, phone: Phone) -> None:
    events: list[Event] = []

    async def hook(event: Event) -> None:
        events.append(event)

    await whatsapp.serve(
        PlainBot(),
        on_incoming_call=always(Accept(recording=Capture())),
        on_webhook_event=hook,
    )
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    await until(lambda: bool(events))
    (event,) = events
    assert isinstance(event, CallMediaAvailable)
    assert (event.kind, event.call_id) == ("recording", call.id)


async def test_the_terms_may_name_another_bot(whatsapp: WhatsApp, phone: Phone) -> None:
    usual, special = PlainBot(), PlainBot()
    await whatsapp.serve(usual, on_incoming_call=always(Accept(bot=special)))
    call = await phone.dial()
    await call.answered()
    assert len(special.started) == 1
    assert usual.started == []


async def test_the_bot_knows_what_is_attached_to_its_call(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    terms = Accept(biz_opaque_callback_data="ticket-7")
    await whatsapp.serve(bot, on_incoming_call=always(terms))
    call = await phone.dial()
    await call.answered()
    assert bot.started[0].body["biz_opaque_callback_data"] == "ticket-7"


def test_terms_that_meta_cannot_take_are_refused_at_once() -> None:
    assert Accept(biz_opaque_callback_data="x" * 512)
    with pytest.raises(ConfigError, match="513"):
        Accept(biz_opaque_callback_data="x" * 513)


# Holding back


async def test_a_call_that_is_held_back_rings_on(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    hook = always(HoldBack("for the office"))
    served = await whatsapp.serve(bot, on_incoming_call=hook, on_call_ended=reports)
    call = await phone.dial()
    report = await reports.next()
    assert (report.cause, report.detail) == (Cause.HELD_BACK, "for the office")
    assert not report.answered
    assert served.calls == ()
    assert bot.started == []
    assert await served.drain(timeout=30)
    assert actions(whatsapp) == []
    assert whatsapp.meta.calls[call.id].state is CallState.RINGING


async def test_a_call_that_is_held_back_is_asked_about_once(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    asked: list[str] = []

    async def hook(call: Call) -> Decision:
        asked.append(call.id)
        return HoldBack()

    whatsapp.meta.faults.duplicate = 2
    served = await whatsapp.serve(PlainBot(), on_incoming_call=hook, on_call_ended=reports)
    call = await phone.dial()
    await reports.next()
    await whatsapp.meta.wait_delivery("connect", call.id, count=3)
    assert await served.drain(timeout=30)
    assert asked == [call.id]


async def test_the_end_of_a_call_that_was_held_back_is_no_news(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    served = await whatsapp.serve(
        PlainBot(), on_incoming_call=always(HoldBack()), on_call_ended=reports
    )
    call = await phone.dial()
    await reports.next()
    await call.hang_up()
    assert await served.drain(timeout=30)
    assert reports.empty()
    assert actions(whatsapp) == []


# Missed calls


@pytest.mark.parametrize(
    ("decision", "cause"),
    [
        (Reject("no"), Cause.REJECTED),
        (PlainBot(error=RuntimeError("no key")), Cause.BOT_FAILED),
    ],
    ids=["rejected", "bot failed"],
)
async def test_a_call_that_was_not_taken_is_a_missed_one(
    whatsapp: WhatsApp, phone: Phone, missed: Missed, decision: Bot | Reject, cause: Cause
) -> None:
    await whatsapp.serve(PlainBot(), on_incoming_call=always(decision), on_missed_call=missed)
    ringing = await phone.dial()
    call, contact = await missed.next()
    assert (call.id, call.cause) == (ringing.id, cause)
    assert contact.user == phone.user


async def test_over_capacity_a_call_is_a_missed_one(
    whatsapp: WhatsApp, phone: Phone, missed: Missed
) -> None:
    await whatsapp.serve(PlainBot(), on_missed_call=missed, max_calls=1)
    other = await whatsapp.phone(User(phone="4915550003333", user_id="DE.3"))
    await (await other.dial()).answered()
    await phone.dial()
    call, _ = await missed.next()
    assert (call.user, call.cause) == (phone.user, Cause.BUSY)
    assert missed.empty()


async def test_a_caller_who_gave_up_is_missed(
    whatsapp: WhatsApp, phone: Phone, missed: Missed
) -> None:
    async def never(_: Call) -> Decision:
        await asyncio.Event().wait()
        raise AssertionError

    served = await whatsapp.serve(PlainBot(), on_incoming_call=never, on_missed_call=missed)
    ringing = await phone.dial()
    await until(lambda: bool(served.calls))
    await ringing.hang_up()
    call, _ = await missed.next()
    assert (call.id, call.cause) == (ringing.id, Cause.CALLER_HUNG_UP)


async def test_a_call_that_was_answered_is_none(
    whatsapp: WhatsApp, phone: Phone, missed: Missed, reports: Reports
) -> None:
    served = await whatsapp.serve(PlainBot(), on_missed_call=missed, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    assert (await reports.next()).answered
    assert await served.drain(timeout=30)
    assert missed.empty()


async def test_a_call_that_is_held_back_is_not_missed_yet(
    whatsapp: WhatsApp, phone: Phone, missed: Missed, reports: Reports
) -> None:
    served = await whatsapp.serve(
        PlainBot(),
        on_incoming_call=always(HoldBack()),
        on_missed_call=missed,
        on_call_ended=reports,
    )
    await phone.dial()
    await reports.next()
    assert await served.drain(timeout=30)
    assert missed.empty()


async def test_a_call_of_ours_that_nobody_takes_is_none(
    whatsapp: WhatsApp, phone: Phone, missed: Missed
) -> None:
    whatsapp.meta.permissions.grant(phone.user)
    served = await whatsapp.serve(PlainBot(), on_missed_call=missed)
    calling = asyncio.create_task(served.call(phone.user))
    await (await phone.rings()).decline()
    await calling
    assert await served.drain(timeout=30)
    assert missed.empty()


async def test_who_missed_us_can_be_written_to_and_called_back(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    async def hook(call: Call, contact: Contact) -> None:
        await contact.send_text("We are closed now.")
        await contact.request_call_permission("May we call back?")

    hook_for_calls = always(Reject("closed"))
    await whatsapp.serve(PlainBot(), on_incoming_call=hook_for_calls, on_missed_call=hook)
    await phone.dial()
    assert (await phone.message()).text == "We are closed now."
    assert (await phone.permission_prompt()).text == "May we call back?"


async def test_a_hook_for_missed_calls_that_raises_spoils_no_other(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    async def hook(call: Call, contact: Contact) -> None:
        raise RuntimeError("a bug of the application")

    decisions: list[Decision] = [Reject("no"), None]

    async def decide(_: Call) -> Decision:
        return decisions.pop(0)

    await whatsapp.serve(
        PlainBot(), on_incoming_call=decide, on_missed_call=hook, on_call_ended=reports
    )
    first = await phone.dial()
    assert await first.ended() == "rejected"
    await reports.next()
    second = await phone.dial()
    await second.answered()
