"""Looks at a call while it goes on: what it has come to, and how its line is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipecat_whatsapp.simulator.inspection.record import Party, Sample
from pipecat_whatsapp.simulator.phone_call import PhoneCall
from pipecat_whatsapp.simulator.recording import Recording

SILENCE = -90.0
"""Level of no sound at all, dB of full scale."""

_FULL_SCALE = 32_768


@dataclass(frozen=True)
class Milestone:
    """Something that a call comes to once.

    Parameters:
        at: When, monotonic s.
        source: Whose doing it is.
        target: Whom it reaches.
        title: What it is, in a few words.
        ok: False for what breaks a call on the real WhatsApp; else None.
    """

    at: float
    source: Party
    target: Party
    title: str
    ok: bool | None = None


class Probe:
    """Watches one call.

    Args:
        call: The call.
        said: The recording of what its user says, kept by somebody else.
    """

    def __init__(self, call: PhoneCall, said: Recording) -> None:
        self._call = call
        self._said = said
        self._ahead = _milestones(call, said)
        self._keys = 0
        self._heard = (0, 0)
        self._concealed: float | None = None

    def milestones(self) -> Iterator[Milestone]:
        """What it has come to since this was last asked."""
        for moment in tuple(self._ahead):
            at = moment()
            if at is not None:
                self._ahead.remove(moment)
                yield at
        for key in self._call.recording.keys[self._keys :]:
            self._keys += 1
            yield Milestone(time.monotonic(), Party.BOT, Party.PHONE, f"presses {key}")

    def note_concealed(self, share: float) -> None:
        """Take in how much of the sound the browser made up, 0 to 1; it holds until the next."""
        self._concealed = share

    def sample(self, at: float) -> Sample:
        """How the line was since the last sample; `at` is since the record began, s."""
        heard, far = self._call.recording, self._call.media.far_end
        return Sample(
            at=round(at, 3),
            round_trip=_milliseconds(far.round_trip) if far else None,
            jitter_in=round(heard.jitter * 1000, 1),
            jitter_out=_milliseconds(far.jitter) if far else None,
            loss_in=self._loss(heard),
            loss_out=round(far.loss, 4) if far else None,
            concealed=self._concealed,
            level_in=_level(heard),
            level_out=_level(self._said),
        )

    def _loss(self, heard: Recording) -> float:
        """Share of the bot's packets lost since this was last asked."""
        before, self._heard = self._heard, (heard.received, heard.lost)
        received, lost = (now - then for now, then in zip(self._heard, before, strict=True))
        # What was thought lost may have come late.
        return round(max(lost, 0) / max(received + lost, 1), 4)


_Moment = Callable[[], Milestone | None]


def _milestones(call: PhoneCall, said: Recording) -> list[_Moment]:
    """All that a call may come to, in their usual order."""
    end, heard = call.media.endpoint, call.recording
    bot, phone, whatsapp = Party.BOT, Party.PHONE, Party.WHATSAPP
    return [
        _once(lambda: end.nominated_at, bot, phone, "ICE: found the path"),
        _once(lambda: end.connected_at, bot, phone, "DTLS: agreed on SRTP keys"),
        _once(lambda: heard.accepted_at, whatsapp, phone, "answered: the timer starts"),
        lambda: _first_packet(heard),
        _once(lambda: said.first_arrival, phone, bot, "first packet"),
        _once(lambda: heard.first_sound, bot, phone, "first word"),
        _once(lambda: said.first_sound, phone, bot, "first word"),
        lambda: _second_source(heard),
    ]


def _once(when: Callable[[], float | None], source: Party, target: Party, title: str) -> _Moment:
    def moment() -> Milestone | None:
        at = when()
        return None if at is None else Milestone(at, source, target, title)

    return moment


def _first_packet(heard: Recording) -> Milestone | None:
    at = heard.first_arrival
    if at is None:
        return None
    if heard.media_before_accept:
        title = "first packet, before accept: WhatsApp shows the call as answered"
        return Milestone(at, Party.BOT, Party.PHONE, title, ok=False)
    return Milestone(at, Party.BOT, Party.PHONE, "first packet")


def _second_source(heard: Recording) -> Milestone | None:
    if len(heard.ssrcs) < 2:
        return None
    title = "a second SSRC: WhatsApp plays no more"
    return Milestone(time.monotonic(), Party.BOT, Party.PHONE, title, ok=False)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _level(recording: Recording) -> float:
    """The peak since this was last asked, dB of full scale."""
    peak = recording.take_peak()
    return round(20 * math.log10(peak / _FULL_SCALE), 1) if peak else SILENCE
