"""Writes down what happens to the calls of some phones, and tells it while it happens."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pipecat_whatsapp.meta.events import Direction
from pipecat_whatsapp.simulator.graph import Delivery, GraphRequest, SimulatedMeta
from pipecat_whatsapp.simulator.inspection import steps
from pipecat_whatsapp.simulator.inspection.probe import Milestone, Probe
from pipecat_whatsapp.simulator.inspection.record import (
    MOST_SAMPLES,
    MOST_STEPS,
    CallRecord,
    Party,
    Step,
    as_json,
)
from pipecat_whatsapp.simulator.inspection.sdp_review import review
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.phone_call import PhoneCall
from pipecat_whatsapp.simulator.recording import Recording
from pipecat_whatsapp.simulator.story import end_in_words

MOST_RECORDS = 50
"""Older calls are forgotten, with their sound."""

_LOOK = 0.1
_LOOKS_PER_SAMPLE = 5
_FAREWELL = 1.0

Tell = Callable[[str, Json], None]
"""Is told "record", "call_id", "step", "sample", "remarks" or "record_end", and the rest of it."""


@dataclass
class _Kept:
    """A record, with what belongs to it while the simulation lasts.

    Parameters:
        record: The record.
        origin: When it began, monotonic s.
        call: The call, once there is one.
        said: What its user said.
    """

    record: CallRecord
    origin: float
    call: PhoneCall | None = None
    said: Recording | None = None


class Inspector:
    """Keeps the records of all phones that are watched.

    Args:
        meta: Meta's side.
    """

    def __init__(self, meta: SimulatedMeta) -> None:
        self._meta = meta
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def watch(self, phone: Phone, tell: Tell) -> PhoneInspection:
        """Follow a phone. Close what this returns."""
        return PhoneInspection(self._meta, phone, tell, self._keep)

    def find(self, record_id: str) -> CallRecord | None:
        """A record; None when there is none of this id, or none any more."""
        kept = self._kept.get(record_id)
        return kept.record if kept else None

    def sound(self, record_id: str) -> tuple[bytes, bytes]:
        """What the phone heard, and what its user said, as `sound` has it; empty without a call.

        Raises:
            KeyError: There is no such record.
        """
        kept = self._kept[record_id]
        heard = kept.call.recording.pcm if kept.call else b""
        return heard, kept.said.pcm if kept.said else b""

    def _keep(self, kept: _Kept) -> None:
        self._kept[kept.record.id] = kept
        while len(self._kept) > MOST_RECORDS:
            self._kept.popitem(last=False)


class PhoneInspection:
    """The records of one phone's calls. Made by `Inspector.watch`.

    What belongs to no call, such as messages, is written into the newest record.

    Args:
        meta: Meta's side.
        phone: The phone.
        tell: Is told all that is written down.
        keep: Keeps a record for later.
    """

    def __init__(
        self, meta: SimulatedMeta, phone: Phone, tell: Tell, keep: Callable[[_Kept], None]
    ) -> None:
        self._phone = phone
        self._meta = meta
        self._business_phone = meta.account.display_phone_number
        self._tell = tell
        self._keep = keep
        self._records: deque[_Kept] = deque(maxlen=MOST_RECORDS)
        self._probe: Probe | None = None
        self._following: set[asyncio.Task[None]] = set()
        self._unwatch = meta.watch(self._on_activity)

    @property
    def record(self) -> CallRecord | None:
        """The newest record."""
        return self._records[-1].record if self._records else None

    def begin(self, direction: Direction) -> CallRecord:
        """Begin a new record."""
        record = CallRecord(secrets.token_hex(8), direction, self._phone.user, self._business_phone)
        kept = _Kept(record, time.monotonic())
        self._records.append(kept)
        self._keep(kept)
        self._tell("record", {"record": record.as_json()})
        return record

    def attach(self, call: PhoneCall) -> None:
        """The newest record is that of this call, which is followed to its end.

        Raises:
            RuntimeError: No record was begun.
        """
        if not self._records:
            raise RuntimeError("No record was begun: call begin() first.")
        kept = self._records[-1]
        kept.call, kept.said, kept.record.call_id = call, Recording(), call.id
        self._tell("call_id", {"record": kept.record.id, "call_id": call.id})
        self._catch_up(call.id)
        task = asyncio.create_task(self._follow(kept, call, kept.said))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    def note(self, source: Party, target: Party, title: str, detail: Json | None = None) -> None:
        """Write down what the user does, into the newest record if there is one."""
        if self._records:
            kept = self._records[-1]
            at = self._since(kept, time.monotonic())
            self._add(kept, Step(at, source, target, title, detail=detail))

    def end(self, record: CallRecord, words: str) -> None:
        """End a record; that of a call that is followed ends by itself.

        Args:
            record: The record.
            words: How it ended.
        """
        record.end = words
        self._tell("record_end", {"record": record.id, "end": words})

    def note_concealed(self, share: float) -> None:
        """Take in what share of the sound the browser made up since it last told, 0 to 1."""
        if self._probe is not None:
            self._probe.note_concealed(share)

    async def close(self) -> None:
        """Follow the phone no longer; calls that are over are written down to their end."""
        self._unwatch()
        if self._following:
            await asyncio.wait(self._following, timeout=_FAREWELL)
        for task in self._following:
            task.cancel()

    async def _follow(self, kept: _Kept, call: PhoneCall, said: Recording) -> None:
        def is_audio(payload_type: int) -> bool:
            return payload_type == call.media.voice.opus_pt

        call.media.on_sent = lambda packet: said.add(
            packet, time.monotonic(), audio=is_audio(packet.payload_type)
        )
        self._probe = probe = Probe(call, said)
        looks = 0
        while not call.is_over:
            self._look(kept, probe)
            looks += 1
            if looks % _LOOKS_PER_SAMPLE == 0 and call.recording.accepted_at is not None:
                self._sample(kept, probe)
            with suppress(TimeoutError):
                await call.ended(_LOOK)
        self._look(kept, probe)
        self.end(kept.record, end_in_words(await call.ended(None)))

    def _look(self, kept: _Kept, probe: Probe) -> None:
        for milestone in probe.milestones():
            self._add(kept, self._step_of(kept, milestone))

    def _step_of(self, kept: _Kept, milestone: Milestone) -> Step:
        at = self._since(kept, milestone.at)
        return Step(at, milestone.source, milestone.target, milestone.title, ok=milestone.ok)

    def _sample(self, kept: _Kept, probe: Probe) -> None:
        sample = probe.sample(self._since(kept, time.monotonic()))
        if len(kept.record.samples) < MOST_SAMPLES:
            kept.record.samples.append(sample)
            self._tell("sample", {"record": kept.record.id, "sample": as_json(sample)})

    def _catch_up(self, call_id: str) -> None:
        """Write down what was known of a call before it rang: the bot's own request, say."""
        known: list[GraphRequest | Delivery] = [*self._meta.requests, *self._meta.deliveries]
        for activity in known:
            if activity.call_id == call_id:
                self._on_activity(activity)

    def _on_activity(self, activity: GraphRequest | Delivery) -> None:
        kept = self._concerned(activity)
        if kept is None:
            return
        self._add(kept, steps.read(activity, self._since(kept, activity.at)))
        sdp = steps.session_sdp(activity)
        if sdp is not None:
            offer = kept.call.offer_sdp if kept.call else None
            kept.record.remarks = review(sdp, offer)
            remarks = [as_json(remark) for remark in kept.record.remarks]
            self._tell("remarks", {"record": kept.record.id, "remarks": remarks})

    def _concerned(self, activity: GraphRequest | Delivery) -> _Kept | None:
        """The record into which something belongs, if it is about this phone at all."""
        if activity.call_id is not None:
            of_call = (kept for kept in self._records if kept.record.call_id == activity.call_id)
            return next(of_call, None)
        if self._records and steps.names(activity, self._phone.user):
            return self._records[-1]
        return None

    def _add(self, kept: _Kept, step: Step) -> None:
        if len(kept.record.steps) < MOST_STEPS:
            kept.record.steps.append(step)
            self._tell("step", {"record": kept.record.id, "step": as_json(step)})

    def _since(self, kept: _Kept, at: float) -> float:
        # What led to a record may have begun a moment before it.
        return round(max(at - kept.origin, 0.0), 4)
