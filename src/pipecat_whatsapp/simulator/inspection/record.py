"""The record of one call: its steps, its figures over time, and what Meta thinks of the SDP."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from enum import StrEnum

from pipecat_whatsapp.meta.events import Direction, User
from pipecat_whatsapp.simulator.payloads import Json

MOST_STEPS = 2000
MOST_SAMPLES = 7200
"""An hour of two a second: what comes after that is not kept."""


class Party(StrEnum):
    """Who takes part in a step."""

    PHONE = "phone"
    WHATSAPP = "whatsapp"
    BOT = "bot"


class Verdict(StrEnum):
    """What Meta would think of one trait of an SDP."""

    GOOD = "good"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Step:
    """One thing that happened.

    Parameters:
        at: When, s since the record began.
        source: Who did it.
        target: Whom it was for; the same as `source` for what concerns nobody else.
        title: What it was, in a few words.
        outcome: What came of it: an HTTP status, or "no answer"; None where nothing can.
        ok: Whether that is a success; None without an outcome.
        took: How long it took, s; None where that means nothing.
        detail: More of it: JSON that was sent, headers, answers.
    """

    at: float
    source: Party
    target: Party
    title: str
    outcome: str | None = None
    ok: bool | None = None
    took: float | None = None
    detail: Json | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Sample:
    """How the line between phone and bot was in the time since the sample before.

    What the phone hears of the bot is "in", what the bot hears of the phone is "out".

    Parameters:
        at: When it was taken, s since the record began.
        round_trip: Network round trip, ms (RTCP); None before it is known.
        jitter_in: Jitter of the bot's packets, ms (RFC 3550 section 6.4.1).
        jitter_out: Jitter that the bot reports, ms; None before it does.
        loss_in: Share of the bot's packets lost, 0 to 1.
        loss_out: Share of the phone's packets that the bot reports lost, 0 to 1; None before.
        concealed: Share of the sound that the browser made up, 0 to 1; None before it tells.
        level_in: Peak of the bot's sound, dB of full scale, -90 for silence.
        level_out: Peak of the phone's sound, likewise.
    """

    at: float
    round_trip: float | None
    jitter_in: float
    jitter_out: float | None
    loss_in: float
    loss_out: float | None
    concealed: float | None
    level_in: float
    level_out: float


@dataclass(frozen=True)
class Remark:
    """What Meta would think of one trait of the bot's SDP.

    Parameters:
        verdict: Whether it is right.
        text: What is so, in one sentence.
    """

    verdict: Verdict
    text: str


@dataclass
class CallRecord:
    """All that is known of one call, or of what led to none.

    Parameters:
        id: A name for the record that fits into a URL.
        direction: Who calls: inbound is the user.
        user: The user.
        business_phone: The business number, in digits.
        began_at: Unix seconds.
        call_id: The call's id at Meta; None before there is one.
        end: How the call ended; None before.
        steps: What happened, in the order in which it became known.
        samples: Its figures over time.
        remarks: About the bot's SDP.
    """

    id: str
    direction: Direction
    user: User
    business_phone: str
    began_at: float = field(default_factory=time.time)
    call_id: str | None = None
    end: str | None = None
    steps: list[Step] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    def as_json(self) -> Json:
        """The record as the page and files have it; the user as `user_json` gives them."""
        began_at = datetime.datetime.fromtimestamp(self.began_at, tz=datetime.UTC)
        return {
            "id": self.id,
            "direction": self.direction.value,
            "user": user_json(self.user),
            "business_phone": self.business_phone,
            "began_at": began_at.isoformat(timespec="milliseconds"),
            "call_id": self.call_id,
            "end": self.end,
            "steps": [as_json(step) for step in self.steps],
            "samples": [as_json(sample) for sample in self.samples],
            "remarks": [as_json(remark) for remark in self.remarks],
        }


def as_json(part: Step | Sample | Remark) -> Json:
    """A part of a record as the page and files have it."""
    return dict(vars(part))


def user_json(user: User) -> Json:
    """A user as the page and files have it: phone, name, user_id, username; each may be None."""
    return {
        "phone": user.phone,
        "name": user.name,
        "user_id": user.user_id,
        "username": user.username,
    }
