"""RTP in: what the caller says, as 20 ms of mono PCM at the pipeline's rate."""

from __future__ import annotations

from collections.abc import AsyncIterator

import av
from aiortc import MediaStreamError, MediaStreamTrack


async def receive_audio(track: MediaStreamTrack, sample_rate: int) -> AsyncIterator[bytes]:
    """Read a caller's track until it ends.

    Args:
        track: The track of the peer connection's audio receiver.
        sample_rate: Rate of the audio given, Hz.

    Yields:
        16-bit mono PCM, 20 ms each.
    """
    # aiortc decodes to packed stereo, whatever was sent.
    resampler = av.AudioResampler("s16", "mono", sample_rate, frame_size=sample_rate // 50)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        assert isinstance(frame, av.AudioFrame)  # noqa: S101 - narrows aiortc's type
        for part in resampler.resample(frame):
            yield bytes(part.planes[0])[: part.samples * 2]
