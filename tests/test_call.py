from __future__ import annotations

import itertools

import pytest

from pipecat_whatsapp.calls.call import (
    PREPARATIONS,
    TABLE,
    Action,
    Call,
    Cause,
    Signal,
    State,
)
from pipecat_whatsapp.meta.events import CallConnect, Direction, User

RINGING, CONNECTING, ACCEPTING = State.RINGING, State.CONNECTING, State.ACCEPTING
ACTIVE, WITHDRAWN, ENDED = State.ACTIVE, State.WITHDRAWN, State.ENDED

REJECT, TERMINATE, CLEAN_UP = Action.REJECT, Action.TERMINATE, Action.CLEAN_UP

# The law once more, by hand: a change of the table must be meant.
LAW = [
    (RINGING, Signal.ANSWERED, CONNECTING, [Action.PRE_ACCEPT, Action.START_BOT]),
    (RINGING, Signal.HANG_UP, ENDED, [REJECT, CLEAN_UP]),
    (RINGING, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (CONNECTING, Signal.PREPARED, ACCEPTING, [Action.ACCEPT]),
    (CONNECTING, Signal.HANG_UP, ENDED, [REJECT, CLEAN_UP]),
    (CONNECTING, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (ACCEPTING, Signal.ACCEPTED, ACTIVE, [Action.OPEN_MEDIA]),
    (ACCEPTING, Signal.ACCEPT_REFUSED, ENDED, [REJECT, CLEAN_UP]),
    (ACCEPTING, Signal.ACCEPT_UNANSWERED, ENDED, [TERMINATE, CLEAN_UP]),
    (ACCEPTING, Signal.HANG_UP, WITHDRAWN, [CLEAN_UP]),
    (ACCEPTING, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (ACTIVE, Signal.HANG_UP, ENDED, [TERMINATE, CLEAN_UP]),
    (ACTIVE, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (WITHDRAWN, Signal.ACCEPTED, ENDED, [TERMINATE]),
    (WITHDRAWN, Signal.ACCEPT_REFUSED, ENDED, [REJECT]),
    (WITHDRAWN, Signal.ACCEPT_UNANSWERED, ENDED, [TERMINATE]),
    (WITHDRAWN, Signal.TERMINATED, ENDED, []),
]

PREPARING = [Signal.PRE_ACCEPTED, Signal.LINKED, Signal.READY]

TO_CONNECTING = [Signal.ANSWERED]
TO_ACCEPTING = [*TO_CONNECTING, *PREPARING]
TO_ACTIVE = [*TO_ACCEPTING, Signal.ACCEPTED]
PATHS: dict[State, list[Signal]] = {
    RINGING: [],
    CONNECTING: TO_CONNECTING,
    ACCEPTING: TO_ACCEPTING,
    ACTIVE: TO_ACTIVE,
    WITHDRAWN: [*TO_ACCEPTING, Signal.HANG_UP],
    ENDED: [Signal.TERMINATED],
}


def new_call() -> Call:
    connect = CallConnect(
        call_id="wacid.A",
        phone_number_id="200",
        direction=Direction.INBOUND,
        user=User(phone="4915550002222", user_id="DE.9", name="Ada Example"),
        business_phone="15550001111",
        sdp_type="offer",
        sdp="v=0",
        cta_payload="from-the-button",
        timestamp=1_790_000_000,
    )
    return Call(connect, phone_number_id="200")


def call_in(state: State) -> Call:
    call = new_call()
    for signal in PATHS[state]:
        call.apply(signal, after=1.0)
    assert call.state is state
    return call


def test_the_table_is_the_law() -> None:
    assert {(s, e): (n, list(a)) for (s, e), (n, a) in TABLE.items()} == {
        (state, signal): (after, actions) for state, signal, after, actions in LAW
    }


@pytest.mark.parametrize(
    ("state", "signal", "after", "actions"),
    [row for row in LAW if row[1] is not Signal.PREPARED],
    ids=lambda value: getattr(value, "value", None),
)
def test_each_row(state: State, signal: Signal, after: State, actions: list[Action]) -> None:
    call = call_in(state)
    assert list(call.apply(signal, after=2.0)) == actions
    assert call.state is after


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
@pytest.mark.parametrize("signal", Signal, ids=lambda signal: signal.value)
def test_a_pair_that_is_no_row_changes_nothing(state: State, signal: Signal) -> None:
    call = call_in(state)
    if (state, signal) in TABLE or signal in PREPARATIONS:
        return
    assert call.apply(signal, after=2.0) == ()
    assert call.state is state


@pytest.mark.parametrize("order", list(itertools.permutations(PREPARING)))
def test_accept_waits_for_every_preparation_in_any_order(order: tuple[Signal, ...]) -> None:
    call = call_in(CONNECTING)
    first, second, third = order
    assert call.apply(first, after=1.0) == ()
    assert call.apply(first, after=1.0) == ()
    assert call.apply(second, after=2.0) == ()
    assert call.awaited == {third}
    assert call.apply(third, after=3.0) == (Action.ACCEPT,)
    assert call.state is ACCEPTING


@pytest.mark.parametrize("last", PREPARING, ids=lambda signal: signal.value)
def test_a_preparation_after_the_end_starts_nothing(last: Signal) -> None:
    call = call_in(CONNECTING)
    for signal in PREPARATIONS - {last}:
        call.apply(signal, after=1.0)
    call.apply(Signal.TERMINATED, after=2.0)
    assert call.apply(last, after=3.0) == ()
    assert call.state is ENDED


def test_whatever_happens_meta_hears_of_the_end_at_most_once() -> None:
    for state, signals in itertools.product(State, itertools.product(Signal, repeat=3)):
        call = call_in(state)
        actions = [action for signal in signals for action in call.apply(signal, after=2.0)]
        assert sum(action in (REJECT, TERMINATE) for action in actions) <= 1
        assert actions.count(CLEAN_UP) <= 1
        if Signal.TERMINATED in signals:
            assert call.is_over


def test_the_first_cause_stays() -> None:
    call = call_in(ACCEPTING)
    call.apply(Signal.HANG_UP, after=2.0, cause=Cause.BOT_FAILED, detail="the bot raised")
    call.apply(Signal.ACCEPTED, after=3.0)
    report = call.report()
    assert (report.cause, report.detail) == (Cause.BOT_FAILED, "the bot raised")
    assert not report.answered
    assert report.duration == 0.0


def test_a_call_knows_who_calls_whom() -> None:
    call = new_call()
    assert call.caller.name == "Ada Example"
    assert call.number_called == "15550001111"
    assert call.cta_payload == "from-the-button"
    assert "4915550002222" not in repr(call)
    assert str(call.caller) == "+49…22"


def test_the_report_of_an_answered_call() -> None:
    call = new_call()
    for after, signal in enumerate(TO_ACTIVE):
        call.apply(signal, after=after)
    call.apply(Signal.TERMINATED, after=10.5)
    report = call.report()
    assert report.answered
    assert report.duration == 10.5 - 4
    assert report.cause is Cause.CALLER_HUNG_UP
    assert [step.signal for step in report.steps] == [
        *TO_ACCEPTING,
        Signal.PREPARED,
        Signal.ACCEPTED,
        Signal.TERMINATED,
    ]
    assert report.steps[-1].state is ENDED


def test_failures_are_told_from_ends() -> None:
    assert Cause.NO_MEDIA.is_failure
    assert not Cause.BOT_HUNG_UP.is_failure
    assert not Cause.CALLER_HUNG_UP.is_failure
