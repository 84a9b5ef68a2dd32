"""One call: who talks to whom, where it stands, and what happened so far."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipecat_whatsapp.calls.law import (
    INBOUND_PREPARATIONS,
    OUTBOUND_PREPARATIONS,
    TABLE,
    Action,
    Signal,
    State,
)
from pipecat_whatsapp.calls.outcome import Cause, Outcome
from pipecat_whatsapp.media.quality import CallQuality
from pipecat_whatsapp.meta.events import CallConnect, CallTerminate, Direction, User


@dataclass(frozen=True)
class Step:
    """One thing that happened to a call.

    Parameters:
        signal: What happened.
        state: The state after it.
        after: Seconds since the call's beginning.
    """

    signal: Signal
    state: State
    after: float


@dataclass(frozen=True)
class CallReport:
    """What became of a call.

    Parameters:
        call_id: The call's id; empty for one that Meta never took.
        phone_number_id: The business number's id.
        direction: Who placed it.
        user: The WhatsApp user on the other side.
        cause: Why it ended.
        detail: More words on the cause, empty when there are none.
        answered: Whether we accepted it, or the user called picked up.
        duration: Seconds from the answer to the end, 0 when it was not answered.
        began_at: When it began here, Unix seconds.
        answered_after: When it was answered, seconds since its beginning; None when it was not,
            or only Meta knows.
        ice_up_after: When ICE was up, seconds since its beginning; None when it never was.
        steps: What happened, in order.
        terminate: Meta's own account of the end, when it came before ours.
        quality: How it sounded.
        biz_opaque_callback_data: What was attached to the call.
    """

    call_id: str
    phone_number_id: str
    direction: Direction
    user: User
    cause: Cause
    detail: str
    answered: bool
    duration: float
    began_at: float
    answered_after: float | None
    ice_up_after: float | None
    steps: tuple[Step, ...]
    terminate: CallTerminate | None
    quality: CallQuality
    biz_opaque_callback_data: str | None = None

    @property
    def outcome(self) -> Outcome:
        """What the attempt to talk came to; Meta's `status` has no say in it."""
        return Outcome.ANSWERED if self.answered else Outcome.unanswered_because(self.cause)

    @property
    def ended_after(self) -> float:
        """When it ended, seconds since its beginning."""
        return self.steps[-1].after if self.steps else 0.0

    @property
    def stages(self) -> dict[Signal, float]:
        """When each thing first happened, in seconds since the beginning.

        From `ANSWERED` (our session description) over `PRE_ACCEPTED`, `LINKED` and `READY` to
        `ACCEPTED`; for a call of ours from `OFFERED` over `PLACED` to `PICKED_UP`.
        """
        stages: dict[Signal, float] = {}
        for step in self.steps:
            stages.setdefault(step.signal, step.after)
        return stages


class Call:
    """One call.

    Args:
        call_id: The call's id; empty until Meta has taken a call of ours.
        phone_number_id: The business number's id.
        direction: Who places it.
        user: The WhatsApp user on the other side.
        business_phone: The business number in digits, as far as it is known.
        timestamp: When Meta announced it, Unix seconds.
        cta_payload: Payload of the call button that was tapped. Untrusted.
        deeplink_payload: Payload of the link that was opened. Untrusted.
        biz_opaque_callback_data: What is attached to the call.

    Attributes:
        id: The call's id; empty until Meta has taken a call of ours.
        state: Where it stands.
        steps: What has happened, in order.
        began_at: When it began here, Unix seconds.
        is_admitted: Whether it has its place among those that may run at one time.
        ice_up_after: When ICE was up, seconds since its beginning; None before.
        cause: Why it ended; None before.
        detail: More words on the cause, empty when there are none.
        terminate: Meta's own account of the end; None before, and where ours came first.
        quality: How it sounds, renewed every second.
    """

    def __init__(
        self,
        *,
        call_id: str,
        phone_number_id: str,
        direction: Direction,
        user: User,
        business_phone: str | None = None,
        timestamp: int | None = None,
        cta_payload: str | None = None,
        deeplink_payload: str | None = None,
        biz_opaque_callback_data: str | None = None,
    ) -> None:
        self.id = call_id
        self.phone_number_id = phone_number_id
        self.direction = direction
        self.user = user
        self.business_phone = business_phone
        self.timestamp = timestamp
        self.cta_payload = cta_payload
        self.deeplink_payload = deeplink_payload
        self.biz_opaque_callback_data = biz_opaque_callback_data
        self.began_at = time.time()
        self.is_admitted = False
        self.ice_up_after: float | None = None
        self.cause: Cause | None = None
        self.detail = ""
        self.terminate: CallTerminate | None = None
        self.steps: list[Step] = []
        self.quality = CallQuality()
        inbound = direction is Direction.INBOUND
        self.state = State.RINGING if inbound else State.OFFERING
        self._awaited = set(INBOUND_PREPARATIONS if inbound else OUTBOUND_PREPARATIONS)

    @classmethod
    def announced(cls, connect: CallConnect, *, phone_number_id: str) -> Call:
        """The call that a webhook announces."""
        return cls(
            call_id=connect.call_id,
            phone_number_id=phone_number_id,
            direction=Direction.INBOUND,
            user=connect.user,
            business_phone=connect.business_phone,
            timestamp=connect.timestamp,
            cta_payload=connect.cta_payload,
            deeplink_payload=connect.deeplink_payload,
        )

    def __repr__(self) -> str:
        return f"Call({self.id!r}, {self.state.value})"

    @property
    def span_attributes(self) -> dict[str, str]:
        """What a trace may say of the call; for pipecat's `additional_span_attributes`."""
        return {
            "whatsapp.call_id": self.id,
            "whatsapp.phone_number_id": self.phone_number_id,
            "whatsapp.direction": self.direction.value,
        }

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
            after: Seconds since the call's beginning.
            cause: Why, for a signal that may end the call.
            detail: More words on the cause.

        Returns:
            The actions to perform, in order.
        """
        if signal in self._awaited and not self.is_over:
            self._awaited.discard(signal)
            self.steps.append(Step(signal, self.state, after))
            return self._proceed(after)
        row = TABLE.get((self.state, signal))
        if row is None:
            return ()
        self.state, actions = row
        self.steps.append(Step(signal, self.state, after))
        if self.is_over and self.cause is None:
            self.cause, self.detail = cause or _CAUSES[signal], detail
        return actions + self._proceed(after)

    def _proceed(self, after: float) -> tuple[Action, ...]:
        """Go on when everything is prepared, and the state is one that waits for it."""
        if self._awaited or (self.state, Signal.PREPARED) not in TABLE:
            return ()
        return self.apply(Signal.PREPARED, after=after)

    @property
    def answered_after(self) -> float | None:
        """When the call was answered, seconds since its beginning; None when it was not."""
        inbound = self.direction is Direction.INBOUND
        answer = Signal.ACCEPTED if inbound else Signal.PICKED_UP
        steps = [s.after for s in self.steps if s.signal is answer and s.state in _ANSWERED]
        return steps[0] if steps else None

    def report(self) -> CallReport:
        """What became of the call. Complete once the call is over."""
        answered_after, duration = self.answered_after, 0.0
        if answered_after is not None:
            duration = self.steps[-1].after - answered_after
        return CallReport(
            call_id=self.id,
            phone_number_id=self.phone_number_id,
            direction=self.direction,
            user=self.user,
            cause=self.cause or Cause.APP_HUNG_UP,
            detail=self.detail,
            # Meta knows of a pick-up whose webhook never came.
            answered=answered_after is not None or self._was_met(),
            duration=duration,
            began_at=self.began_at,
            answered_after=answered_after,
            ice_up_after=self.ice_up_after,
            steps=tuple(self.steps),
            terminate=self.terminate,
            quality=self.quality,
            biz_opaque_callback_data=self.biz_opaque_callback_data,
        )

    def _was_met(self) -> bool:
        outbound = self.direction is Direction.OUTBOUND
        return outbound and self.terminate is not None and self.terminate.start_time is not None


_ANSWERED = (State.ACTIVE, State.PICKED_UP)

_CAUSES = {
    Signal.TERMINATED: Cause.CALLER_HUNG_UP,
    Signal.ACCEPT_REFUSED: Cause.GRAPH_FAILED,
    Signal.ACCEPT_UNANSWERED: Cause.GRAPH_FAILED,
    Signal.CONNECT_REFUSED: Cause.GRAPH_FAILED,
    Signal.DECLINED: Cause.DECLINED,
    Signal.HELD_BACK: Cause.HELD_BACK,
    Signal.OUTRUN: Cause.SERVED_ELSEWHERE,
    Signal.HANG_UP: Cause.APP_HUNG_UP,
}
