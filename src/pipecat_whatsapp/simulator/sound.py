"""Sound: WAV files and Opus packets.

Sound is 16-bit mono PCM at 16000 Hz, in bytes, unless something else is said. One Opus packet
holds 20 ms. Opus decodes at 48000 Hz, which is also the clock of its RTP timestamps (RFC 7587).
"""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from pipecat_whatsapp.media.opus_pyav import PyAVEncoder

RATE = 16_000
OPUS_CLOCK = 48_000
FRAME_BYTES = 2 * RATE // 50
"""Bytes of PCM in one Opus packet of 20 ms."""
FRAME_TICKS = OPUS_CLOCK // 50
"""RTP timestamp units in one Opus packet of 20 ms."""
SOUND_LEVEL = 330
"""Peak above which a packet is sound and not silence: 1 % of full scale, -40 dB."""

_NOTHING = np.zeros(0, np.int16)


def resample(pcm: bytes, from_rate: int, to_rate: int) -> bytes:
    """Convert mono PCM from one sampling rate to another, both in Hz."""
    if from_rate == to_rate or not pcm:
        return pcm
    resampler = AudioResampler(format="s16", layout="mono", rate=to_rate)
    frames = [*resampler.resample(_frame(pcm, from_rate)), *resampler.resample(None)]
    return b"".join(frame.to_ndarray().tobytes() for frame in frames)


def _frame(pcm: bytes, rate: int) -> AudioFrame:
    samples = np.frombuffer(pcm, np.int16).reshape(1, -1)
    frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate = rate
    return frame


def read_wav(path: str | Path) -> bytes:
    """Read a 16-bit mono WAV file of any rate as PCM.

    Raises:
        ValueError: The file is stereo, or not of 16 bits.
        OSError: The file cannot be read.
        wave.Error: It is no WAV file.
    """
    with wave.open(str(path), "rb") as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise ValueError(f"{path} is not 16-bit mono")
        return resample(file.readframes(file.getnframes()), file.getframerate(), RATE)


def write_wav(path: str | Path, pcm: bytes, rate: int = RATE) -> None:
    """Write PCM of `rate` Hz as a 16-bit mono WAV file.

    Raises:
        OSError: The file cannot be written.
    """
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)


class OpusEncoder:
    """Encodes as a WhatsApp phone does: wide-band mono, 20 ms, 20 kbit/s, in-band FEC."""

    def __init__(self) -> None:
        self._codec = PyAVEncoder(RATE, bitrate=20_000, complexity=10)

    def encode(self, pcm: bytes) -> bytes:
        """Encode one frame.

        Args:
            pcm: At most `FRAME_BYTES`; a shorter frame is filled with silence.

        Returns:
            One Opus packet.
        """
        return self._codec.encode(pcm.ljust(FRAME_BYTES, b"\0"))


class OpusDecoder:
    """Decodes Opus packets to mono at 48000 Hz."""

    def __init__(self) -> None:
        codec = AudioCodecContext.create("libopus", "r")
        codec.sample_rate = OPUS_CLOCK
        codec.layout = "mono"
        self._codec = codec

    def decode(self, packet: bytes) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        """Decode one packet.

        Returns:
            Samples; none for a packet that is not Opus.
        """
        try:
            # An empty packet would mean the end of the stream to the codec.
            frames = self._codec.decode(av.Packet(packet)) if packet else []
        except av.FFmpegError:
            frames = []
        return np.concatenate([_NOTHING, *(frame.to_ndarray()[0] for frame in frames)])
