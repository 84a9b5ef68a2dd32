"""What the caller says, by aiortc's public track: the slower way, when its door is shut.

Lost packets leave aiortc's holes, and keys are not heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import av
from aiortc import MediaStreamError, MediaStreamTrack

from pipecat_whatsapp.media.resampler import samples_of


class TrackReceiver:
    """Reads a caller's track; is started and stopped as an `AudioReceiver` is.

    Args:
        track: The track of the peer connection's audio receiver, once there is one.
        opened: Set from when on its sound counts; what comes before is dropped.
    """

    def __init__(self, track: asyncio.Future[MediaStreamTrack], opened: asyncio.Event) -> None:
        self._track = track
        self._opened = opened
        self._reading: asyncio.Task[None] | None = None

    def start(
        self, sample_rate: int, on_audio: Callable[[bytes], None], on_key: Callable[[str], None]
    ) -> None:
        """Listen from now on.

        Args:
            sample_rate: Rate of the audio wanted, Hz.
            on_audio: Gets 16-bit mono PCM, 20 ms at a time.
            on_key: Never called.
        """
        self._reading = asyncio.create_task(self._read(sample_rate, on_audio))

    def stop(self) -> None:
        """Stop listening."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self, sample_rate: int, on_audio: Callable[[bytes], None]) -> None:
        # aiortc decodes to packed stereo, whatever was sent.
        resampler = av.AudioResampler("s16", "mono", sample_rate, frame_size=sample_rate // 50)
        track = await asyncio.shield(self._track)
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not self._opened.is_set():
                continue
            assert isinstance(frame, av.AudioFrame)  # noqa: S101 - narrows aiortc's type
            for part in resampler.resample(frame):
                on_audio(samples_of(part))
