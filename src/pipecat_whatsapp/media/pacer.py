"""When each 20 ms packet goes out, and with which timestamp. Pure: it is told what time it is.

Packets fill slots of 20 ms. A packet never goes before its slot begins. Audio that comes while its
slot is open goes at once; a slot that nothing has come for gets silence when it is over. So a bot
that speaks as it goes along is not made to wait for a beat, and packets never stop.

After a stall of the loop two things can be done. A bot that speaks as it goes along has its late
packets sent at once, each with the timestamp of its own slot: the delay is won back. Where speech
is ready and waits, its slots are left out, and no word is lost; the next pause is shorter instead.
"""

from __future__ import annotations

from pipecat_whatsapp.media.opus_packet import FRAME_TICKS

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

MAX_HICCUP = 5
"""Silent slots in the middle of speech that are a hiccup; more are a pause."""


class Pacer:
    """Gives each packet its time. The first packet goes at once.

    Attributes:
        timestamp: RTP timestamp of the next packet, in units of 48 kHz, not wrapped.
        behind: Slots by which speech is later than it was meant to be: left out, or spent on
            silence in the middle of it. As many of the silence in it can be dropped.
    """

    def __init__(self) -> None:
        self.timestamp = 0
        self.behind = 0
        self._due: float | None = None
        self._pardoned = False
        self._was_late = False
        self._silent_slots = MAX_HICCUP + 1  # A call begins with a pause.
        self._hiccup = 0

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
        if has_audio:
            bound = MAX_LATE_WAITING if was_waiting else MAX_LATE
            left_out = int(late / SLOT) if late > bound else 0
            self._was_late = late > SLOT
            self._note_speech(left_out)
        else:
            # Its slot is over when silence goes; only what came after it is missed.
            left_out = max(int(late / SLOT) - 1, 0)
            self._was_late = False
            self._silent_slots += 1
            self._hiccup += left_out + 1
        self._due += (left_out + 1) * SLOT
        timestamp = self.timestamp + left_out * FRAME_TICKS
        self.timestamp = timestamp + FRAME_TICKS
        return timestamp

    def _note_speech(self, left_out: int) -> None:
        """Count by how much speech is behind; after a pause, nothing of it waits any more."""
        was_pause = self._silent_slots > MAX_HICCUP
        self.behind = left_out + (0 if was_pause else self.behind + self._hiccup)
        self._silent_slots = self._hiccup = 0
