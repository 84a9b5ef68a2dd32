"""When each 20 ms packet goes out, and with which timestamp. Pure: it is told what time it is.

Packets fill slots of 20 ms. A packet never goes before its slot begins. Audio that comes while its
slot is open goes at once; a slot that nothing has come for gets silence when it is over. So a bot
that speaks as it goes along is not made to wait for a beat, and packets never stop.

After a stall of the loop two things can be done. A bot that speaks as it goes along has its late
packets sent at once, each with the timestamp of its own slot: the delay is won back. Where speech
is ready and waits, its slots are left out, and no word is lost; the next pause is shorter instead.
"""

from __future__ import annotations

from pipecat_whatsapp.media.opus import FRAME_TICKS

SLOT = 0.02
"""Seconds of audio in a packet."""

MAX_LATE = 0.2
"""Packets later than this, s, are of no use to the far end; their slots are left out."""

MAX_LATE_WAITING = 0.06
"""The same for audio that had been waiting for its slot: a far end's jitter buffer takes it."""

STALL = 0.01
"""A silent slot that is over for longer than this, s, tells of a loop that stalled."""

STALL_GRACE = 0.02
"""Seconds that live speech gets to come through the pipeline then, before it is silence."""


class Pacer:
    """Gives each packet its time. The first packet goes at once.

    Attributes:
        timestamp: RTP timestamp of the next packet, in units of 48 kHz, not wrapped.
        behind: Slots left out since silence was sent last. As many of silence can be dropped.
    """

    def __init__(self) -> None:
        self.timestamp = 0
        self.behind = 0
        self._due: float | None = None
        self._pardoned = False
        self._was_late = False

    def wait(self, now: float, *, has_audio: bool) -> float:
        """How long the next packet has to wait, in seconds; 0 when it may go.

        Args:
            now: Monotonic seconds.
            has_audio: Whether there is something to say.
        """
        if self._due is None:
            return 0.0
        if has_audio:
            return max(self._due - now, 0.0)
        overdue = now - self._due - SLOT
        if overdue < 0:
            return -overdue
        if (overdue > STALL or self._was_late) and not self._pardoned:
            self._pardoned = True
            return STALL_GRACE
        return 0.0

    def take(self, now: float, *, has_audio: bool, was_waiting: bool = False) -> int:
        """Fill the next slot that is worth it.

        Args:
            now: Monotonic seconds.
            has_audio: Whether there is something to say.
            was_waiting: Whether more was ready before the slot began.

        Returns:
            The packet's timestamp.
        """
        if self._due is None:
            self._due = now if has_audio else now - SLOT
        self._pardoned = False
        late = now - self._due
        missed = int(late / SLOT)
        self._was_late = has_audio and missed > 0
        if not has_audio:
            missed, self.behind = missed - 1, 0
        elif late > (MAX_LATE_WAITING if was_waiting else MAX_LATE):
            self.behind += missed
        else:
            missed = 0
        timestamp = self.timestamp + max(missed, 0) * FRAME_TICKS
        self.timestamp = timestamp + FRAME_TICKS
        self._due += (max(missed, 0) + 1) * SLOT
        return timestamp
