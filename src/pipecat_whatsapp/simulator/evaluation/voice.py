"""The user's side of an evaluated call: says what `pipecat eval` streams, in one piece."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pipecat_whatsapp.media.resampler import Resampler
from pipecat_whatsapp.simulator.phone_call import PhoneCall, PhoneError
from pipecat_whatsapp.simulator.sound import FRAME_BYTES, RATE

_LEAD = bytes(3 * FRAME_BYTES)  # Put before speech, so that a piece that is late leaves no hole.
_PAUSE = 50 * FRAME_BYTES  # A silence that is longer than this second is the end of speech.


class StreamedVoice:
    """Says what comes in pieces of any length and rate, as one call of `PhoneCall.say` would.

    `pipecat eval` streams silence too, on a clock of its own. What is no pause of speech is left to
    the phone, which is silent by itself.

    Args:
        call: The call it speaks in.
    """

    def __init__(self, call: PhoneCall) -> None:
        self._call = call
        self._resampler = Resampler(RATE)
        self._speech = bytearray()
        self._silence = _PAUSE
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._woken = asyncio.Event()

    def say(self, pcm: bytes, rate: int, channels: int) -> None:
        """Say a piece, behind those before it.

        Args:
            pcm: 16-bit samples, channels interleaved.
            rate: Their rate, Hz.
            channels: 1 or 2.
        """
        piece = self._resampler.resample(pcm, rate, channels)
        if any(piece):
            if self._silence >= _PAUSE:
                self._speech += _LEAD
            self._silence = 0
        elif self._silence >= _PAUSE:
            return
        else:
            self._silence += len(piece)
        self._speech += piece
        self._woken.set()

    def press(self, keys: str) -> None:
        """Press keys, one after the other; while they are pressed nothing is said."""
        self._keys.put_nowait(keys)

    async def speak(self) -> None:
        """Say what comes, until cancelled or the call is over."""
        with suppress(PhoneError):
            while True:
                await self._woken.wait()
                self._woken.clear()
                # What comes while a piece is said is queued before the phone's next packet.
                while len(self._speech) >= FRAME_BYTES:
                    whole = len(self._speech) // FRAME_BYTES * FRAME_BYTES
                    piece = bytes(self._speech[:whole])
                    del self._speech[:whole]
                    await self._call.say(piece)

    async def type(self) -> None:
        """Press the keys that come, until cancelled or the call is over."""
        with suppress(PhoneError):
            while True:
                await self._call.press(await self._keys.get())
