"""A call told line by line, and summed up at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipecat_whatsapp.simulator.graph import Delivery, GraphRequest
from pipecat_whatsapp.simulator.recording import Recording

Echo = Callable[[str], None]
"""Takes one line of text for the person at the terminal."""

_ENDS = {
    "terminated": "the bot hung up",
    "rejected": "the bot's side declined",
    "not answered": "nobody answered in time",
    "no media": "the phone gave up: the bot sent no media",
    "caller hung up": "the caller hung up",
    "user hung up": "the user hung up",
    "declined": "the user declined",
    "vanished": "the phone dropped off the network",
}


def end_in_words(reason: str) -> str:
    """Who or what ended a call, after what `PhoneCall.ended` returned."""
    return _ENDS.get(reason, reason)


class Story:
    """Tells what happens to one call, with milliseconds since the beginning.

    Args:
        echo: Takes each line.
        beginning: What it begins with.
    """

    def __init__(self, echo: Echo, beginning: str = "dialling") -> None:
        self.beginning = beginning
        self.began_at = time.monotonic()
        self._echo = echo

    def restart(self) -> None:
        """Count the time from now on."""
        self.began_at = time.monotonic()

    def tell(self, who: str, what: str, *, at: float | None = None) -> None:
        """Tell one thing.

        Args:
            who: Who did it: "phone", "webhook", "graph" or "order".
            what: What was done.
            at: When, monotonic seconds; now by default.
        """
        elapsed = (time.monotonic() if at is None else at) - self.began_at
        self._echo(f"{elapsed * 1000:7.0f} ms  {who:<8} {what}")

    def tell_record(self, record: GraphRequest | Delivery, *, show_place: bool = False) -> None:
        """Tell a webhook's delivery, or a Graph request.

        Args:
            record: What happened.
            show_place: Whether to say where a webhook went.
        """
        answer = "no answer" if record.status is None else str(record.status)
        if isinstance(record, Delivery):
            again = f" (try {record.attempt})" if record.attempt > 1 else ""
            to = f" to {urlsplit(record.url).netloc}" if show_place else ""
            self.tell("webhook", f"{record.kind}{again}{to} -> {answer}", at=record.at)
        else:
            error = f", error {record.error_code}" if record.error_code is not None else ""
            self.tell("graph", f"{record.action} -> {answer}{error}", at=record.at)


@dataclass(frozen=True)
class CallSummary:
    """What became of a call, seen from the phone.

    Parameters:
        answered_after: Seconds from the beginning to the answer; None when there was none.
        first_sound_after: Seconds from the answer to the first sound; None when nothing was heard.
        sound_seconds: How much sound was heard, s.
        received: Packets that arrived.
        lost: Packets that did not.
        end: How the call ended, in words.
        beginning: What the story began with.
    """

    answered_after: float | None
    first_sound_after: float | None
    sound_seconds: float
    received: int
    lost: int
    end: str
    beginning: str = "dialling"

    @classmethod
    def of(cls, recording: Recording, story: Story, *, reason: str) -> CallSummary:
        """Sum up a call.

        Args:
            recording: What the caller heard.
            story: Its story so far.
            reason: What `PhoneCall.ended` returned.
        """
        accepted_at = recording.accepted_at
        return cls(
            answered_after=None if accepted_at is None else accepted_at - story.began_at,
            first_sound_after=recording.first_sound_at,
            sound_seconds=recording.sound_seconds,
            received=recording.received,
            lost=recording.lost,
            end=end_in_words(reason),
            beginning=story.beginning,
        )

    @property
    def failure(self) -> str | None:
        """One sentence on why the call was no success; None when the bot was heard."""
        if self.answered_after is None:
            return f"The call was not answered: {self.end}."
        if self.first_sound_after is None:
            return "The call was answered, but the bot was never heard."
        return None

    def lines(self) -> Iterator[str]:
        """The call report."""
        yield "Call report"
        if self.answered_after is not None:
            after = f"{self.answered_after * 1000:.0f} ms after {self.beginning}"
            yield f"  answered     {after}"
        if self.first_sound_after is not None:
            yield f"  first sound  {self.first_sound_after * 1000:.0f} ms after the answer"
        yield f"  heard        {self.sound_seconds:.1f} s of sound"
        yield f"  packets      {self.received} received, {self.lost} lost"
        yield f"  end          {self.end}"
