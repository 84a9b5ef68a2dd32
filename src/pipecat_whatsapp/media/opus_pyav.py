"""Opus by PyAV's codecs, for a machine without a libopus that can be called.

They code and decode, but know no DTX, and neither recover nor conceal a lost packet: that is
silence.
"""

from __future__ import annotations

from fractions import Fraction

import av

from pipecat_whatsapp.media.opus_packet import RTP_CLOCK_RATE
from pipecat_whatsapp.media.resampler import samples_of


class PyAVEncoder:
    """Codes 20 ms of mono at a time, with in-band FEC for an expected loss of 10 %.

    Args:
        sample_rate: Rate of the audio given, Hz.
        bitrate: Bit/s, on average.
        complexity: 0 (cheap) to 10 (best).
    """

    def __init__(self, sample_rate: int, *, bitrate: int, complexity: int) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, av.AudioCodecContext)  # noqa: S101 - narrows PyAV's type
        codec.sample_rate = sample_rate
        codec.format = "s16"
        codec.layout = "mono"
        codec.bit_rate = bitrate
        codec.time_base = Fraction(1, sample_rate)
        codec.options = {
            "application": "voip",
            "frame_duration": "20",
            "compression_level": str(complexity),
            "fec": "1",
            "packet_loss": "10",
        }
        self._codec = codec
        self._samples = 0

    def encode(self, pcm: bytes) -> bytes:
        """Code 20 ms as one packet."""
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate = self._codec.sample_rate
        frame.pts, frame.time_base = self._samples, self._codec.time_base
        self._samples += frame.samples
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))

    def adapt(self, *, bitrate: int, expected_loss: float) -> None:
        """Take the bit rate, before the first packet only; the rest stays as it is."""
        if not self._codec.is_open:
            self._codec.bit_rate = bitrate

    def set_complexity(self, complexity: int) -> None:
        """Change nothing: PyAV's codec takes it at its creation only."""

    def set_max_playback_rate(self, sample_rate: int) -> None:
        """Change nothing: PyAV's codec knows no such limit."""


class PyAVDecoder:
    """Decodes to mono.

    Args:
        sample_rate: Rate of the audio wanted, Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        codec = av.CodecContext.create("libopus", "r")
        assert isinstance(codec, av.AudioCodecContext)  # noqa: S101 - narrows PyAV's type
        codec.sample_rate = RTP_CLOCK_RATE
        codec.layout = "mono"
        self._codec = codec
        self._sample_rate = sample_rate
        self._resampler = av.AudioResampler("s16", "mono", sample_rate, sample_rate // 50)

    def decode(self, packet: bytes) -> bytes:
        """Decode a packet; the resampler may hold some samples back.

        Raises:
            ValueError: It is not Opus.
        """
        if not packet:
            # To the codec it would be the end of the stream.
            raise ValueError("an Opus packet has at least one byte")
        try:
            frames = self._codec.decode(av.Packet(packet))
        except av.FFmpegError as error:
            raise ValueError(str(error)) from error
        parts = [part for frame in frames for part in self._resampler.resample(frame)]
        return b"".join(map(samples_of, parts))

    def recover(self, next_packet: bytes, ticks: int) -> bytes:
        """Silence in place of a lost packet."""
        return self.conceal(ticks)

    def conceal(self, ticks: int) -> bytes:
        """Silence in place of a lost packet."""
        return bytes(2 * (ticks * self._sample_rate // RTP_CLOCK_RATE))
