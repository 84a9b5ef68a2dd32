"""Audio out: encode, pace.

WhatsApp wants one stream of 20 ms Opus packets that never stops, mono, at about 20 kbit/s, with
in-band FEC. aiortc sends an encoded packet that a track gives it as it is, so the encoder here
replaces aiortc's, which is fixed at 96 kbit/s stereo.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamError, MediaStreamTrack

from pipecat_whatsapp.errors import ConfigError

OPUS_SAMPLE_RATES = (8000, 12000, 16000, 24000, 48000)
"""The rates that Opus codes without resampling, Hz (RFC 6716 section 2)."""

RTP_CLOCK_RATE = 48000
"""The clock of Opus in RTP whatever the audio's rate, Hz (RFC 7587 section 4.1)."""

FRAME_SECONDS = 0.02
FRAME_TICKS = RTP_CLOCK_RATE // 50
DEFAULT_BITRATE = 20_000

MAX_LATE_SECONDS = 0.06
"""A loop that stalled longer than this leaves out the frames it missed: a burst is noise."""


class AudioSender(MediaStreamTrack):
    """The track that carries a bot's voice.

    Silence is sent whenever nothing is written, so that packets never stop. Frames are paced on
    the monotonic clock; the clock starts at the first frame that is asked for.

    Args:
        sample_rate: Rate of the audio written, Hz, one of `OPUS_SAMPLE_RATES`.
        bitrate: Opus bit rate, bit/s.
        clock: Monotonic seconds.
        sleep: Waits that many seconds of the clock.

    Raises:
        ConfigError: Opus cannot code the sample rate.
    """

    kind = "audio"

    def __init__(
        self,
        sample_rate: int,
        *,
        bitrate: int = DEFAULT_BITRATE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__()
        if sample_rate not in OPUS_SAMPLE_RATES:
            raise ConfigError(
                f"Opus cannot code audio at {sample_rate} Hz: set "
                f"WhatsAppParams(audio_out_sample_rate=...) to one of {OPUS_SAMPLE_RATES}."
            )
        self._sample_rate = sample_rate
        self._frame_bytes = sample_rate // 50 * 2
        self._encoder = _encoder(sample_rate, bitrate)
        self._clock = clock
        self._sleep = sleep
        self._buffer = bytearray()
        self._room = asyncio.Event()
        self._due: float | None = None
        self._timestamp = 0
        self._samples = 0

    async def write(self, pcm: bytes) -> bool:
        """Queue 16-bit mono audio, and wait until all but its last 20 ms is on the wire.

        Returns:
            Whether the audio was taken: False once the track has stopped.
        """
        self._buffer += pcm
        await self._wait_below(self._frame_bytes)
        return self.readyState == "live"

    async def drain(self) -> None:
        """Wait until everything written is on the wire."""
        await self._wait_below(0)

    def clear(self) -> None:
        """Drop what has not been sent."""
        self._buffer.clear()
        self._room.set()

    def stop(self) -> None:
        """End the track; waiting writers return."""
        super().stop()
        self.clear()

    async def recv(self) -> av.Packet[Any]:
        """The next 20 ms, when it is due.

        Raises:
            MediaStreamError: The track has stopped.
        """
        await self._wait_until_due()
        if self.readyState != "live":
            raise MediaStreamError
        packet = self._encode(self._next_frame())
        packet.pts, packet.time_base = self._timestamp, Fraction(1, RTP_CLOCK_RATE)
        self._timestamp += FRAME_TICKS
        return packet

    async def _wait_until_due(self) -> None:
        now = self._clock()
        if self._due is None:
            self._due = now
        if now < self._due:
            await self._sleep(self._due - now)
        elif now - self._due > MAX_LATE_SECONDS:
            missed = int((now - self._due) / FRAME_SECONDS)
            self._due += missed * FRAME_SECONDS
            self._timestamp += missed * FRAME_TICKS
        self._due += FRAME_SECONDS

    async def _wait_below(self, size: int) -> None:
        while len(self._buffer) > size and self.readyState == "live":
            self._room.clear()
            await self._room.wait()

    def _next_frame(self) -> bytes:
        pcm = bytes(self._buffer[: self._frame_bytes])
        del self._buffer[: self._frame_bytes]
        self._room.set()
        return pcm.ljust(self._frame_bytes, b"\0")

    def _encode(self, pcm: bytes) -> av.Packet[Any]:
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate = self._sample_rate
        frame.pts, frame.time_base = self._samples, Fraction(1, self._sample_rate)
        self._samples += frame.samples
        (packet,) = self._encoder.encode(frame)
        return packet


def _encoder(sample_rate: int, bitrate: int) -> av.AudioCodecContext:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)  # noqa: S101 - narrows PyAV's type
    encoder.sample_rate = sample_rate
    encoder.format = "s16"
    encoder.layout = "mono"
    encoder.bit_rate = bitrate
    encoder.time_base = Fraction(1, sample_rate)
    encoder.options = {
        "application": "voip",
        "frame_duration": "20",
        "fec": "1",
        "packet_loss": "10",
    }
    return encoder
