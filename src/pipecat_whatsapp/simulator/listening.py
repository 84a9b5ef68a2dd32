"""Waits for recorded sounds in what a phone hears, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pipecat_whatsapp.simulator.matching import Match, find, length_of
from pipecat_whatsapp.simulator.recording import Recording

_PAUSE = 0.5  # Seconds between two looks: each costs as much as some packets do.
_MARGIN = 1.0  # Seconds by which pauses make a sound longer, beside its own length.
_SPENT = 0.75  # Of a sound: its end may lie earlier than it seems, and what is left is not whole.


class Listener:
    """Listens to what a phone hears.

    Args:
        recording: What it hears.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._since = 0.0

    async def hears(
        self,
        wanted: bytes,
        *,
        timeout: float,  # noqa: ASYNC109
        is_over: Callable[[], bool],
    ) -> bool:
        """Wait for a sound, in all that was heard since the one that was found last.

        Args:
            wanted: The sound, PCM as `sound` has it.
            timeout: How long to wait, s.
            is_over: Whether nothing more will be heard.

        Returns:
            Whether it was heard, before the time was over and before all was.

        Raises:
            ValueError: It is all silence.
        """
        deadline = time.monotonic() + timeout
        since, length = self._since, length_of(wanted)
        while True:
            is_last = is_over() or time.monotonic() >= deadline
            duration = self._recording.duration - since
            # To look costs time that the bot may need to speak, so nothing is looked for too early.
            if is_last or duration >= length:
                match = await self._look(since, wanted)
                if match is not None:
                    self._since = since + match.at + _SPENT * (match.end - match.at)
                    return True
            if is_last:
                return False
            # What began before this would have been heard by now.
            since = max(since, since + duration - 2 * length - _MARGIN)
            await asyncio.sleep(min(_PAUSE, max(0.0, deadline - time.monotonic())))

    async def _look(self, since: float, wanted: bytes) -> Match | None:
        """Where the sound is in what was heard from a time on, s.

        It is done in another thread, because the phone must go on speaking meanwhile.
        """
        decode = self._recording.stretch(since)
        return await asyncio.to_thread(lambda: find(decode(), wanted))
