"""Calls of ours, from the offer to the report: real HTTP, UDP, ICE, DTLS and Opus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    ClientConnectedFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
)
from pipecat.pipeline.worker import PipelineWorker
from pipecat.transports.smallwebrtc.connection import IceServer

from bots import RATE, Ears, Echo, PipelineBot, PlainBot, says
from conftest import Reports, until
from deployment import Deployment, Join, Member, brisk, join
from pipecat_whatsapp.calls import outbound
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.bot import WhatsAppRunnerArguments
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.dialler import DialResult
from pipecat_whatsapp.calls.directory import Holding
from pipecat_whatsapp.calls.law import Signal, State
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.calls.outcome import Cause, Outcome
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.media.connection import WhatsAppConnection
from pipecat_whatsapp.media.network import Network as Placement
from pipecat_whatsapp.meta.capture import Capture
from pipecat_whatsapp.meta.events import (
    CallConnect,
    CallStatus,
    Direction,
    Event,
    MetaErrorInfo,
    User,
)
from pipecat_whatsapp.simulator import payloads
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.network import Network
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.settings import Timing as MetaTiming
from pipecat_whatsapp.transport import WhatsAppTransport
from recordings import ALIKE, chirp, heard_whole, similarity

__all__ = ["brisk", "join"]

RING_TIMEOUT = 12_345.0
"""Passes in no test by itself; see `alarms`."""


@pytest.fixture(autouse=True)
def _permitted(whatsapp: WhatsApp, phone: Phone) -> None:
    whatsapp.meta.permissions.grant(phone.user)


@pytest.fixture
async def alarms(monkeypatch: pytest.MonkeyPatch) -> dict[float, Callable[[], None]]:
    """What shall happen after how many seconds, so that a test can let it happen."""
    alarms: dict[float, Callable[[], None]] = {}
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def noted(delay: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        alarms[delay] = callback
        return call_later(delay, callback, *args, **options)

    monkeypatch.setattr(loop, "call_later", noted)
    return alarms


def dial(adapter: WebhookAdapter, phone: Phone, **options: Any) -> asyncio.Task[DialResult]:
    return asyncio.create_task(adapter.call(phone.user, **options))


def actions(whatsapp: WhatsApp) -> list[str]:
    return [request.action for request in whatsapp.meta.requests]


async def settled(whatsapp: WhatsApp, *expected: str) -> None:
    """Meta has heard exactly this, and hears no more once the adapter has ended."""
    for action in expected:
        await whatsapp.meta.wait_request(action)
    await whatsapp.stop_serving()
    assert sorted(actions(whatsapp)) == sorted(expected)


async def in_state(adapter: WebhookAdapter, state: State) -> Call:
    await until(lambda: bool(adapter.calls) and adapter.calls[0].state is state)
    return adapter.calls[0]


async def prepared(adapter: WebhookAdapter) -> Call:
    """It rings, and all that is missing is that the user picks up."""
    call = await in_state(adapter, State.ALERTING)
    await until(lambda: not call.awaited)
    return call


# Picked up


async def test_the_bot_greets_when_the_user_picks_up_and_not_before(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    greeting, ears, told = chirp(1.0), Ears(), list[str]()
    states: list[str] = []

    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_answered(_: object, call: Call) -> None:
            told.append(call.id)

        async def on_state(_: object, state: str) -> None:
            states.append(state)

        transport.add_event_handler("on_dialout_answered", on_answered)
        transport.add_event_handler("on_call_state_updated", on_state)
        says(greeting)(transport, worker)

    def connected_frames() -> int:
        return sum(isinstance(frame, ClientConnectedFrame) for frame in ears.frames)

    bot = PipelineBot(ears, prepare=prepare)
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await call.connected()
    await prepared(served)
    assert (bot.events, told, connected_frames()) == ([], [], 0)
    assert not calling.done()

    await call.pick_up()
    result = await calling
    assert (result.outcome, result.detail) == (Outcome.ANSWERED, "")
    assert result.call is served.calls[0]
    await heard_whole(greeting, lambda: call.recording.pcm)
    assert call.recording.media_before_accept == 0
    assert len(call.recording.ssrcs) == 1
    assert bot.events == ["on_client_connected"]
    assert (told, connected_frames()) == ([call.id], 1)

    await call.hang_up()
    await reports.next()
    assert bot.events == ["on_client_connected", "on_client_disconnected"]
    assert states[-2:] == ["active", "ended"]


async def test_a_bot_that_speaks_while_it_rings_is_not_heard(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    async def prepare(_: WhatsAppTransport, worker: PipelineWorker) -> None:
        await worker.queue_frame(OutputAudioRawFrame(chirp(1.0), RATE, 1))

    ears = Ears()
    served = await whatsapp.serve(PipelineBot(ears, prepare=prepare))
    calling = dial(served, phone)
    call = await phone.rings()
    await call.connected()
    await prepared(served)
    await until(lambda: any(isinstance(frame, OutputAudioRawFrame) for frame in ears.frames))
    assert call.recording.received == 0
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    await call.until(lambda recording: recording.received > 5)
    assert call.recording.media_before_accept == 0


async def test_what_is_said_before_the_pick_up_is_known_reaches_no_pipeline(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    ears = Ears()
    served = await whatsapp.serve(PipelineBot(ears))
    calling = dial(served, phone)
    call = await phone.rings()
    await prepared(served)
    whatsapp.meta.faults.hold()
    await call.pick_up()
    # Too soft to be taken for a voice, but not silence.
    await call.say(bytes([20, 0, 236, 255]) * 4000)
    assert served.calls[0].state is State.ALERTING
    assert ears.pcm == b""
    await whatsapp.meta.release()
    assert (await calling).outcome is Outcome.ANSWERED
    await until(lambda: len(ears.pcm) > 10_000)


async def test_both_sides_speak_and_press_keys(whatsapp: WhatsApp, phone: Phone) -> None:
    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_connected(_: object, __: object) -> None:
            await worker.queue_frame(OutputDTMFFrame(button=KeypadEntry.FIVE))

        transport.add_event_handler("on_client_connected", on_connected)

    question, ears = chirp(1.0), Ears()
    served = await whatsapp.serve(PipelineBot(ears, Echo, prepare=prepare))
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    await calling
    await call.until(lambda recording: recording.keys == "5")
    await call.press("12#")
    await until(lambda: sum(isinstance(frame, InputDTMFFrame) for frame in ears.frames) == 3)
    await call.say(question)
    await heard_whole(question, lambda: call.recording.pcm)


@pytest.mark.parametrize("setup", ["active", "passive", "actpass"])
async def test_every_part_in_dtls_that_the_answer_takes_works(
    whatsapp: WhatsApp, setup: str
) -> None:
    question = chirp(1.0)
    served = await whatsapp.serve(PipelineBot(Echo))
    async with Phone(whatsapp.meta, answer_setup=setup) as phone:
        calling = dial(served, phone)
        call = await phone.rings()
        await call.pick_up()
        assert (await calling).outcome is Outcome.ANSWERED
        await call.say(question)
        await heard_whole(question, lambda: call.recording.pcm)


async def test_a_user_without_a_phone_number_is_called(whatsapp: WhatsApp) -> None:
    bot = PlainBot()
    phone = await whatsapp.phone(User(user_id="DE.5"))
    whatsapp.meta.permissions.grant(phone.user)
    served = await whatsapp.serve(bot)
    calling = asyncio.create_task(served.call("DE.5"))
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    request = await whatsapp.meta.wait_request("connect")
    assert request.body["recipient"] == "DE.5"
    assert "to" not in request.body
    (args,) = bot.started
    assert (args.body["user_id"], args.body["to"]) == ("DE.5", None)


async def test_the_bot_is_told_who_calls_whom(whatsapp: WhatsApp, phone: Phone) -> None:
    usual, other = PlainBot(), PlainBot()
    served = await whatsapp.serve(usual)
    calling = asyncio.create_task(served.call("+49 1555 0002222", bot=other))
    call = await phone.rings()
    await call.pick_up()
    await calling
    assert usual.started == []
    (args,) = other.started
    assert args.session_id == call.id
    assert args.call.direction is Direction.OUTBOUND
    assert args.call_data is not None
    assert args.call_data.to_number == "4915550002222"
    assert args.body["direction"] == "outbound"
    assert args.body["call_id"] == call.id
    assert args.call.business_phone == whatsapp.meta.account.display_phone_number


async def test_connect_carries_what_was_ordered(whatsapp: WhatsApp, phone: Phone) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = dial(
        served,
        phone,
        biz_opaque_callback_data="order-7",
        recording=Capture("to learn", "de"),
        transcription=Capture(),
    )
    call = await phone.rings()
    await call.pick_up()
    await calling
    body = (await whatsapp.meta.wait_request("connect")).body
    assert body["session"]["sdp_type"] == "offer"
    assert body["biz_opaque_callback_data"] == "order-7"
    assert body["recording"] == Capture("to learn", "de").body()
    assert body["transcription"] == Capture().body()


# Meta's answer to connect, and the webhooks around it


async def test_an_answer_that_is_lost_is_made_up_for_by_a_webhook(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    whatsapp.meta.faults.drop_response.append("connect")
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    result = await calling
    assert result.outcome is Outcome.ANSWERED
    assert result.call is not None
    assert result.call.id == call.id
    await call.hang_up()
    report = await reports.next()
    assert report.call_id == call.id
    # What told our call was ours, and is none of the application's business.
    assert report.biz_opaque_callback_data is None
    await settled(whatsapp, "connect")


@pytest.mark.usefixtures("_hasty")
async def test_a_call_that_nothing_is_heard_of_is_given_up_and_not_placed_again(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.drop_response.append("connect")
    whatsapp.meta.faults.lose += ["connect", "ringing", "rejected", "terminate"]
    served = await whatsapp.serve(
        bot, timing=Timing(lost_reply_patience=0.2), on_call_ended=reports
    )
    result = await served.call(phone.user)
    assert (result.outcome, result.call) == (Outcome.FAILED, None)
    assert result.detail
    report = await reports.next()
    assert (report.cause, report.call_id) == (Cause.GRAPH_FAILED, "")
    assert bot.started == []
    assert served.calls == ()
    await settled(whatsapp, "connect")


@pytest.mark.parametrize("data", [None, "order-7"])
async def test_a_webhook_may_come_before_the_answer_is_known_to_be_lost(
    whatsapp: WhatsApp, phone: Phone, data: str | None
) -> None:
    whatsapp.meta.faults.late_responses["connect"] = 0.5
    whatsapp.meta.faults.drop_response.append("connect")
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone, biz_opaque_callback_data=data)
    call = await phone.rings()
    await call.pick_up()
    await whatsapp.meta.wait_delivery("accepted", call.id)
    result = await calling
    assert result.outcome is Outcome.ANSWERED
    assert result.call is not None
    assert result.call.id == call.id
    await in_state(served, State.ACTIVE)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_late_word_of_a_call_is_not_taken_for_one_of_the_next(
    whatsapp: WhatsApp, phone: Phone, when: str
) -> None:
    faults = whatsapp.meta.faults
    served = await whatsapp.serve(PlainBot(), timing=Timing(lost_reply_patience=1.0))
    calling = dial(served, phone, biz_opaque_callback_data="campaign")
    first = await phone.rings()
    await first.decline()
    assert (await calling).outcome is Outcome.DECLINED

    faults.late_responses["connect"] = 0.5
    faults.drop_response.append("connect")
    faults.lose += ["connect", "ringing", "rejected", "terminate"]
    calling = dial(served, phone, biz_opaque_callback_data="campaign")
    await phone.rings()
    if when == "after":
        await whatsapp.meta.wait_request("connect", count=2)
    extras = {"biz_opaque_callback_data": "campaign"}
    facts = payloads.CallFacts(first.id, phone.user, Direction.OUTBOUND, extras)
    await whatsapp.meta.deliver(
        payloads.status(whatsapp.meta.account, facts, "ACCEPTED", timestamp=1)
    )
    assert (await calling).outcome is Outcome.FAILED


async def test_a_phone_that_rings_after_the_call_was_given_up_is_hushed(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.drop_response.append("connect")
    whatsapp.meta.faults.hold()
    served = await whatsapp.serve(
        bot, timing=Timing(lost_reply_patience=0.1), on_call_ended=reports
    )
    assert (await served.call(phone.user)).outcome is Outcome.FAILED
    assert (await reports.next()).cause is Cause.GRAPH_FAILED
    await whatsapp.meta.release()
    call = await phone.rings()
    assert await call.ended() == "terminated"
    assert bot.started == []
    assert reports.empty()
    await settled(whatsapp, "connect", "terminate")


@pytest.mark.usefixtures("_hasty")
async def test_what_never_rings_is_forgotten_in_the_end(whatsapp: WhatsApp, phone: Phone) -> None:
    whatsapp.meta.faults.drop_response.append("connect")
    whatsapp.meta.faults.lose += ["connect", "ringing", "rejected", "terminate"]
    served = await whatsapp.serve(PlainBot(), timing=Timing(lost_reply_patience=0.1))
    assert (await served.call(phone.user)).outcome is Outcome.FAILED
    assert await served.drain(timeout=30)


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that counts as not placed is not watched for long."""
    monkeypatch.setattr(outbound, "LATE_WORD_SECONDS", 0.1)


async def test_webhooks_may_be_faster_than_the_answer(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.late_responses["connect"] = 1.0
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    await whatsapp.meta.wait_request("connect", call.id)
    await call.hang_up()
    assert (await reports.next()).call_id == call.id
    assert len(bot.started) == 1
    await settled(whatsapp, "connect")


async def test_webhooks_that_name_no_call_of_ours_wait_for_the_answer(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat_whatsapp.simulator.requests._opaque_data", lambda question: {})
    whatsapp.meta.faults.late_responses["connect"] = 0.5
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    await whatsapp.meta.wait_delivery("accepted", call.id)
    assert (await calling).outcome is Outcome.ANSWERED
    await in_state(served, State.ACTIVE)


async def test_two_calls_with_the_same_callback_data_are_told_apart(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    other = await whatsapp.phone(User(phone="4915550003333", user_id="DE.3"))
    whatsapp.meta.permissions.grant(other.user)
    whatsapp.meta.faults.late_responses["connect"] = 0.5
    served = await whatsapp.serve(PlainBot())
    users = (User(phone=phone.user.phone), User(user_id="DE.3"))
    calling = [
        asyncio.create_task(served.call(user, biz_opaque_callback_data="campaign"))
        for user in users
    ]
    calls = [await one.rings() for one in (phone, other)]
    for call in reversed(calls):
        await call.pick_up()
    results = await asyncio.gather(*calling)
    assert [r.call.id for r in results if r.call is not None] == [call.id for call in calls]


async def test_repeated_webhooks_change_nothing(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.duplicate = 2
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    await whatsapp.meta.wait_delivery("accepted", call.id, count=3)
    await call.hang_up()
    await whatsapp.meta.wait_delivery("terminate", call.id, count=3)
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert reports.empty()
    assert len(bot.started) == 1
    await settled(whatsapp, "connect")


@pytest.mark.parametrize("ours", [False, True], ids=["alone", "while we dial"])
async def test_calls_of_another_application_are_left_to_the_hook(
    whatsapp: WhatsApp, phone: Phone, *, ours: bool
) -> None:
    events: list[Event] = []

    async def hook(event: Event) -> None:
        events.append(event)

    served = await whatsapp.serve(PlainBot(), on_webhook_event=hook)
    if ours:
        whatsapp.meta.faults.late_responses["connect"] = 1.0
        whatsapp.meta.faults.lose += ["connect", "ringing"]
        calling = dial(served, phone)
        call = await phone.rings()
    extras = {"biz_opaque_callback_data": "of another"}
    facts = payloads.CallFacts("wacid.X", phone.user, Direction.OUTBOUND, extras)
    account = whatsapp.meta.account
    for value in (
        payloads.connect(account, facts, "v=0\r\n", timestamp=1),
        payloads.status(account, facts, "ACCEPTED", timestamp=2),
        payloads.terminate(account, facts, timestamp=3, start_time=2, error=None),
    ):
        await whatsapp.meta.deliver(value)
    await until(lambda: len(events) == 2)
    connect, status = events
    assert isinstance(connect, CallConnect)
    assert isinstance(status, CallStatus)
    assert {connect.call_id, status.call_id} == {"wacid.X"}
    assert "terminate" not in actions(whatsapp)
    if ours:
        await whatsapp.meta.wait_request("connect")
        await in_state(served, State.CALLING)
        await call.decline()
        assert (await calling).outcome is Outcome.DECLINED
    else:
        assert served.calls == ()


# The pick-up


async def test_a_voice_picks_up_when_the_webhook_is_lost(whatsapp: WhatsApp, phone: Phone) -> None:
    ears = Ears()
    whatsapp.meta.faults.lose.append("accepted")
    served = await whatsapp.serve(PipelineBot(ears))
    calling = dial(served, phone)
    call = await phone.rings()
    await prepared(served)
    await call.pick_up()
    await call.say(bytes(16_000))
    assert served.calls[0].state is State.ALERTING, "silence is no voice"
    assert ears.pcm == b""
    await call.say(chirp(1.0))
    assert (await calling).outcome is Outcome.ANSWERED
    await until(lambda: len(ears.pcm) > 10_000)


async def test_a_pick_up_that_is_told_late_counts_once(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await prepared(served)
    whatsapp.meta.faults.hold()
    await call.pick_up()
    await call.say(chirp(0.5))
    assert (await calling).outcome is Outcome.ANSWERED
    await whatsapp.meta.release()
    await call.hang_up()
    report = await reports.next()
    assert [step.signal for step in report.steps].count(Signal.PICKED_UP) == 1


async def test_a_call_is_picked_up_without_word_of_its_ringing(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.faults.lose.append("ringing")
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    await in_state(served, State.ACTIVE)


async def test_webhooks_in_the_wrong_order_make_a_call_all_the_same(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.faults.hold()
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    await in_state(served, State.CALLING)
    await call.pick_up()
    deliveries = await whatsapp.meta.release(reverse=True)
    assert [delivery.kind for delivery in deliveries] == ["accepted", "ringing", "connect"]
    assert (await calling).outcome is Outcome.ANSWERED
    await in_state(served, State.ACTIVE)


# Not picked up


async def test_a_user_who_declines(whatsapp: WhatsApp, phone: Phone, reports: Reports) -> None:
    bot = PlainBot()
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await call.decline()
    result = await calling
    assert (result.outcome, result.detail) == (Outcome.DECLINED, "")
    report = await reports.next()
    assert (report.cause, report.answered, report.duration) == (Cause.DECLINED, False, 0.0)
    assert (bot.running, served.calls) == (0, ())
    await settled(whatsapp, "connect")


async def test_a_user_who_declines_without_word_of_it_is_unanswered(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.faults.lose.append("rejected")
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    await call.decline()
    assert (await calling).outcome is Outcome.UNANSWERED
    await settled(whatsapp, "connect")


@pytest.fixture
async def brief() -> AsyncIterator[WhatsApp]:
    """A WhatsApp that lets a phone ring but for a moment."""
    async with SimulatedMeta(timing=MetaTiming(ring_timeout=0.2)) as meta:
        made = WhatsApp(meta)
        try:
            yield made
        finally:
            await made.close()


async def test_meta_gives_up_a_call_that_nobody_takes(brief: WhatsApp, reports: Reports) -> None:
    phone = await brief.phone()
    brief.meta.permissions.grant(phone.user)
    served = await brief.serve(PlainBot(), on_call_ended=reports)
    result = await served.call(phone.user)
    assert result.outcome is Outcome.UNANSWERED
    report = await reports.next()
    assert report.cause is Cause.UNANSWERED
    assert report.terminate is not None
    await settled(brief, "connect")


async def test_we_give_up_a_call_that_nobody_takes(
    whatsapp: WhatsApp,
    phone: Phone,
    reports: Reports,
    alarms: dict[float, Callable[[], None]],
) -> None:
    bot = PlainBot()
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone, ring_timeout=RING_TIMEOUT)
    call = await phone.rings()
    await in_state(served, State.ALERTING)
    alarms[RING_TIMEOUT]()
    result = await calling
    assert result.outcome is Outcome.UNANSWERED
    assert "12345" in result.detail
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.UNANSWERED
    assert bot.running == 0
    await settled(whatsapp, "connect", "terminate")


async def test_the_time_to_ring_is_over_while_the_pick_up_is_on_its_way(
    whatsapp: WhatsApp,
    phone: Phone,
    reports: Reports,
    alarms: dict[float, Callable[[], None]],
) -> None:
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    calling = dial(served, phone, ring_timeout=RING_TIMEOUT)
    call = await phone.rings()
    await in_state(served, State.ALERTING)
    whatsapp.meta.faults.hold()
    await call.pick_up()
    alarms[RING_TIMEOUT]()
    await whatsapp.meta.wait_request("terminate", call.id)
    await whatsapp.meta.release()
    assert (await calling).outcome is Outcome.UNANSWERED
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.UNANSWERED
    assert reports.empty()
    await settled(whatsapp, "connect", "terminate")


async def test_the_time_to_ring_ends_no_call_that_was_picked_up(
    whatsapp: WhatsApp, phone: Phone, alarms: dict[float, Callable[[], None]]
) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone, ring_timeout=RING_TIMEOUT)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    alarms[RING_TIMEOUT]()
    await in_state(served, State.ACTIVE)


async def test_a_phone_that_cannot_be_reached(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await in_state(served, State.ALERTING)
    error = MetaErrorInfo(code=138020, title="Relay bind failed")
    await whatsapp.meta.calls[call.id].hang_up(error)
    result = await calling
    assert result.outcome is Outcome.FAILED
    assert "138020" in result.detail
    assert (await reports.next()).cause is Cause.NOT_CONNECTED


@pytest.mark.parametrize(
    ("status", "start", "outcome"),
    [("COMPLETED", {}, Outcome.UNANSWERED), ("FAILED", {"start_time": "9"}, Outcome.ANSWERED)],
)
async def test_metas_status_does_not_say_whether_a_call_was_picked_up(
    whatsapp: WhatsApp, phone: Phone, status: str, start: dict[str, str], outcome: Outcome
) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    await in_state(served, State.ALERTING)
    end = {"id": call.id, "event": "terminate", "direction": "BUSINESS_INITIATED", **start}
    await whatsapp.meta.deliver({"calls": [{**end, "status": status}]})
    assert (await calling).outcome is outcome


# Refused


REFUSED = [
    *((code, Outcome.NOT_PERMITTED) for code in (138000, 131055, 138013, 138014, 138015, 138018)),
    *((code, Outcome.UNCALLABLE) for code in (138001, 131009, 131026, 131030, 131062)),
    *((code, Outcome.LIMIT) for code in (138002, 138005, 138012, 613, 4, 80007, 130429)),
    *((code, Outcome.FAILED) for code in (190, 100, 138004, 138007, 138008, 131044, 999)),
    (138006, Outcome.NOT_PERMITTED),
    (138003, Outcome.BUSY),
]


@pytest.mark.parametrize(("code", "outcome"), REFUSED)
async def test_what_a_refusal_comes_to(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, code: int, outcome: Outcome
) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.fail["connect"] = [(401 if code == 138006 else 400, code)]
    served = await whatsapp.serve(bot, on_call_ended=reports)
    result = await served.call(phone.user)
    assert (result.outcome, result.call) == (outcome, None)
    assert str(code) in result.detail
    report = await reports.next()
    assert (report.call_id, report.outcome, report.answered) == ("", outcome, False)
    assert bot.started == []
    await settled(whatsapp, "connect")


async def test_a_request_that_cannot_even_be_sent_ends_the_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(*_: object, **__: object) -> str:
        raise RuntimeError("a bug of ours")

    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    monkeypatch.setattr(served.graph, "connect", connect)
    assert (await served.call(phone.user)).outcome is Outcome.FAILED
    assert (await reports.next()).cause is Cause.BROKEN
    await settled(whatsapp)


async def test_a_machine_without_sockets_places_no_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def make_offer(*_: object, **__: object) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(outbound, "make_offer", make_offer)
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    assert (await served.call(phone.user)).outcome is Outcome.FAILED
    assert (await reports.next()).call_id == ""
    await settled(whatsapp)


async def test_a_user_who_has_not_allowed_calls_is_not_called(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.permissions.revoke(phone.user)
    served = await whatsapp.serve(PlainBot())
    result = await served.call(phone.user)
    assert result.outcome is Outcome.NOT_PERMITTED
    assert "permission" in result.detail


async def test_over_capacity_nothing_is_placed(whatsapp: WhatsApp, phone: Phone) -> None:
    served = await whatsapp.serve(PlainBot(), max_calls=1)
    calling = dial(served, phone)
    call = await phone.rings()
    result = await served.call("4915550003333")
    assert (result.outcome, result.call) == (Outcome.LIMIT, None)
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    assert actions(whatsapp).count("connect") == 1


async def test_without_a_relay_where_one_is_wanted_nothing_is_placed(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    server, network = IceServer("turn:127.0.0.1:1", username="u"), Placement(relay_only=True)
    served = await whatsapp.serve(PlainBot(), ice_servers=(server,), network=network)
    result = await served.call(phone.user)
    assert result.outcome is Outcome.FAILED
    assert "relay" in result.detail
    assert "connect" not in actions(whatsapp)


async def test_a_process_that_is_to_place_no_calls_says_so(whatsapp: WhatsApp) -> None:
    served = await whatsapp.serve(PlainBot(), max_calls=0)
    result = await served.call("4915550003333")
    assert result.outcome is Outcome.LIMIT
    assert "max_calls is 0" in result.detail


async def test_a_process_that_drains_places_nothing(whatsapp: WhatsApp, phone: Phone) -> None:
    served = await whatsapp.serve(PlainBot())
    assert await served.drain(timeout=30)
    assert (await served.call(phone.user)).outcome is Outcome.CANCELLED
    await settled(whatsapp)


# Cancelled


@pytest.mark.parametrize("told_by", ["answer", "webhook"])
async def test_a_call_that_is_cancelled_while_it_is_placed_is_ended_at_meta(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, told_by: str
) -> None:
    bot = PlainBot()
    faults = whatsapp.meta.faults
    faults.late_responses["connect"] = 0.5
    if told_by == "webhook":
        faults.drop_response.append("connect")
        faults.hold()
    else:
        faults.lose += ["connect", "ringing"]
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await cancelled(calling)
    assert (await reports.next()).cause is Cause.APP_HUNG_UP
    if told_by == "webhook":
        await whatsapp.meta.release()
    assert await call.ended() == "terminated"
    assert bot.started == []
    assert served.calls == ()
    await settled(whatsapp, "connect", "terminate")


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[WhatsAppConnection]:
    """Every connection that is made."""
    made: list[WhatsAppConnection] = []
    make = WhatsAppConnection.__init__

    def noted(self: WhatsAppConnection, *args: Any, **options: Any) -> None:
        made.append(self)
        make(self, *args, **options)

    monkeypatch.setattr(WhatsAppConnection, "__init__", noted)
    return made


@pytest.mark.parametrize("turns", range(1, 60, 2))
async def test_at_whatever_moment_a_call_is_cancelled_nothing_is_left(
    whatsapp: WhatsApp,
    phone: Phone,
    reports: Reports,
    connections: list[WhatsAppConnection],
    turns: int,
) -> None:
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    calling = dial(served, phone)
    for _ in range(turns):
        await asyncio.sleep(0)
    await cancelled(calling)
    assert (await reports.next()).outcome is Outcome.CANCELLED
    await whatsapp.stop_serving()
    assert served.calls == ()
    assert {connection.pc.connectionState for connection in connections} <= {"closed"}
    # Meta's calls have all been ended, each by us, and once.
    calls = whatsapp.meta.calls.values()
    assert all(call.ended_reason == "terminated" for call in calls)
    assert actions(whatsapp) == ["connect", "terminate"] * len(calls)


async def test_a_call_that_is_cancelled_while_it_rings(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await in_state(served, State.ALERTING)
    await cancelled(calling)
    assert await call.ended() == "terminated"
    report = await reports.next()
    assert (report.outcome, report.detail) == (Outcome.CANCELLED, "the attempt was cancelled")
    assert bot.running == 0
    await settled(whatsapp, "connect", "terminate")


async def test_an_answered_call_outlives_whoever_placed_it(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    await calling
    assert not calling.cancel()
    await in_state(served, State.ACTIVE)


async def test_the_application_ends_a_call_that_rings(whatsapp: WhatsApp, phone: Phone) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    await in_state(served, State.ALERTING)
    assert await served.terminate(call.id)
    assert (await calling).outcome is Outcome.CANCELLED
    await settled(whatsapp, "connect", "terminate")


async def test_all_calls_are_ended_even_those_that_meta_has_not_answered_yet(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.faults.late_responses["connect"] = 0.5
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    assert await served.terminate_all() == 1
    assert (await calling).outcome is Outcome.CANCELLED
    assert await call.ended() == "terminated"
    await settled(whatsapp, "connect", "terminate")


async def test_shutdown_while_it_rings(whatsapp: WhatsApp, phone: Phone, reports: Reports) -> None:
    bot = PlainBot()
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await in_state(served, State.ALERTING)
    await whatsapp.stop_serving()
    assert (await calling).outcome is Outcome.CANCELLED
    assert (await reports.next()).cause is Cause.SHUTDOWN
    assert await call.ended() == "terminated"
    assert bot.running == 0
    assert actions(whatsapp) == ["connect", "terminate"]


async def test_shutdown_while_a_call_is_placed(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.late_responses["connect"] = 0.5
    whatsapp.meta.faults.lose += ["connect", "ringing"]
    served = await whatsapp.serve(bot, timing=Timing(shutdown_grace=10))
    calling = dial(served, phone)
    call = await phone.rings()
    await whatsapp.stop_serving()
    assert (await calling).outcome is Outcome.CANCELLED
    assert await call.ended() == "terminated"
    assert bot.started == []
    assert actions(whatsapp) == ["connect", "terminate"]


async def test_whoever_waits_for_a_report_gets_it_though_the_bot_never_ends(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat_whatsapp.calls.adapter.CLOSE_TIMEOUT", 0.1)
    leave = asyncio.Event()

    async def bot(runner_args: WhatsAppRunnerArguments) -> None:
        await runner_args.webrtc_connection.connect()
        while not leave.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await leave.wait()

    served = await whatsapp.serve(bot, timing=Timing(shutdown_grace=0.1))
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    waiting = asyncio.create_task((await calling).report())
    await served.close()
    async with asyncio.timeout(30):
        report = await waiting
    assert report is not None
    assert report.cause is Cause.SHUTDOWN
    leave.set()


async def cancelled(calling: asyncio.Task[DialResult]) -> None:
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling
    assert calling.cancelled()


# Bots and media


async def test_a_bot_that_raises_while_it_rings_ends_the_call(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    served = await whatsapp.serve(PlainBot(error=RuntimeError("no key")))
    calling = dial(served, phone)
    call = await phone.rings()
    result = await calling
    assert (result.outcome, result.detail) == (Outcome.FAILED, "the bot raised RuntimeError")
    assert await call.ended() == "terminated"
    await settled(whatsapp, "connect", "terminate")


async def test_a_bot_that_is_not_ready_when_the_user_picks_up(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    served = await whatsapp.serve(
        PlainBot(ready=False), timing=Timing(link_timeout=1.0), on_call_ended=reports
    )
    calling = dial(served, phone)
    call = await phone.rings()
    await call.connected()
    await in_state(served, State.ALERTING)
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    report = await reports.next()
    assert (report.cause, report.answered) == (Cause.NOT_READY, True)
    assert await call.ended() == "terminated"
    assert call.recording.received == 0
    await settled(whatsapp, "connect", "terminate")


async def test_a_bot_that_is_ready_after_the_pick_up_talks_then(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    bot = PlainBot(ready=False)
    served = await whatsapp.serve(bot)
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    assert served.calls[0].state is State.PICKED_UP
    await bot.started[0].webrtc_connection.connect()
    await in_state(served, State.ACTIVE)


async def test_a_network_without_udp_is_named(
    whatsapp: WhatsApp, phone: Phone, network: Network, reports: Reports
) -> None:
    network.down = True
    served = await whatsapp.serve(
        PlainBot(), timing=Timing(link_timeout=0.5), on_call_ended=reports
    )
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    report = await reports.next()
    assert report.cause is Cause.NO_MEDIA
    assert "UDP" in report.detail
    await settled(whatsapp, "connect", "terminate")


async def test_an_answer_that_never_comes_is_no_media(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    whatsapp.meta.faults.lose.append("connect")
    served = await whatsapp.serve(
        PlainBot(), timing=Timing(link_timeout=0.5), on_call_ended=reports
    )
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    await calling
    assert (await reports.next()).cause is Cause.NO_MEDIA
    await settled(whatsapp, "connect", "terminate")


@pytest.mark.parametrize("sdp", ["", "hello", "v=0\r\n" + "a=x\r\n" * 100_000])
async def test_a_hostile_answer_ends_the_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, sdp: str
) -> None:
    whatsapp.meta.faults.lose.append("connect")
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await in_state(served, State.ALERTING)
    facts = payloads.CallFacts(call.id, phone.user, Direction.OUTBOUND, {})
    await whatsapp.meta.deliver(payloads.connect(whatsapp.meta.account, facts, sdp, timestamp=1))
    assert (await calling).outcome is Outcome.FAILED
    assert (await reports.next()).cause is Cause.BAD_OFFER
    assert await call.ended() == "terminated"
    await settled(whatsapp, "connect", "terminate")


# The end


async def test_a_user_who_hangs_up(whatsapp: WhatsApp, phone: Phone, reports: Reports) -> None:
    bot, directory = PlainBot(), MemoryDirectory()
    served = await whatsapp.serve(bot, directory=directory, on_call_ended=reports)
    calling = dial(served, phone, biz_opaque_callback_data="order-7")
    call = await phone.rings()
    await call.pick_up()
    result = await calling
    await in_state(served, State.ACTIVE)
    await call.hang_up()
    report = await reports.next()
    assert report == await result.report()
    assert (report.call_id, report.user) == (call.id, phone.user)
    assert report.phone_number_id == whatsapp.meta.account.phone_number_id
    assert report.direction is Direction.OUTBOUND
    assert (report.cause, report.outcome) == (Cause.CALLER_HUNG_UP, Outcome.ANSWERED)
    assert report.duration > 0
    assert report.biz_opaque_callback_data == "order-7"
    assert report.terminate is not None
    assert report.terminate.start_time is not None
    stages = list(report.stages)
    assert stages[:2] == [Signal.OFFERED, Signal.PLACED]
    assert {Signal.ANSWERED, Signal.LINKED, Signal.READY, Signal.PICKED_UP} <= set(stages)
    assert (bot.running, served.calls) == (0, ())
    holding = Holding(report.phone_number_id, report.direction)
    assert not (await directory.claim(call.id, holding)).is_ours
    await settled(whatsapp, "connect")


async def test_a_bot_hangs_up_after_its_last_word(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    farewell = chirp(1.0)
    bot = PipelineBot(prepare=says(farewell, then_end=True))
    served = await whatsapp.serve(bot, on_call_ended=reports)
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    await calling
    assert await call.ended() == "terminated"
    assert similarity(call.recording.pcm, farewell) > ALIKE
    report = await reports.next()
    assert (report.cause, report.outcome) == (Cause.BOT_HUNG_UP, Outcome.ANSWERED)
    assert bot.returned == 1
    await settled(whatsapp, "connect", "terminate")


async def test_drain_waits_for_a_call_of_ours(whatsapp: WhatsApp, phone: Phone) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone)
    call = await phone.rings()
    await call.pick_up()
    await calling
    draining = asyncio.create_task(served.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    await call.hang_up()
    assert await draining


# Told to another process


@asynccontextmanager
async def dialler(whatsapp: WhatsApp, join: Join | None) -> AsyncIterator[tuple[Member, Member]]:
    """A process that places calls, and one that gets all webhooks."""
    async with Deployment(whatsapp, join) as deployment:
        ours, other = await deployment.add(), await deployment.add()
        deployment.route(other)
        yield ours, other


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("data", [None, "order-7"])
@pytest.mark.parametrize("reply", ["at once", "late", "lost"])
async def test_what_another_process_hears_of_a_call_comes_to_the_one_that_placed_it(
    whatsapp: WhatsApp, phone: Phone, join: Join, reply: str, data: str | None
) -> None:
    if reply != "at once":
        whatsapp.meta.faults.late_responses["connect"] = 0.5
    if reply == "lost":
        whatsapp.meta.faults.drop_response.append("connect")
    async with dialler(whatsapp, join) as (ours, other):
        calling = dial(ours.adapter, phone, biz_opaque_callback_data=data)
        call = await phone.rings()
        if reply == "lost":
            # Nothing but a later word tells the id where the application's data may be anybody's.
            await whatsapp.meta.wait_request("connect")
            await until(lambda: data is None or ours.line.asked["claim"] == 1)
        await call.pick_up()
        result = await calling
        assert result.outcome is Outcome.ANSWERED
        assert ours.calls == [call.id]
        await in_state(ours.adapter, State.ACTIVE)
        await call.hang_up()
        report = await ours.reports.next()
        assert (report.call_id, report.cause) == (call.id, Cause.CALLER_HUNG_UP)
        assert report.biz_opaque_callback_data == data
        assert (other.log.began, other.reports.qsize()) == ([], 0)
        assert ours.log.ended == [call.id]
        await whatsapp.meta.wait_request("connect")
        assert actions(whatsapp) == ["connect"]


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("data", [None, "order-7"])
@pytest.mark.parametrize("reply", ["at once", "late"])
async def test_who_declines_at_once_is_told_by_another_process(
    whatsapp: WhatsApp, phone: Phone, join: Join, reply: str, data: str | None
) -> None:
    if reply == "late":
        whatsapp.meta.faults.late_responses["connect"] = 0.5
    # Letters may overtake each other as webhooks may: then nobody knows that it was declined.
    whatsapp.meta.faults.late["terminate"] = 0.2
    async with dialler(whatsapp, join) as (ours, other):
        calling = dial(ours.adapter, phone, biz_opaque_callback_data=data)
        call = await phone.rings()
        await call.decline()
        result = await calling
        assert result.outcome is Outcome.DECLINED
        report = await ours.reports.next()
        assert (report.call_id, report.cause) == (call.id, Cause.DECLINED)
        assert (ours.calls, other.log.began) == ([], [])
        await whatsapp.meta.wait_request("connect")
        assert actions(whatsapp) == ["connect"]


@pytest.mark.usefixtures("brisk")
async def test_who_declines_while_metas_reply_is_lost_is_told_by_another_process(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    whatsapp.meta.faults.late_responses["connect"] = 0.5
    whatsapp.meta.faults.drop_response.append("connect")
    whatsapp.meta.faults.late["terminate"] = 0.2
    async with dialler(whatsapp, join) as (ours, _):
        calling = dial(ours.adapter, phone)
        call = await phone.rings()
        await call.decline()
        assert (await calling).outcome is Outcome.DECLINED
        assert (await ours.reports.next()).call_id == call.id
        await whatsapp.meta.wait_request("connect")
        assert actions(whatsapp) == ["connect"]


async def test_a_call_that_was_not_placed_leaves_nothing_in_the_directory(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    board = Board()
    whatsapp.meta.faults.fail["connect"] = [(400, 138001)]
    async with Deployment(whatsapp, lambda node: MemoryDirectory(node, board)) as deployment:
        member = await deployment.add()
        assert (await member.adapter.call(phone.user)).outcome is Outcome.UNCALLABLE
        assert await member.adapter.drain(timeout=30)
        assert board.owners == {}
        assert board.member(member.node).calls == {}
