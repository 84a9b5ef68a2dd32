"""Who owns which call, which calls are over, and which processes there are.

The webhook of one call may be delivered twice, to two processes, or after the call's end. A
directory answers the one question that keeps this harmless: may I start this call? It also brings
letters from one process to another, and tells each of all the others.

Media never moves: the process that answers a call holds it to its end, and only small letters
travel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from pipecat_whatsapp.meta.events import Direction

TOMBSTONE_SECONDS = 3600.0
"""How long an ended call is remembered. A connect is stale long before that."""

PARK_SECONDS = 60.0
"""How long a letter for a call without an owner is kept: Meta's webhook may be faster than its
answer to the request that placed the call."""

MAX_PARKED = 20
"""Letters kept for one such call; the oldest is dropped first."""

_ALIAS = "alias:"


def alias_of(callback_data: str) -> str:
    """The name of a call of ours that has no id yet: by what its webhooks carry."""
    return _ALIAS + callback_data


def is_alias(name: str) -> bool:
    """Whether a name is that of a call without an id."""
    return name.startswith(_ALIAS)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a process tells the others of itself.

    Parameters:
        calls: How many calls it has.
        room: How many more it takes; None for no limit.
        region: Where it is, as its operator names it.
        host: The machine that it runs on.
    """

    calls: int = 0
    room: int | None = 0
    region: str = ""
    host: str = ""


@dataclass(frozen=True)
class Peer:
    """A process of the deployment.

    Parameters:
        name: Its name, which no process had before.
        beats: Grows while it lives.
        standing: What it last said of itself.
        age: Seconds since it did, by the directory's clock, for who sees it for the first time.
            That clock may be set, so nobody else goes by it.
    """

    name: str
    beats: int
    standing: Standing
    age: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Holding:
    """What others must know of a call to end it when its owner is gone.

    Parameters:
        phone_number_id: The business number's id.
        direction: Who placed it.
    """

    phone_number_id: str
    direction: Direction


@dataclass(frozen=True)
class Claim:
    """What came of the wish to have a call.

    Parameters:
        is_ours: Whether this process has it now.
        letters: What waited for its owner; of a call that is over, too.
    """

    is_ours: bool
    letters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Letter:
    """Something that one process tells another.

    Parameters:
        id: Its place in the inbox.
        text: What it says.
    """

    id: str
    text: str


@dataclass(frozen=True)
class News:
    """What a process hears when it tells of itself.

    Parameters:
        peers: All processes, itself among them.
        lost: Calls that it counts as its own and are not: each with its owner, None for a call
            that is over.
        letters: What waited for calls that the directory did not know to be its own.
        unnamed: Calls that are its own, and that it has not named: it does not know that it has
            taken them over, or is about to learn that its claim was granted. No aliases.
    """

    peers: tuple[Peer, ...]
    lost: Mapping[str, str | None]
    letters: tuple[str, ...] = ()
    unnamed: Mapping[str, Holding] = field(default_factory=dict)


class Delivery(Enum):
    """What became of a letter for a call's owner.

    Parameters:
        OURS: The call is this process's own, or was; nothing was sent.
        SENT: It is in the owner's inbox.
        OVER: The call is over.
        BURIED: Nobody had the call, and nobody will; who asks for it gets the letter.
        PARKED: Nobody has the call yet; who claims it gets the letter.
        DROPPED: Nobody has the call, and nothing was kept.
    """

    OURS = "ours"
    SENT = "sent"
    OVER = "over"
    BURIED = "buried"
    PARKED = "parked"
    DROPPED = "dropped"


class CallDirectory(Protocol):
    """The calls and the processes of one deployment, as one of its processes sees them.

    Every method may be repeated without harm, also when only its answer was lost, and letters may
    come twice. A directory that cannot be reached raises `DirectoryError`.
    """

    @property
    def node(self) -> str:
        """The name of this process."""
        ...

    async def claim(self, call_id: str, holding: Holding) -> Claim:
        """Take a call. Only one process ever gets it, and none once it has ended."""
        ...

    async def release(self, call_id: str) -> None:
        """Give a call back, as if it had never been claimed here."""
        ...

    async def seize(self, call_id: str, holding: Holding) -> None:
        """Take a call whoever has it: Meta has connected it to this process. Not if it is over."""
        ...

    async def bury(self, call_id: str) -> None:
        """Mark a call as ended, claimed or not; does nothing when another process has it."""
        ...

    async def first(self, token: str, seconds: float) -> bool:
        """Whether a token is used for the first time within so many seconds."""
        ...

    async def beat(self, standing: Standing, calls: Mapping[str, Holding]) -> News:
        """Say that this process lives, and renew its claims; to be done once a second.

        Args:
            standing: What it tells of itself.
            calls: Its running calls.
        """
        ...

    async def deliver(
        self, call_id: str, alias: str | None, text: str, *, otherwise: Delivery
    ) -> Delivery:
        """Send a letter to the owner of a call.

        Args:
            call_id: The call.
            alias: Another name under which it may have been claimed.
            text: The letter.
            otherwise: What becomes of it when nobody has the call: BURIED, PARKED or DROPPED.
        """
        ...

    async def send(self, node: str, text: str) -> bool:
        """Send a letter to a process. Returns whether there is such a process."""
        ...

    async def receive(self) -> list[Letter]:
        """Wait, a while, for letters. Each comes again until it is `done`."""
        ...

    async def done(self, letters: list[Letter]) -> None:
        """Letters have been dealt with."""
        ...

    async def take_over(self, peer: Peer) -> Mapping[str, Holding]:
        """Take over what a dead process has left: its calls and its letters.

        Of several that try at once one gets them; none does if the process has shown life since.

        Returns:
            The calls, which this process has to end.
        """
        ...

    async def leave(self) -> list[Letter]:
        """This process takes no letter any more. What it has not read stays until `done`.

        Returns:
            That.
        """
        ...

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        ...
