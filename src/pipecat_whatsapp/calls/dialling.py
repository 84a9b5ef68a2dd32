"""Calls of ours without an id yet, and webhooks that were faster than Meta's answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pipecat_whatsapp.calls.outbound import OutboundSession
from pipecat_whatsapp.meta.events import CallEvent

MAX_PARKED = 1000
"""Events kept. Nearly all are of calls that other applications place from the same account."""


class Dialling:
    """The calls that are being placed. Pure: it only keeps."""

    def __init__(self) -> None:
        self._sessions: list[OutboundSession] = []
        self._parked: dict[str, list[CallEvent]] = {}
        self._known: deque[str] = deque(maxlen=MAX_PARKED)

    def add(self, session: OutboundSession) -> None:
        """A call is about to be placed."""
        self._sessions.append(session)

    def remove(self, session: OutboundSession) -> None:
        """A call has its id, or never will."""
        if session in self._sessions:
            self._sessions.remove(session)
            # A late word of this call must not be taken for one of the next.
            self._known.append(session.call.id)
        if not self._sessions:
            self._parked.clear()

    def find(self, event: CallEvent) -> OutboundSession | None:
        """The call that an event tells the id of, if its answer from Meta was lost."""
        if event.call_id in self._known:
            return None
        return next((s for s in self._sessions if s.is_told_of_by(event)), None)

    def find_parked(self, session: OutboundSession) -> str | None:
        """The id of a call whose answer from Meta was lost, if a webhook has told it already."""
        for call_id, events in self._parked.items():
            if call_id not in self._known and any(map(session.is_told_of_by, events)):
                return call_id
        return None

    def park(self, event: CallEvent) -> None:
        """Keep an event of an unknown call, while it may be of one that is being placed."""
        if not self._sessions:
            return
        self._parked.setdefault(event.call_id, []).append(event)
        while sum(map(len, self._parked.values())) > MAX_PARKED:
            del self._parked[next(iter(self._parked))]

    def parked(self, call_id: str) -> Iterable[CallEvent]:
        """Take the events of a call whose id is known now, in the order in which they came."""
        return self._parked.pop(call_id, [])
