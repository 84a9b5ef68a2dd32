from __future__ import annotations

import itertools

import pytest

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.law import (
    INBOUND_PREPARATIONS,
    OUTBOUND_PREPARATIONS,
    TABLE,
    Action,
    Signal,
    State,
)
from pipecat_whatsapp.meta.events import Direction, User

RINGING, CONNECTING, ACCEPTING = State.RINGING, State.CONNECTING, State.ACCEPTING
OFFERING, DIALLING, CALLING = State.OFFERING, State.DIALLING, State.CALLING
ALERTING, PICKED_UP = State.ALERTING, State.PICKED_UP
ACTIVE, WITHDRAWN, ENDED = State.ACTIVE, State.WITHDRAWN, State.ENDED

REJECT, TERMINATE, CLEAN_UP = Action.REJECT, Action.TERMINATE, Action.CLEAN_UP

# The law once more, by hand: a change of the table must be meant.
INBOUND = [
    (RINGING, Signal.ANSWERED, CONNECTING, [Action.PRE_ACCEPT, Action.START_BOT]),
    (RINGING, Signal.HELD_BACK, ENDED, [CLEAN_UP]),
    (RINGING, Signal.OUTRUN, ENDED, [CLEAN_UP]),
    (RINGING, Signal.HANG_UP, ENDED, [REJECT, CLEAN_UP]),
    (RINGING, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (CONNECTING, Signal.PREPARED, ACCEPTING, [Action.ACCEPT]),
    (CONNECTING, Signal.OUTRUN, ENDED, [CLEAN_UP]),
    (CONNECTING, Signal.HANG_UP, ENDED, [REJECT, CLEAN_UP]),
    (CONNECTING, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (ACCEPTING, Signal.ACCEPTED, ACTIVE, [Action.OPEN_MEDIA]),
    (ACCEPTING, Signal.ACCEPT_REFUSED, ENDED, [REJECT, CLEAN_UP]),
    (ACCEPTING, Signal.ACCEPT_UNANSWERED, ENDED, [TERMINATE, CLEAN_UP]),
    (ACCEPTING, Signal.OUTRUN, ENDED, [CLEAN_UP]),
    (ACCEPTING, Signal.HANG_UP, WITHDRAWN, [CLEAN_UP]),
    (ACCEPTING, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (ACTIVE, Signal.HANG_UP, ENDED, [TERMINATE, CLEAN_UP]),
    (ACTIVE, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (WITHDRAWN, Signal.ACCEPTED, ENDED, [TERMINATE]),
    (WITHDRAWN, Signal.ACCEPT_REFUSED, ENDED, [REJECT]),
    (WITHDRAWN, Signal.ACCEPT_UNANSWERED, ENDED, [TERMINATE]),
    (WITHDRAWN, Signal.OUTRUN, ENDED, []),
    (WITHDRAWN, Signal.TERMINATED, ENDED, []),
]
OUTBOUND = [
    (OFFERING, Signal.OFFERED, DIALLING, [Action.CONNECT]),
    (OFFERING, Signal.HANG_UP, ENDED, [CLEAN_UP]),
    (DIALLING, Signal.PLACED, CALLING, [Action.START_BOT]),
    (DIALLING, Signal.CONNECT_REFUSED, ENDED, [CLEAN_UP]),
    (DIALLING, Signal.HANG_UP, WITHDRAWN, [CLEAN_UP]),
    (CALLING, Signal.ANSWERED, CALLING, [Action.START_LINK]),
    (CALLING, Signal.ALERTED, ALERTING, []),
    (CALLING, Signal.PICKED_UP, PICKED_UP, []),
    (CALLING, Signal.DECLINED, ENDED, [CLEAN_UP]),
    (CALLING, Signal.HANG_UP, ENDED, [TERMINATE, CLEAN_UP]),
    (CALLING, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (ALERTING, Signal.ANSWERED, ALERTING, [Action.START_LINK]),
    (ALERTING, Signal.PICKED_UP, PICKED_UP, []),
    (ALERTING, Signal.DECLINED, ENDED, [CLEAN_UP]),
    (ALERTING, Signal.HANG_UP, ENDED, [TERMINATE, CLEAN_UP]),
    (ALERTING, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (PICKED_UP, Signal.ANSWERED, PICKED_UP, [Action.START_LINK]),
    (PICKED_UP, Signal.PREPARED, ACTIVE, [Action.OPEN_MEDIA]),
    (PICKED_UP, Signal.HANG_UP, ENDED, [TERMINATE, CLEAN_UP]),
    (PICKED_UP, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (ACTIVE, Signal.HANG_UP, ENDED, [TERMINATE, CLEAN_UP]),
    (ACTIVE, Signal.TERMINATED, ENDED, [CLEAN_UP]),
    (WITHDRAWN, Signal.PLACED, ENDED, [TERMINATE]),
    (WITHDRAWN, Signal.CONNECT_REFUSED, ENDED, []),
    (WITHDRAWN, Signal.CONNECT_LOST, ENDED, []),
    (WITHDRAWN, Signal.TERMINATED, ENDED, []),
]

TO_ACCEPTING = [Signal.ANSWERED, Signal.PRE_ACCEPTED, Signal.LINKED, Signal.READY]
TO_CALLING = [Signal.OFFERED, Signal.PLACED]
TO_PICKED_UP = [*TO_CALLING, Signal.ANSWERED, Signal.ALERTED, Signal.PICKED_UP]
PATHS: dict[Direction, dict[State, list[Signal]]] = {
    Direction.INBOUND: {
        RINGING: [],
        CONNECTING: [Signal.ANSWERED],
        ACCEPTING: TO_ACCEPTING,
        ACTIVE: [*TO_ACCEPTING, Signal.ACCEPTED],
        WITHDRAWN: [*TO_ACCEPTING, Signal.HANG_UP],
        ENDED: [Signal.TERMINATED],
    },
    Direction.OUTBOUND: {
        OFFERING: [],
        DIALLING: [Signal.OFFERED],
        CALLING: TO_CALLING,
        ALERTING: [*TO_CALLING, Signal.ALERTED],
        PICKED_UP: TO_PICKED_UP,
        ACTIVE: [*TO_PICKED_UP, Signal.LINKED, Signal.READY],
        WITHDRAWN: [Signal.OFFERED, Signal.HANG_UP],
        ENDED: [Signal.HANG_UP],
    },
}
PLACES = [(direction, state) for direction, states in PATHS.items() for state in states]


def call_in(direction: Direction, state: State) -> Call:
    call = Call(
        call_id="wacid.A", phone_number_id="200", direction=direction, user=User(user_id="DE.9")
    )
    for signal in PATHS[direction][state]:
        call.apply(signal, after=1.0)
    assert call.state is state
    return call


def test_the_table_is_the_law() -> None:
    rows = {(s, e): (n, list(a)) for (s, e), (n, a) in TABLE.items()}
    assert rows == {(s, e): (n, a) for s, e, n, a in INBOUND + OUTBOUND}


@pytest.mark.parametrize(
    ("direction", "state", "signal", "after", "actions"),
    [
        (direction, *row)
        for direction, rows in ((Direction.INBOUND, INBOUND), (Direction.OUTBOUND, OUTBOUND))
        for row in rows
        if row[1] is not Signal.PREPARED
    ],
    ids=lambda value: getattr(value, "value", None),
)
def test_each_row(
    direction: Direction, state: State, signal: Signal, after: State, actions: list[Action]
) -> None:
    call = call_in(direction, state)
    assert list(call.apply(signal, after=2.0)) == actions
    assert call.state is after


@pytest.mark.parametrize(("direction", "state"), PLACES)
@pytest.mark.parametrize("signal", Signal, ids=lambda signal: signal.value)
def test_a_pair_that_is_no_row_changes_nothing(
    direction: Direction, state: State, signal: Signal
) -> None:
    call = call_in(direction, state)
    if (state, signal) in TABLE or signal in call.awaited:
        return
    assert call.apply(signal, after=2.0) == ()
    assert call.state is state


@pytest.mark.parametrize("order", list(itertools.permutations(INBOUND_PREPARATIONS)))
def test_accept_waits_for_every_preparation_in_any_order(order: tuple[Signal, ...]) -> None:
    call = call_in(Direction.INBOUND, CONNECTING)
    first, second, third = order
    assert call.apply(first, after=1.0) == ()
    assert call.apply(first, after=1.0) == ()
    assert call.apply(second, after=2.0) == ()
    assert call.awaited == {third}
    assert call.apply(third, after=3.0) == (Action.ACCEPT,)
    assert call.state is ACCEPTING


@pytest.mark.parametrize(
    "order", list(itertools.permutations([*OUTBOUND_PREPARATIONS, Signal.PICKED_UP]))
)
def test_sound_waits_for_the_pick_up_the_link_and_the_bot_in_any_order(
    order: tuple[Signal, ...],
) -> None:
    call = call_in(Direction.OUTBOUND, CALLING)
    first, second, third = order
    assert call.apply(first, after=1.0) == ()
    assert call.apply(second, after=2.0) == ()
    assert call.state is not ACTIVE
    assert call.apply(third, after=3.0) == (Action.OPEN_MEDIA,)
    assert call.state is ACTIVE


def test_a_phone_that_rings_opens_no_media() -> None:
    call = call_in(Direction.OUTBOUND, ALERTING)
    for signal in (Signal.ANSWERED, Signal.LINKED, Signal.READY):
        assert Action.OPEN_MEDIA not in call.apply(signal, after=1.0)
    assert call.state is ALERTING


@pytest.mark.parametrize(("direction", "state"), PLACES)
def test_a_preparation_after_the_end_starts_nothing(direction: Direction, state: State) -> None:
    call = call_in(direction, state)
    call.apply(Signal.HANG_UP, after=2.0)
    for signal in (Signal.PRE_ACCEPTED, Signal.LINKED, Signal.READY, Signal.PICKED_UP):
        assert call.apply(signal, after=3.0) == ()
    assert call.is_over


def test_whatever_happens_meta_hears_of_the_end_at_most_once() -> None:
    signals = [*Signal]
    for (direction, state), told in itertools.product(PLACES, itertools.product(signals, repeat=3)):
        call = call_in(direction, state)
        actions = [action for signal in told for action in call.apply(signal, after=2.0)]
        assert sum(action in (REJECT, TERMINATE) for action in actions) <= 1
        assert actions.count(CLEAN_UP) <= 1
        assert actions.count(Action.CONNECT) <= 1


@pytest.mark.parametrize(("direction", "state"), PLACES)
def test_our_hang_up_ends_every_call(direction: Direction, state: State) -> None:
    call = call_in(direction, state)
    call.apply(Signal.HANG_UP, after=2.0)
    assert call.is_over
