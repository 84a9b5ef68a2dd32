"""Places calls: checks what was asked for, makes sure of the permission, dials, and tells."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.desk import Desk
from pipecat_whatsapp.calls.dial_order import DialOrder
from pipecat_whatsapp.calls.outbound import OutboundSession
from pipecat_whatsapp.calls.outcome import Cause, Outcome
from pipecat_whatsapp.calls.permission import PermissionDesk, PermissionTemplate
from pipecat_whatsapp.calls.switchboard import Switchboard
from pipecat_whatsapp.errors import ConfigError

_NO_FURTHER = "no further call is taken or placed now"
_NONE = "this process places no calls: max_calls is 0, as it is with serve --process-per-call"


@dataclass(frozen=True)
class DialResult:
    """What an attempt to call a user came to.

    Parameters:
        outcome: What it came to.
        detail: More words on it, empty when there are none.
        call: The call; None when none was placed.
    """

    outcome: Outcome
    detail: str = ""
    call: Call | None = None
    _session: OutboundSession | None = field(default=None, repr=False, compare=False)

    async def report(self) -> CallReport | None:
        """Wait until the call is over. Returns its report; None when no call was placed."""
        return None if self._session is None else await self._session.report()


class Dialler:
    """Calls users on behalf of the application.

    Args:
        desk: Settings, Graph client and the usual bot.
        switchboard: Runs the calls.
    """

    def __init__(self, desk: Desk, switchboard: Switchboard) -> None:
        self._desk = desk
        self._switchboard = switchboard
        self.permissions = PermissionDesk(desk.graph)

    async def call(
        self, order: DialOrder, ask: str | PermissionTemplate | None, patience: float
    ) -> DialResult:
        """Call a user, who is asked first if so wanted; see `WebhookAdapter.call`."""
        if (refusal := self._desk.refusal()) is not None:
            # Nobody is asked for a call that could not be placed.
            why = _NONE if self._desk.config.max_calls == 0 else _NO_FURTHER
            return DialResult(Outcome.unanswered_because(refusal), why)
        if ask is not None:
            contact = Contact(self._desk.graph, order.phone_number_id, order.user)
            hindrance = await self.permissions.obtain(contact, ask, patience)
            if hindrance is not None:
                return DialResult(hindrance.outcome, hindrance.detail)
        return await self._dial(order)

    def number(self, phone_number_id: str | None) -> str:
        """The business number to use: the one asked for, or the only one.

        Raises:
            ConfigError: It is not served here, or there are several to choose from.
        """
        served = self._desk.config.phone_number_ids
        if phone_number_id is None and len(served) > 1:
            raise ConfigError(
                "Several numbers are served: say with phone_number_id which one is meant."
            )
        number = phone_number_id or next(iter(served))
        if number not in served:
            raise ConfigError(
                f"The number {number} is not served here, so its webhooks would be left alone: "
                "add it to the settings."
            )
        return number

    async def _dial(self, order: DialOrder) -> DialResult:
        session = self._switchboard.dial(order)
        try:
            await session.decided()
        except asyncio.CancelledError:
            session.hang_up(Cause.APP_HUNG_UP, "the attempt was cancelled")
            raise
        call = session.call
        outcome = call.report().outcome
        return DialResult(outcome, call.detail, call if call.id else None, session)
