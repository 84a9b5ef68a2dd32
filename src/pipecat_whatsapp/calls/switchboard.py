"""Every running call, and which webhook belongs to which of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from loguru import logger

from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.desk import Desk
from pipecat_whatsapp.calls.dial_order import DialOrder
from pipecat_whatsapp.calls.dialling import Dialling
from pipecat_whatsapp.calls.inbound import InboundSession
from pipecat_whatsapp.calls.outbound import OutboundSession
from pipecat_whatsapp.calls.session import CallSession
from pipecat_whatsapp.meta.events import CallConnect, CallEvent

InBackground = Callable[[Coroutine[Any, Any, None]], None]


class Owner(Desk, Protocol):
    """What a switchboard needs of whoever runs it."""

    async def call_ended(self, report: CallReport, session: CallSession | None = None) -> None:
        """A call is over here."""
        ...


class Switchboard:
    """Starts a session for every call, and hands it what webhooks say of the call.

    Args:
        owner: Settings, Graph client, directory, bot and hooks.
        in_background: Runs a coroutine as a task that somebody watches over.
    """

    def __init__(self, owner: Owner, in_background: InBackground) -> None:
        self._owner = owner
        self._in_background = in_background
        self._sessions: dict[str, CallSession] = {}
        self._running: list[CallSession] = []
        self._dialling = Dialling()

    @property
    def sessions(self) -> tuple[CallSession, ...]:
        """The calls that are served, some of which only have to be put away."""
        return tuple(self._running)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that are not over."""
        return tuple(s.call for s in self._running if not s.call.is_over)

    def find(self, call_id: str) -> CallSession | None:
        """The session of a call that is not over."""
        session = self._sessions.get(call_id)
        return None if session is None or session.call.is_over else session

    def dial(self, order: DialOrder) -> OutboundSession:
        """Begin a call of ours."""
        session = OutboundSession(order, self._owner, self)
        self._dialling.add(session)
        self._start(session)
        return session

    def hand(self, event: CallEvent) -> bool:
        """Hand an event to the call that it is of. Returns whether there is such a call."""
        session = self._sessions.get(event.call_id) or self._dialled(event)
        if session is not None:
            session.take(event)
        return session is not None

    def park(self, event: CallEvent) -> None:
        """Keep an event of an unknown call, which may be of one that is being placed."""
        self._dialling.park(event)

    def _dialled(self, event: CallEvent) -> CallSession | None:
        """The call of ours that an event tells the id of."""
        session = self._dialling.find(event)
        if session is not None:
            session.placed(event.call_id)
        return session

    def placed(self, session: OutboundSession) -> None:
        """A call of ours has its id: hand it what webhooks have said so far."""
        self._sessions[session.call.id] = session
        parked = self._dialling.parked(session.call.id)
        self._dialling.remove(session)
        for event in parked:
            session.take(event)

    def reply_lost(self, session: OutboundSession) -> None:
        """Only a webhook can tell the id of a call of ours; perhaps one has."""
        if (call_id := self._dialling.find_parked(session)) is not None:
            session.placed(call_id)

    def ring(self, event: CallConnect, age: float, *, was_handed_on: bool) -> None:
        """Begin a user's call.

        Args:
            event: What announced it.
            age: Seconds since Meta sent it.
            was_handed_on: Whether another process has left it to this one.
        """
        assert event.phone_number_id is not None  # noqa: S101 - it is one that we serve
        session = InboundSession(
            event,
            self._owner,
            phone_number_id=event.phone_number_id,
            age=age,
            was_handed_on=was_handed_on,
        )
        # Known from here on, so that a terminate that follows closely finds it.
        self._sessions[event.call_id] = session
        self._start(session)

    def _start(self, session: CallSession) -> None:
        self._running.append(session)
        self._in_background(self._serve(session))

    async def _serve(self, session: CallSession) -> None:
        try:
            report = await session.run()
            if report is not None:
                with logger.contextualize(call_id=session.call.id):
                    await self._owner.call_ended(report, session)
            await session.settled()
        finally:
            self._running.remove(session)
            self._sessions.pop(session.call.id, None)
            if isinstance(session, OutboundSession):
                self._dialling.remove(session)
