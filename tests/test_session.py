"""The laws of a call, over real calls: real HTTP, UDP, ICE, DTLS and Opus."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections import defaultdict
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest
from aioice import stun
from loguru import logger
from pipecat.transports.smallwebrtc.connection import IceServer

from bots import PlainBot
from conftest import Reports, until
from pipecat_whatsapp.calls import parcel, session, watchdog
from pipecat_whatsapp.calls.bot import Accept, WhatsAppRunnerArguments
from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.law import State
from pipecat_whatsapp.calls.memory import MemoryDirectory
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.media.connection import WhatsAppConnection
from pipecat_whatsapp.media.network import Network as Placement
from pipecat_whatsapp.meta.events import MetaErrorInfo, User
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.network import Network
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

if TYPE_CHECKING:
    from loguru import Message


def actions(whatsapp: WhatsApp) -> list[str]:
    return [request.action for request in whatsapp.meta.requests]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks are new when they come: Meta's whole seconds do not eat a short deadline."""
    monkeypatch.setattr(parcel, "age_of", lambda connect: 0.0)


async def settled(whatsapp: WhatsApp, *expected: str) -> None:
    """Meta has heard exactly this, and hears no more once the adapter has ended."""
    for action in expected:
        await whatsapp.meta.wait_request(action)
    await whatsapp.stop_serving()
    assert actions(whatsapp) == list(expected)


# Accepting


async def test_accept_repeats_the_answer_of_pre_accept(whatsapp: WhatsApp, phone: Phone) -> None:
    await whatsapp.serve(PlainBot())
    call = await phone.dial()
    await call.answered()
    pre_accept, accept = (r.body["session"] for r in whatsapp.meta.requests if r.body)
    assert pre_accept == accept
    assert pre_accept["sdp_type"] == "answer"


async def test_accept_waits_for_the_link(
    whatsapp: WhatsApp, phone: Phone, network: Network, reports: Reports
) -> None:
    network.down = True
    await whatsapp.serve(PlainBot(), timing=Timing(link_timeout=0.5), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    report = await reports.next()
    assert report.cause is Cause.NO_MEDIA
    assert "UDP" in report.detail
    await settled(whatsapp, "pre_accept", "reject")


async def test_accept_waits_for_the_pipeline(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot(ready=False)
    served = await whatsapp.serve(bot)
    call = await phone.dial()
    await call.connected()
    await until(lambda: bool(bot.started))
    assert served.calls[0].state is State.CONNECTING
    await bot.started[0].webrtc_connection.connect()
    await call.answered()


@pytest.mark.usefixtures("fresh")
async def test_a_bot_that_is_never_ready_is_given_up_in_time(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot(ready=False)
    await whatsapp.serve(bot, timing=Timing(accept_deadline=6), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    report = await reports.next()
    assert report.cause is Cause.NOT_READY
    assert "ready" in report.detail
    assert bot.running == 0
    await settled(whatsapp, "pre_accept", "reject")


@pytest.mark.usefixtures("fresh")
async def test_a_hook_that_never_decides_is_given_up_in_time(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    async def hook(call: Call) -> None:
        await asyncio.Event().wait()

    bot = PlainBot()
    await whatsapp.serve(
        bot, on_incoming_call=hook, timing=Timing(accept_deadline=1), on_call_ended=reports
    )
    call = await phone.dial()
    assert await call.ended() == "rejected"
    report = await reports.next()
    assert (report.cause, report.detail) == (
        Cause.NOT_READY,
        "on_incoming_call, or the SDP answer, took too long",
    )
    assert bot.started == []
    await settled(whatsapp, "reject")


async def test_a_caller_who_hangs_up_while_the_hook_decides(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    cancelled = asyncio.Event()

    async def hook(call: Call) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await whatsapp.serve(PlainBot(), on_incoming_call=hook, on_call_ended=reports)
    call = await phone.dial()
    await call.hang_up()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert cancelled.is_set()
    await settled(whatsapp)


@pytest.mark.parametrize("variant", ["today", "printed"])
async def test_every_form_of_offer_is_answered(
    whatsapp: WhatsApp, phone: Phone, variant: str
) -> None:
    await whatsapp.serve(PlainBot())
    call = await phone.dial(offer_variant=variant)
    await call.answered()


async def test_an_sdes_offer_is_rejected_with_the_reason(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial(offer_variant="sdes")
    assert await call.ended() == "rejected"
    report = await reports.next()
    assert report.cause is Cause.BAD_OFFER
    assert "srtp_key_exchange_protocol" in report.detail
    await settled(whatsapp, "reject")


@pytest.mark.parametrize("sdp", ["", "hello", "v=0\r\n" + "a=x\r\n" * 100_000])
async def test_a_hostile_offer_is_rejected(whatsapp: WhatsApp, reports: Reports, sdp: str) -> None:
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    leg = Leg()
    whatsapp.meta.ring(leg, sdp, User(user_id="DE.9"))
    assert (await reports.next()).cause is Cause.BAD_OFFER
    await settled(whatsapp, "reject")
    assert leg.ended == ["rejected"]


class Leg:
    """A phone without a voice."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def on_answer(self, sdp: str) -> None:
        raise AssertionError("a hostile offer was answered")

    def on_accepted(self) -> None:
        raise AssertionError("a hostile offer was accepted")

    def on_ended(self, reason: str) -> None:
        self.ended.append(reason)


async def test_a_caller_without_a_phone_number_is_served(whatsapp: WhatsApp) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    phone = await whatsapp.phone(User(user_id="DE.900000000000000009", username="ada.example"))
    call = await phone.dial(cta_payload="button", deeplink_payload="link")
    await call.answered()
    (args,) = bot.started
    assert args.call.user.phone is None
    assert args.call.user.key == "DE.900000000000000009"
    assert args.body["user_id"] == "DE.900000000000000009"
    assert (args.body["cta_payload"], args.body["deeplink_payload"]) == ("button", "link")


async def test_graph_latency_costs_no_dtls_retransmission(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    """A ClientHello before Meta has our answer would be lost and come again a second later."""
    whatsapp.meta.faults.latency = 0.1
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    signals = [step.signal.value for step in (await reports.next()).steps]
    assert signals.index("pre-accepted") < signals.index("linked")


# Graph failing


async def test_a_refused_pre_accept_ends_in_a_reject(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.fail["pre_accept"] = [(400, 100)]
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    assert (await reports.next()).cause is Cause.GRAPH_FAILED
    assert bot.running == 0
    await settled(whatsapp, "pre_accept", "reject")


async def test_a_refused_accept_ends_in_a_reject(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.fail["accept"] = [(400, 100)]
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    report = await reports.next()
    assert (report.cause, report.answered) == (Cause.GRAPH_FAILED, False)
    assert bot.running == 0
    await settled(whatsapp, "pre_accept", "accept", "reject")


async def test_a_passing_fault_of_accept_is_survived(whatsapp: WhatsApp, phone: Phone) -> None:
    whatsapp.meta.faults.fail["accept"] = [(500, 138004)]
    await whatsapp.serve(PlainBot())
    call = await phone.dial()
    await call.answered()
    assert actions(whatsapp) == ["pre_accept", "accept", "accept"]


@pytest.mark.parametrize("action", ["pre_accept", "accept"])
async def test_a_call_whose_answer_was_lost_goes_on(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, action: str
) -> None:
    """Meta carried it out, and refuses to do so again: the call is ours."""
    whatsapp.meta.faults.drop_response.append(action)
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    await until(lambda: bool(served.calls) and served.calls[0].state is State.ACTIVE)
    await call.hang_up()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    await settled(whatsapp, *sorted(["accept", "pre_accept", action], reverse=True))


async def test_a_call_that_ends_here_while_accept_is_repeated_ends_in_a_terminate(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    whatsapp.meta.faults.drop_response.append("accept")
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    await whatsapp.meta.wait_request("accept", call.id)
    assert await served.terminate(call.id)
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.APP_HUNG_UP


async def test_an_accept_that_is_never_answered_ends_in_a_terminate(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    """Nobody knows whether the call is up, and it must not stay so."""
    whatsapp.meta.faults.drop_response += ["accept"] * 3
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.GRAPH_FAILED
    assert actions(whatsapp)[-1] == "terminate"


@pytest.mark.usefixtures("fresh")
async def test_a_graph_that_hangs_does_not_hold_the_caller(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    whatsapp.meta.faults.hang.add("pre_accept")
    bot = PlainBot()
    await whatsapp.serve(bot, timing=Timing(accept_deadline=6), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    report = await reports.next()
    assert (report.cause, report.answered) == (Cause.GRAPH_FAILED, False)
    assert bot.running == 0


async def test_local_clean_up_never_waits_for_graph(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    whatsapp.meta.faults.hang.add("terminate")
    await bot.started[0].webrtc_connection.disconnect()
    report = await reports.next()
    assert report.cause is Cause.BOT_HUNG_UP
    assert bot.running == 0
    # Graph has not answered yet, and need not.
    whatsapp.meta.faults.hang.clear()


# The end wins


async def test_terminate_before_connect_leaves_nothing(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    served = await whatsapp.serve(bot)
    whatsapp.meta.faults.hold()
    call = await phone.dial()
    hanging_up = asyncio.ensure_future(call.hang_up())
    await until(lambda: whatsapp.meta.calls[call.id].ended_reason is not None)
    await whatsapp.meta.release(reverse=True)
    await hanging_up
    await served.drain(timeout=30)
    assert bot.started == []
    await settled(whatsapp)


async def test_connect_and_terminate_in_one_batch_leave_nothing(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    served = await whatsapp.serve(bot, on_call_ended=reports)
    whatsapp.meta.faults.hold()
    call = await phone.dial()
    hanging_up = asyncio.ensure_future(call.hang_up())
    await until(lambda: whatsapp.meta.calls[call.id].ended_reason is not None)
    await whatsapp.meta.release(batch=True)
    await hanging_up
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    await served.drain(timeout=30)
    assert bot.started == []
    await settled(whatsapp)


@pytest.mark.parametrize("action", ["pre_accept", "accept"])
async def test_terminate_while_graph_is_asked(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, action: str
) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.hang.add(action)
    served = await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    state = State.CONNECTING if action == "pre_accept" else State.ACCEPTING
    await until(lambda: bool(served.calls) and served.calls[0].state is state)
    await call.hang_up()
    report = await reports.next()
    assert (report.cause, report.answered) == (Cause.CALLER_HUNG_UP, False)
    assert bot.running == 0
    assert served.calls == ()
    assert not {"reject", "terminate"} & set(actions(whatsapp))


async def test_hanging_up_here_while_accept_is_on_its_way(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    """Accept wins at Meta, so Meta must hear terminate, and only after accept's answer."""
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    whatsapp.meta.faults.latency = 0.3
    call = await phone.dial()
    await until(lambda: bool(served.calls) and served.calls[0].state is State.ACCEPTING)
    assert await served.terminate(call.id)
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.APP_HUNG_UP
    await settled(whatsapp, "pre_accept", "accept", "terminate")


async def test_the_callers_hang_up_ends_everything_and_meta_hears_nothing(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    served = await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    report = await reports.next()
    assert (report.cause, report.answered) == (Cause.CALLER_HUNG_UP, True)
    assert report.terminate is not None
    assert report.terminate.status == "COMPLETED"
    assert (bot.running, served.calls) == (0, ())
    await settled(whatsapp, "pre_accept", "accept")


@pytest.mark.parametrize("code", [138021, 138022, 138023])
async def test_a_terminate_with_short_errors_says_why(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, code: int
) -> None:
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    error = MetaErrorInfo(code=code, title="Media timeout")
    await whatsapp.meta.calls[call.id].hang_up(error)
    report = await reports.next()
    assert report.cause is Cause.CALLER_HUNG_UP
    assert report.terminate is not None
    assert (report.terminate.status, report.terminate.errors) == ("FAILED", (error,))
    assert str(code) in report.detail


async def test_metas_words_on_the_end_lose_the_users_number(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, warnings: list[str]
) -> None:
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await whatsapp.meta.calls[call.id].hang_up(MetaErrorInfo(title="No way to +4915550002222"))
    report = await reports.next()
    assert "No way to" in report.detail
    assert "4915550002222" not in report.detail


# Bots


async def test_a_bot_that_hangs_up_ends_the_call_at_graph(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await bot.started[0].webrtc_connection.disconnect()
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.BOT_HUNG_UP
    await settled(whatsapp, "pre_accept", "accept", "terminate")


async def test_a_bot_that_raises_at_the_start_rejects_the_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    await whatsapp.serve(PlainBot(error=RuntimeError("no key")), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    report = await reports.next()
    assert (report.cause, report.detail) == (Cause.BOT_FAILED, "the bot raised RuntimeError")


async def test_a_bot_that_exits_ends_its_own_call_only(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    await whatsapp.serve(PlainBot(error=SystemExit(0)), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    assert (await reports.next()).detail == "the bot raised SystemExit"


async def test_a_bot_that_waits_for_something_that_is_cancelled_ends_its_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    work = asyncio.create_task(asyncio.Event().wait())

    async def bot(runner_args: WhatsAppRunnerArguments) -> None:
        await runner_args.webrtc_connection.connect()
        await work

    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    work.cancel()
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.BOT_FAILED


async def test_a_bot_that_raises_later_ends_the_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    fall = asyncio.Event()

    async def bot(runner_args: WhatsAppRunnerArguments) -> None:
        await runner_args.webrtc_connection.connect()
        await fall.wait()
        raise RuntimeError("a bug of the bot")

    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    fall.set()
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.BOT_FAILED


async def test_a_bot_that_returns_ends_the_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    leave = asyncio.Event()

    async def bot(runner_args: WhatsAppRunnerArguments) -> None:
        await runner_args.webrtc_connection.connect()
        await leave.wait()

    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    leave.set()
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.BOT_HUNG_UP


async def test_a_bot_that_never_ends_is_cancelled_after_a_grace(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot(stay=True)
    await whatsapp.serve(bot, timing=Timing(bot_grace=0.1), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert (bot.running, bot.cancelled) == (0, 1)


async def test_who_closes_twice_does_not_break_into_a_bots_clean_up(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    async def bot(runner_args: WhatsAppRunnerArguments) -> None:
        await runner_args.webrtc_connection.connect()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.sleep(0.05)
            cleaned.set()

    served = await whatsapp.serve(bot, timing=Timing(shutdown_grace=0))
    call = await phone.dial()
    await call.answered()
    closing = asyncio.create_task(served.close())
    await cleaning.wait()
    await asyncio.gather(closing, served.close())
    assert cleaned.is_set()


async def test_a_bot_that_cannot_be_cancelled_holds_no_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CANCEL_TIMEOUT", 0.1)
    leave = asyncio.Event()

    async def bot(runner_args: WhatsAppRunnerArguments) -> None:
        await runner_args.webrtc_connection.connect()
        while not leave.is_set():
            try:
                await leave.wait()
            except asyncio.CancelledError:
                logger.debug("No!")

    served = await whatsapp.serve(bot, timing=Timing(bot_grace=0.1), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert served.calls == ()
    leave.set()


# Media


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Timing:
    """Media is missed after a few reviews, and the far end asked about it in quick succession."""
    monkeypatch.setattr(watchdog, "REVIEW_SECONDS", 0.05)
    monkeypatch.setattr(stun, "RETRY_RTO", 0.05)
    return Timing(silence_timeout=0.2, media_timeout=0.4)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool | None]:
    """What the far end answered when it was asked."""
    answers: list[bool | None] = []
    ask = WhatsAppConnection.has_consent

    async def noted(self: WhatsAppConnection) -> bool | None:
        answers.append(await ask(self))
        return answers[-1]

    monkeypatch.setattr(WhatsAppConnection, "has_consent", noted)
    return answers


async def test_a_caller_who_vanishes_is_noticed(
    whatsapp: WhatsApp,
    phone: Phone,
    reports: Reports,
    impatient: Timing,
    asked: list[bool | None],
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot, timing=impatient, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.say(bytes(16_000))
    call.vanish()
    report = await reports.next()
    assert (report.cause, report.answered) == (Cause.MEDIA_LOST, True)
    assert "no sign of life" in report.detail
    assert asked[-1] is False
    assert bot.running == 0
    await settled(whatsapp, "pre_accept", "accept", "terminate")


async def test_a_call_that_never_gets_media_is_ended(
    whatsapp: WhatsApp, phone: Phone, network: Network, reports: Reports, impatient: Timing
) -> None:
    bot = PlainBot(ready=False)
    await whatsapp.serve(bot, timing=impatient, on_call_ended=reports)
    call = await phone.dial()
    await call.connected()
    await until(lambda: bool(bot.started))
    network.down = True
    await bot.started[0].webrtc_connection.connect()
    report = await reports.next()
    assert (report.cause, report.answered) == (Cause.NO_MEDIA, True)
    await settled(whatsapp, "pre_accept", "accept", "terminate")


async def test_a_caller_who_sends_nothing_but_is_there_stays(
    whatsapp: WhatsApp,
    phone: Phone,
    impatient: Timing,
    asked: list[bool | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A phone that sends nothing while nobody speaks is not dead."""
    served = await whatsapp.serve(PlainBot(), timing=impatient)
    call = await phone.dial()
    await call.answered()
    await call.say(bytes(16_000))
    for way in ("send_rtp", "send_rtcp"):
        monkeypatch.setattr(LiteEndpoint, way, lambda self, packet: None)
    # Long enough for the silence to be given up, if it were one.
    await until(lambda: len(asked) >= 20)
    assert set(asked) == {True}
    assert served.calls[0].state is State.ACTIVE
    # And still its end is noticed.
    call.vanish()
    await until(lambda: served.calls == ())
    assert asked[-1] is False


# Logs


async def test_logs_tell_the_call_and_no_secret(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    lines: list[str] = []
    calls: list[str | None] = []

    def keep(message: Message) -> None:
        lines.append(str(message))
        calls.append(message.record["extra"].get("call_id"))

    sink = logger.add(keep, level="DEBUG")
    try:
        await whatsapp.serve(PlainBot(), on_call_ended=reports)
        call = await phone.dial()
        await call.answered()
        await call.hang_up()
        await reports.next()
    finally:
        logger.remove(sink)
    text = "".join(lines)
    assert call.id in calls
    account = whatsapp.meta.account
    for secret in (account.token, account.app_secret, account.verification_token):
        assert secret not in text
    for private in ("4915550002222", "a=ice-pwd", "a=fingerprint", "Ada Example"):
        assert private not in text


async def test_a_call_that_lasts_too_long_is_ended(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    await whatsapp.serve(PlainBot(), max_call_duration=0.2, on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "terminated"
    report = await reports.next()
    assert report.cause is Cause.TIME_LIMIT
    assert report.answered
    await settled(whatsapp, "pre_accept", "accept", "terminate")


# The call's own context

COLOUR: ContextVar[str] = ContextVar("COLOUR", default="none")


class Painter(Observer):
    """Gives each call a colour, and keeps what it sees of it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._colours = itertools.count()

    def call_began(self, call: Call) -> None:
        COLOUR.set(f"colour {next(self._colours)}")
        self.see("began")

    def call_ended(self, report: CallReport) -> None:
        self.see("ended")

    async def bot(self, arguments: WhatsAppRunnerArguments) -> None:
        self.see("bot")
        await PlainBot()(arguments)

    def see(self, place: str) -> None:
        self.seen.append((place, COLOUR.get()))
        logger.info("seen in {}", place)


@pytest.mark.parametrize("outbound", [False, True])
async def test_each_call_has_a_context_of_its_own(whatsapp: WhatsApp, *, outbound: bool) -> None:
    painter, reports = Painter(), Reports()
    told: dict[str, list[str]] = defaultdict(list)

    def keep(message: Message) -> None:
        if message.record["message"].startswith("seen in "):
            call_id = message.record["extra"]["call_id"]
            told[call_id].append(message.record["message"].removeprefix("seen in "))

    sink = logger.add(keep, level="INFO")
    try:
        served = await whatsapp.serve(painter.bot, observers=[painter], on_call_ended=reports)
        ids = []
        for number in range(2):
            phone = await whatsapp.phone(User(user_id=f"DE.{number}"))
            whatsapp.meta.permissions.grant(phone.user)
            if outbound:
                calling = asyncio.create_task(served.call(phone.user))
                rung = await phone.rings()
                await rung.pick_up()
                await calling
                ids.append(rung.id)
            else:
                call = await phone.dial()
                await call.answered()
                ids.append(call.id)
        await until(lambda: len(painter.seen) == 4)
        await served.terminate_all()
        assert {(await reports.next()).call_id for _ in ids} == set(ids)
    finally:
        logger.remove(sink)
    for number in range(2):
        places = [place for place, colour in painter.seen if colour == f"colour {number}"]
        assert places == ["began", "bot", "ended"]
    # A call of ours has no id yet when it begins.
    began = {"": ["began", "began"]} if outbound else {}
    told_of = ["bot", "ended"] if outbound else ["began", "bot", "ended"]
    assert told == began | dict.fromkeys(ids, told_of)
    assert COLOUR.get() == "none"


# What breaks


async def test_a_task_that_breaks_ends_its_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(session, "watch", broken)
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "terminated"
    report = await reports.next()
    assert report.cause is Cause.BROKEN
    assert "RuntimeError" in report.detail
    await settled(whatsapp, "pre_accept", "accept", "terminate")


async def test_a_relay_that_is_away_is_told_without_what_opens_it(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    server = IceServer("turn:127.0.0.1:1", username="u", credential="a-credential")
    await whatsapp.serve(
        PlainBot(),
        ice_servers=(server,),
        network=Placement(relay_only=True),
        on_call_ended=reports,
    )
    log = io.StringIO()
    sink = logger.add(log, diagnose=True)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    report = await reports.next()
    logger.remove(sink)
    assert report.cause is Cause.NO_MEDIA
    assert "relay" in report.detail
    assert report.detail.rstrip(".") in log.getvalue()
    assert "a-credential" not in log.getvalue()


async def test_terms_that_cannot_be_sent_end_the_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    async def hook(call: Call) -> Accept:
        return Accept(recording=True)  # type: ignore[arg-type]

    await whatsapp.serve(PlainBot(), on_incoming_call=hook, on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() in ("terminated", "rejected")
    assert (await reports.next()).cause is Cause.BROKEN


async def test_a_directory_that_cannot_bury_keeps_nobody_waiting(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    class Failing(MemoryDirectory):
        async def bury(self, call_id: str) -> None:
            raise ConnectionError("no directory")

    bot = PlainBot()
    await whatsapp.serve(bot, directory=Failing(), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert bot.running == 0


async def test_metas_codes_come_with_advice(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    assert call.meta_call is not None
    await call.meta_call.hang_up(MetaErrorInfo(code=138021, title="No media"))
    report = await reports.next()
    assert "138021 No media" in report.detail
    assert "UDP" in report.detail
