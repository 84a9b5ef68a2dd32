"""The law of a call: one transition table, pure and synchronous.

Everything that decides what a call does next lives in this file, and nothing in it does any I/O.
A `Call` is told what happened, as a `Signal`; the table answers with the next state and with the
actions to perform, and somebody else performs them.

Two rules hold for every row:

1. The end wins. Once a call is ENDED nothing brings it back, and Meta is told at most once.
2. What Meta hears depends on what Meta knows: `reject` before accept's 200, `terminate` after it,
   and nothing when the user hung up first.

While accept is on its way nobody knows which of the two Meta needs. A call that ends at that
moment is cleaned up here at once and then WITHDRAWN: accept's answer decides what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipecat_whatsapp.media.quality import CallQuality
from pipecat_whatsapp.meta.events import CallConnect, CallTerminate, Direction, User


class State(Enum):
    """Where a call stands.

    Parameters:
        RINGING: The call is known here; Meta has heard nothing from us.
        CONNECTING: Pre-accept was sent; the link and the bot's pipeline are coming up.
        ACCEPTING: Accept is on its way.
        ACTIVE: Accept was answered 200: caller and bot hear each other.
        WITHDRAWN: It ended here while accept was on its way.
        ENDED: It is over.
    """

    RINGING = "ringing"
    CONNECTING = "connecting"
    ACCEPTING = "accepting"
    ACTIVE = "active"
    WITHDRAWN = "withdrawn"
    ENDED = "ended"


class Signal(Enum):
    """What can happen to a call.

    Parameters:
        ANSWERED: Our session description is written.
        PRE_ACCEPTED: Meta answered pre-accept with 200.
        LINKED: ICE and DTLS are up.
        READY: The bot's pipeline has started.
        PREPARED: The last of the three above has come.
        ACCEPTED: Meta answered accept with 200.
        ACCEPT_REFUSED: Meta answered accept with an error.
        ACCEPT_UNANSWERED: Accept got no answer; it may have been carried out.
        HANG_UP: Our side ends the call, for the cause given with it.
        TERMINATED: Meta says that the call is over.
    """

    ANSWERED = "answered"
    PRE_ACCEPTED = "pre-accepted"
    LINKED = "linked"
    READY = "ready"
    PREPARED = "prepared"
    ACCEPTED = "accepted"
    ACCEPT_REFUSED = "accept refused"
    ACCEPT_UNANSWERED = "accept unanswered"
    HANG_UP = "hang up"
    TERMINATED = "terminated"


class Action(Enum):
    """What the law asks for.

    Parameters:
        PRE_ACCEPT: Send pre-accept with our session description.
        START_BOT: Start the bot's pipeline.
        ACCEPT: Send accept with the identical session description.
        OPEN_MEDIA: Let sound through, and tell the bot that the caller can hear.
        REJECT: Tell Meta that the call is declined.
        TERMINATE: Tell Meta that the call is over.
        CLEAN_UP: Close the peer, end the bot, forget the call.
    """

    PRE_ACCEPT = "pre_accept"
    START_BOT = "start bot"
    ACCEPT = "accept"
    OPEN_MEDIA = "open media"
    REJECT = "reject"
    TERMINATE = "terminate"
    CLEAN_UP = "clean up"


class Cause(Enum):
    """Why a call ended.

    Parameters:
        CALLER_HUNG_UP: The user ended it, or WhatsApp did for them.
        BOT_HUNG_UP: The bot ended it, or its pipeline came to its end.
        APP_HUNG_UP: The application asked for it.
        REJECTED: `on_incoming_call` declined it.
        BUSY: As many calls as allowed were running.
        BAD_OFFER: The offer cannot carry a call.
        BOT_FAILED: The bot, or a hook of the application, raised.
        GRAPH_FAILED: A request to Meta failed.
        NOT_READY: The hook or the pipeline was not ready when the time to accept was over.
        NO_MEDIA: The link never came up, or no packet ever came over it.
        MEDIA_LOST: The link broke, or packets stopped.
        SHUTDOWN: This process is ending.
    """

    CALLER_HUNG_UP = "caller hung up"
    BOT_HUNG_UP = "bot hung up"
    APP_HUNG_UP = "application hung up"
    REJECTED = "rejected"
    BUSY = "busy"
    BAD_OFFER = "bad offer"
    BOT_FAILED = "bot failed"
    GRAPH_FAILED = "graph failed"
    NOT_READY = "bot not ready"
    NO_MEDIA = "no media"
    MEDIA_LOST = "media lost"
    SHUTDOWN = "shutdown"

    @property
    def is_failure(self) -> bool:
        """Whether something went wrong, rather than somebody ending the call."""
        return self in _FAILURES


_FAILURES = {
    Cause.BAD_OFFER,
    Cause.BOT_FAILED,
    Cause.GRAPH_FAILED,
    Cause.NOT_READY,
    Cause.NO_MEDIA,
    Cause.MEDIA_LOST,
}

PREPARATIONS = frozenset({Signal.PRE_ACCEPTED, Signal.LINKED, Signal.READY})
"""What must have come, in any order, before a call is accepted."""

TABLE: dict[tuple[State, Signal], tuple[State, tuple[Action, ...]]] = {
    # state             signal                       next state         actions
    (State.RINGING, Signal.ANSWERED): (State.CONNECTING, (Action.PRE_ACCEPT, Action.START_BOT)),
    (State.RINGING, Signal.HANG_UP): (State.ENDED, (Action.REJECT, Action.CLEAN_UP)),
    (State.RINGING, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.CONNECTING, Signal.PREPARED): (State.ACCEPTING, (Action.ACCEPT,)),
    (State.CONNECTING, Signal.HANG_UP): (State.ENDED, (Action.REJECT, Action.CLEAN_UP)),
    (State.CONNECTING, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.ACCEPTING, Signal.ACCEPTED): (State.ACTIVE, (Action.OPEN_MEDIA,)),
    (State.ACCEPTING, Signal.ACCEPT_REFUSED): (State.ENDED, (Action.REJECT, Action.CLEAN_UP)),
    (State.ACCEPTING, Signal.ACCEPT_UNANSWERED): (
        State.ENDED,
        (Action.TERMINATE, Action.CLEAN_UP),
    ),
    (State.ACCEPTING, Signal.HANG_UP): (State.WITHDRAWN, (Action.CLEAN_UP,)),
    (State.ACCEPTING, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.ACTIVE, Signal.HANG_UP): (State.ENDED, (Action.TERMINATE, Action.CLEAN_UP)),
    (State.ACTIVE, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.WITHDRAWN, Signal.ACCEPTED): (State.ENDED, (Action.TERMINATE,)),
    (State.WITHDRAWN, Signal.ACCEPT_REFUSED): (State.ENDED, (Action.REJECT,)),
    (State.WITHDRAWN, Signal.ACCEPT_UNANSWERED): (State.ENDED, (Action.TERMINATE,)),
    (State.WITHDRAWN, Signal.TERMINATED): (State.ENDED, ()),
}
"""The law. A pair that is not in the table changes nothing and asks for nothing."""


@dataclass(frozen=True)
class Step:
    """One thing that happened to a call.

    Parameters:
        signal: What happened.
        state: The state after it.
        after: Seconds since the call's webhook arrived here.
    """

    signal: Signal
    state: State
    after: float


@dataclass(frozen=True)
class CallReport:
    """What became of a call.

    Parameters:
        call_id: The call's id.
        phone_number_id: The business number's id.
        direction: Who placed it.
        cause: Why it ended.
        detail: More words on the cause, empty when there are none.
        answered: Whether it was accepted.
        duration: Seconds from accept's 200 to the end, 0 when it was not accepted.
        steps: What happened, in order.
        terminate: Meta's own account of the end, when it came before ours.
        quality: How it sounded.
    """

    call_id: str
    phone_number_id: str
    direction: Direction
    cause: Cause
    detail: str
    answered: bool
    duration: float
    steps: tuple[Step, ...]
    terminate: CallTerminate | None
    quality: CallQuality

    @property
    def stages(self) -> dict[Signal, float]:
        """When each thing first happened, in seconds since the webhook: the time to answer, split.

        From `ANSWERED` (our session description) over `PRE_ACCEPTED`, `LINKED` and `READY` to
        `ACCEPTED`.
        """
        stages: dict[Signal, float] = {}
        for step in self.steps:
            stages.setdefault(step.signal, step.after)
        return stages


class Call:
    """One call: who calls whom, where it stands, and what happened so far.

    Args:
        connect: The webhook event that announced the call.
        phone_number_id: The business number's id.
    """

    def __init__(self, connect: CallConnect, *, phone_number_id: str) -> None:
        self.id = connect.call_id
        self.phone_number_id = phone_number_id
        self.direction = connect.direction
        self.caller: User = connect.user
        self.number_called = connect.business_phone
        self.cta_payload = connect.cta_payload
        self.deeplink_payload = connect.deeplink_payload
        self.timestamp = connect.timestamp
        self.state = State.RINGING
        self.cause: Cause | None = None
        self.detail = ""
        self.terminate: CallTerminate | None = None
        self.steps: list[Step] = []
        self.quality = CallQuality()
        self._awaited = set(PREPARATIONS)

    def __repr__(self) -> str:
        return f"Call({self.id!r}, {self.state.value})"

    @property
    def awaited(self) -> frozenset[Signal]:
        """The preparations that have not come yet."""
        return frozenset(self._awaited)

    @property
    def is_over(self) -> bool:
        """Whether the call has ended here, whatever Meta still has to hear."""
        return self.state in (State.ENDED, State.WITHDRAWN)

    def apply(
        self, signal: Signal, *, after: float, cause: Cause | None = None, detail: str = ""
    ) -> tuple[Action, ...]:
        """Tell the call what happened.

        Args:
            signal: What happened.
            after: Seconds since the call's webhook arrived.
            cause: Why, for a signal that may end the call.
            detail: More words on the cause.

        Returns:
            The actions to perform, in order.
        """
        if signal in PREPARATIONS:
            return self._prepare(signal, after)
        row = TABLE.get((self.state, signal))
        if row is None:
            return ()
        self.state, actions = row
        self.steps.append(Step(signal, self.state, after))
        if self.is_over and self.cause is None:
            self.cause, self.detail = cause or _CAUSES[signal], detail
        return actions

    def _prepare(self, signal: Signal, after: float) -> tuple[Action, ...]:
        if self.is_over or signal not in self._awaited:
            return ()
        self._awaited.discard(signal)
        self.steps.append(Step(signal, self.state, after))
        return () if self._awaited else self.apply(Signal.PREPARED, after=after)

    def report(self) -> CallReport:
        """What became of the call. Complete once the call is over."""
        accepted = next((s.after for s in self.steps if s.signal is Signal.ACCEPTED), None)
        answered = accepted is not None and any(s.state is State.ACTIVE for s in self.steps)
        return CallReport(
            call_id=self.id,
            phone_number_id=self.phone_number_id,
            direction=self.direction,
            cause=self.cause or Cause.APP_HUNG_UP,
            detail=self.detail,
            answered=answered,
            duration=self.steps[-1].after - accepted if accepted is not None and answered else 0.0,
            steps=tuple(self.steps),
            terminate=self.terminate,
            quality=self.quality,
        )


_CAUSES = {
    Signal.TERMINATED: Cause.CALLER_HUNG_UP,
    Signal.ACCEPT_REFUSED: Cause.GRAPH_FAILED,
    Signal.ACCEPT_UNANSWERED: Cause.GRAPH_FAILED,
    Signal.HANG_UP: Cause.APP_HUNG_UP,
}
