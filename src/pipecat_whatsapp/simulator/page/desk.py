"""What the phones of all tabs share, and what belongs to one tab."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from pipecat_whatsapp.calls.dial_client import DialAnswer
from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.inspection.inspector import Inspector, Tell
from pipecat_whatsapp.simulator.network import Network
from pipecat_whatsapp.simulator.page.switches import Switches
from pipecat_whatsapp.simulator.story import Story

Dialer = Callable[[User], Awaitable[DialAnswer]]
"""Has the bot call a user; raises `DialError` when the bot does not take the order."""


FAILURE = "The phone page broke down"
"""What the log says of a task that failed."""


class NotNowError(SimulatorError):
    """What a tab asks for cannot be done now; one sentence says why."""


@dataclass(frozen=True)
class Desk:
    """What all tabs share.

    Parameters:
        meta: Meta's side.
        business_name: What to call the business.
        dialer: Has the bot call a user.
        inspector: Writes calls down.
        switches: The faults of Meta's side.
        story: Told what happens, for the person at the terminal.
        tell_all: Sends a message to every tab.
    """

    meta: SimulatedMeta
    business_name: str
    dialer: Dialer
    inspector: Inspector
    switches: Switches
    story: Story
    tell_all: Tell


@dataclass(frozen=True)
class Seat:
    """What belongs to one tab, whoever its user is.

    Parameters:
        tell: Sends a message to the tab: its kind, and the rest of it.
        host: The address at which the browser reaches this machine.
        network: The line between the phone and the business.
        numbers: A number for each thing in the tab that needs one.
    """

    tell: Tell
    host: str
    network: Network
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def notice(self, text: str) -> None:
        """Tell the user one sentence."""
        self.tell("notice", {"text": text})


def name_of(user: User) -> str:
    """What to call a user."""
    number = f"+{user.phone}" if user.phone else None
    return user.name or user.username or number or str(user.user_id)
