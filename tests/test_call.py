from __future__ import annotations

import time

import pytest

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.law import Signal, State
from pipecat_whatsapp.calls.outcome import Cause, Outcome
from pipecat_whatsapp.meta.events import CallConnect, CallTerminate, Direction, User

ADA = User(phone="4915550002222", user_id="DE.9", name="Ada Example")
TO_ACCEPTING = [Signal.ANSWERED, Signal.PRE_ACCEPTED, Signal.LINKED, Signal.READY]
TO_CALLING = [Signal.OFFERED, Signal.PLACED]
TO_ACTIVE = [*TO_CALLING, Signal.ANSWERED, Signal.LINKED, Signal.READY, Signal.PICKED_UP]


def inbound(*signals: Signal) -> Call:
    connect = CallConnect(
        call_id="wacid.A",
        phone_number_id="200",
        direction=Direction.INBOUND,
        user=ADA,
        business_phone="15550001111",
        sdp_type="offer",
        sdp="v=0",
        cta_payload="from-the-button",
        timestamp=1_790_000_000,
    )
    return told(Call.announced(connect, phone_number_id="200"), *signals)


def outbound(*signals: Signal) -> Call:
    call = Call(call_id="wacid.B", phone_number_id="200", direction=Direction.OUTBOUND, user=ADA)
    return told(call, *signals)


def told(call: Call, *signals: Signal) -> Call:
    for after, signal in enumerate(signals):
        call.apply(signal, after=after)
    return call


def test_a_call_knows_who_calls_whom() -> None:
    call = inbound()
    assert call.user.name == "Ada Example"
    assert call.business_phone == "15550001111"
    assert call.cta_payload == "from-the-button"
    assert "4915550002222" not in repr(call)
    assert str(call.user) == "+49…22"


def test_the_first_cause_stays() -> None:
    call = inbound(*TO_ACCEPTING)
    call.apply(Signal.HANG_UP, after=5.0, cause=Cause.BOT_FAILED, detail="the bot raised")
    call.apply(Signal.ACCEPTED, after=6.0)
    report = call.report()
    assert (report.cause, report.detail) == (Cause.BOT_FAILED, "the bot raised")
    assert not report.answered
    assert report.duration == 0.0


def test_the_report_of_an_answered_call() -> None:
    call = inbound(*TO_ACCEPTING, Signal.ACCEPTED)
    call.apply(Signal.TERMINATED, after=10.5)
    report = call.report()
    assert report.answered
    assert report.outcome is Outcome.ANSWERED
    assert report.duration == 10.5 - 4
    assert report.cause is Cause.CALLER_HUNG_UP
    assert [step.signal for step in report.steps] == [
        *TO_ACCEPTING,
        Signal.PREPARED,
        Signal.ACCEPTED,
        Signal.TERMINATED,
    ]
    assert report.steps[-1].state is State.ENDED
    assert report.stages[Signal.LINKED] == 2


def test_a_report_tells_when_things_were() -> None:
    before = time.time()
    call = inbound(*TO_ACCEPTING, Signal.ACCEPTED)
    call.ice_up_after = 1.5
    call.apply(Signal.TERMINATED, after=10.5)
    report = call.report()
    assert before <= report.began_at <= time.time()
    assert (report.ice_up_after, report.answered_after, report.ended_after) == (1.5, 4, 10.5)
    assert inbound().report().ended_after == 0.0


def test_what_a_trace_may_say_of_a_call_holds_no_phone_number() -> None:
    assert inbound().span_attributes == {
        "whatsapp.call_id": "wacid.A",
        "whatsapp.phone_number_id": "200",
        "whatsapp.direction": "inbound",
    }


def test_a_call_of_ours_lasts_from_the_pick_up_on() -> None:
    call = outbound(*TO_ACTIVE)
    call.apply(Signal.HANG_UP, after=8.0)
    report = call.report()
    assert report.outcome is Outcome.ANSWERED
    assert report.duration == 8.0 - 5
    assert report.stages[Signal.PICKED_UP] == 5


def test_a_pick_up_that_only_meta_knows_of_counts() -> None:
    call = outbound(*TO_CALLING)
    call.terminate = CallTerminate(call_id="wacid.B", start_time=1_790_000_000, duration=3)
    call.apply(Signal.TERMINATED, after=5.0)
    assert call.report().outcome is Outcome.ANSWERED


def test_completed_does_not_mean_answered() -> None:
    call = outbound(*TO_CALLING)
    call.terminate = CallTerminate(call_id="wacid.B", status="COMPLETED")
    call.apply(Signal.TERMINATED, after=5.0, cause=Cause.UNANSWERED)
    assert call.report().outcome is Outcome.UNANSWERED


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [
        (Cause.DECLINED, Outcome.DECLINED),
        (Cause.UNANSWERED, Outcome.UNANSWERED),
        (Cause.NOT_PERMITTED, Outcome.NOT_PERMITTED),
        (Cause.UNCALLABLE, Outcome.UNCALLABLE),
        (Cause.USER_BUSY, Outcome.BUSY),
        (Cause.LIMIT_REACHED, Outcome.LIMIT),
        (Cause.BUSY, Outcome.LIMIT),
        (Cause.APP_HUNG_UP, Outcome.CANCELLED),
        (Cause.SHUTDOWN, Outcome.CANCELLED),
        (Cause.GRAPH_FAILED, Outcome.FAILED),
        (Cause.NOT_CONNECTED, Outcome.FAILED),
        (Cause.NO_MEDIA, Outcome.FAILED),
    ],
)
def test_what_an_attempt_came_to(cause: Cause, outcome: Outcome) -> None:
    call = outbound(*TO_CALLING)
    call.apply(Signal.HANG_UP, after=5.0, cause=cause)
    assert call.report().outcome is outcome


def test_failures_are_told_from_ends() -> None:
    assert Cause.NO_MEDIA.is_failure
    assert not Cause.BOT_HUNG_UP.is_failure
    assert not Cause.CALLER_HUNG_UP.is_failure
    assert not Cause.DECLINED.is_failure
