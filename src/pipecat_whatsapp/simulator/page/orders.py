"""What a tab asks for: JSON in, frozen orders out. Nothing that comes in is believed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.address import read_address
from pipecat_whatsapp.simulator.messages import MAX_TEXT
from pipecat_whatsapp.simulator.network import NetworkConditions
from pipecat_whatsapp.simulator.page.fields import LONGEST_LINE, Fields, OrderError
from pipecat_whatsapp.simulator.page.switches import WORDS
from pipecat_whatsapp.simulator.rules import RefusalError

KEYS = tuple("0123456789*#")
"""The keys of a phone."""

LONGEST_SDP = 60_000
"""Characters of a browser's SDP; it takes some two thousand."""

LONGEST_DELAY = 10_000
"""Milliseconds of delay or jitter."""

_SEPARATORS = re.compile(r"[\s()./-]")


class Consent(StrEnum):
    """What a user says to a request for permission to call."""

    ONCE = "once"
    ALWAYS = "always"
    REJECT = "reject"


@dataclass(frozen=True)
class Identify:
    """Be a user, who has a user id in any case."""

    user: User


@dataclass(frozen=True)
class Dial:
    """Call the business."""


@dataclass(frozen=True)
class Tap:
    """Tap the call button of a message, whose id this is."""

    message: str


@dataclass(frozen=True)
class MediaAnswer:
    """The browser's answer to our offer of sound."""

    sdp: str = field(repr=False)


@dataclass(frozen=True)
class Accept:
    """Pick up."""


@dataclass(frozen=True)
class Decline:
    """Refuse the call that rings."""


@dataclass(frozen=True)
class HangUp:
    """Hang up, or give up dialling."""


@dataclass(frozen=True)
class Press:
    """Press one of `KEYS`."""

    key: str


@dataclass(frozen=True)
class Muted:
    """The page has muted the microphone, or no longer does."""

    on: bool


@dataclass(frozen=True)
class Write:
    """Write to the business."""

    text: str = field(repr=False)


@dataclass(frozen=True)
class Reply:
    """Answer a request for permission to call, by its number in the tab."""

    prompt: int
    consent: Consent


@dataclass(frozen=True)
class AskCall:
    """Have the bot call."""


@dataclass(frozen=True)
class SetConditions:
    """Make the phone's line as good or bad as this."""

    conditions: NetworkConditions


@dataclass(frozen=True)
class Offline:
    """Drop off the network, or come back."""

    on: bool


@dataclass(frozen=True)
class Fault:
    """Turn one of `Switches` on or off."""

    name: str
    on: bool


@dataclass(frozen=True)
class Terminate:
    """Have Meta end the call."""


@dataclass(frozen=True)
class Concealed:
    """What share of the sound the browser made up since it last told, 0 to 1."""

    share: float


OrderInCall = MediaAnswer | Accept | Decline | HangUp | Press | Muted | Terminate | Concealed
"""What is about a call that goes on."""

PhoneOrder = OrderInCall | Dial | Tap | Write | Reply | AskCall | SetConditions | Offline | Fault
"""What needs a user."""

Order = Identify | PhoneOrder


def read_order(text: str) -> Order:
    """Read an order.

    Args:
        text: A WebSocket message of the page.

    Raises:
        OrderError: It is none.
    """
    fields = Fields.parse(text)
    return _READERS[fields.choice("kind", _READERS)](fields)


def _identify(fields: Fields) -> Identify:
    phone, user_id = _phone(fields), _user_id(fields)
    name, username = fields.line("name"), fields.line("username")
    if user_id is None:
        user_id = _invented_user_id(phone or username or name)
    return Identify(User(phone=phone, user_id=user_id, name=name, username=username))


def _phone(fields: Fields) -> str | None:
    given = _SEPARATORS.sub("", fields.line("phone") or "")
    try:
        return read_address({"to": given}).phone if given else None
    except RefusalError as error:
        raise OrderError("A phone number has 5 to 15 digits, the country code first.") from error


def _user_id(fields: Fields) -> str | None:
    given = fields.line("user_id")
    try:
        return read_address({"recipient": given}).user_id if given else None
    except RefusalError as error:
        raise OrderError("A user ID looks like DE.900000000000000001.") from error


def _invented_user_id(seed: str | None) -> str:
    """A business-scoped user id: the same for the same user."""
    if seed is None:
        raise OrderError("A user needs a phone number, a user ID, a username or a name.")
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7], "big")
    return f"DE.{number:018}"


def _conditions(fields: Fields) -> SetConditions:
    return SetConditions(
        NetworkConditions(
            loss=fields.number("loss", 1),
            delay=fields.number("delay", LONGEST_DELAY) / 1000,
            jitter=fields.number("jitter", LONGEST_DELAY) / 1000,
        )
    )


def _reply(fields: Fields) -> Reply:
    return Reply(fields.count("prompt"), Consent(fields.choice("answer", tuple(Consent))))


_READERS: Mapping[str, Callable[[Fields], Order]] = {
    "identify": _identify,
    "dial": lambda _: Dial(),
    "tap": lambda fields: Tap(fields.text("message", LONGEST_LINE)),
    "media_answer": lambda fields: MediaAnswer(fields.text("sdp", LONGEST_SDP)),
    "accept": lambda _: Accept(),
    "decline": lambda _: Decline(),
    "hang_up": lambda _: HangUp(),
    "press": lambda fields: Press(fields.choice("key", KEYS)),
    "muted": lambda fields: Muted(fields.flag("on")),
    "write": lambda fields: Write(fields.text("text", MAX_TEXT)),
    "reply": _reply,
    "ask_call": lambda _: AskCall(),
    "conditions": _conditions,
    "offline": lambda fields: Offline(fields.flag("on")),
    "fault": lambda fields: Fault(fields.choice("name", WORDS), fields.flag("on")),
    "terminate": lambda _: Terminate(),
    "concealed": lambda fields: Concealed(fields.number("share", 1)),
}
