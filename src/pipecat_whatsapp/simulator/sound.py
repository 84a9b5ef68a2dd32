"""Sound: WAV files, Opus packets, and the recording of what a caller heard.

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

from pipecat_whatsapp.media.rtp import ReportBlock, RtpPacket, unwrap

RATE = 16_000
OPUS_CLOCK = 48_000
FRAME_BYTES = 2 * RATE // 50
"""Bytes of PCM in one Opus packet of 20 ms."""
FRAME_TICKS = OPUS_CLOCK // 50
"""RTP timestamp units in one Opus packet of 20 ms."""
SOUND_LEVEL = 330
"""Peak above which a packet is sound and not silence: 1 % of full scale, -40 dB."""

_NOTHING = np.zeros(0, np.int16)
_LONGEST_JUMP = 60 * OPUS_CLOCK


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
        codec = AudioCodecContext.create("libopus", "w")
        codec.sample_rate = RATE
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = 20_000
        codec.options = {
            "application": "voip",
            "frame_duration": "20",
            "fec": "1",
            "packet_loss": "10",
        }
        self._codec = codec
        self._samples = 0

    def encode(self, pcm: bytes) -> bytes:
        """Encode one frame.

        Args:
            pcm: At most `FRAME_BYTES`; a shorter frame is filled with silence.

        Returns:
            One Opus packet.
        """
        frame = _frame(pcm.ljust(FRAME_BYTES, b"\0"), RATE)
        frame.pts = self._samples
        self._samples += frame.samples
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


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


class Recording:
    """What a caller heard, placed by RTP timestamps on one timeline; what was lost is silence.

    Attributes:
        accepted_at: Monotonic time of the call's accept, s; None before.
        received: Packets that arrived, without duplicates.
        late: Packets that arrived after one that was sent later.
        duplicates: Packets that arrived again, as far as SRTP let them pass.
        timestamp_gaps: Consecutive packets whose timestamps were not consecutive.
        media_before_accept: RTP packets that came before the accept. A real phone would have
            shown the call as answered (Meta: media).
        sound_seconds: How much sound, not silence, was heard, s.
    """

    def __init__(self) -> None:
        self.accepted_at: float | None = None
        self.received = 0
        self.late = 0
        self.duplicates = 0
        self.timestamp_gaps = 0
        self.media_before_accept = 0
        self.sound_seconds = 0.0
        self._first_sound: float | None = None
        self._first_arrival = 0.0
        self._end = 0
        self._decoder = OpusDecoder()
        self._packets: dict[int, bytes] = {}
        self._streams: list[_Stream] = []

    @property
    def ssrcs(self) -> set[int]:
        """The SSRCs heard; more than one breaks a call on the real WhatsApp (Meta: media)."""
        return {stream.ssrc for stream in self._streams}

    @property
    def lost(self) -> int:
        """Packets that never arrived, as far as the sequence numbers tell."""
        return sum(stream.lost for stream in self._streams)

    @property
    def first_sound_at(self) -> float | None:
        """Time from accept to the first sound, s; None while either is missing."""
        if self._first_sound is None or self.accepted_at is None:
            return None
        return self._first_sound - self.accepted_at

    @property
    def pcm(self) -> bytes:
        """All that was heard so far, from the first packet on."""
        start = min(self._packets, default=0)
        timeline = np.zeros(self._end - start, np.int16)
        decoder = OpusDecoder()
        # Decoded anew and in order: Opus carries state from packet to packet.
        for position, packet in sorted(self._packets.items()):
            samples = decoder.decode(packet)[: self._end - position]
            timeline[position - start :][: len(samples)] = samples
        return resample(timeline.tobytes(), OPUS_CLOCK, RATE)

    def save(self, path: str | Path) -> None:
        """Write what was heard as a WAV file.

        Raises:
            OSError: The file cannot be written.
        """
        write_wav(path, self.pcm)

    def report(self) -> list[ReportBlock]:
        """What an RTCP report says about the stream heard last; empty before the first packet."""
        return [ReportBlock(s.ssrc, s.lost, s.highest) for s in self._streams[-1:]]

    def add(self, packet: RtpPacket, arrival: float, *, audio: bool = True) -> None:
        """Take in one packet.

        Args:
            packet: The packet, decrypted.
            arrival: Monotonic time of its arrival, s.
            audio: Whether its payload is Opus.
        """
        stream = self._stream(packet, arrival)
        highest, sequence = stream.highest, unwrap(packet.sequence, stream.highest, bits=16)
        if not stream.note(sequence):
            self.duplicates += 1
            return
        self.received += 1
        self.media_before_accept += self.accepted_at is None
        self.late += sequence < highest
        if audio:
            self._hear(stream, packet, arrival, follows=sequence == highest + 1)

    def _stream(self, packet: RtpPacket, arrival: float) -> _Stream:
        for stream in reversed(self._streams):
            if stream.ssrc == packet.ssrc and not stream.strays(packet):
                return stream
        # Another SSRC has another clock: all that relates the two is the time of arrival.
        if not self._streams:
            self._first_arrival = arrival
        elapsed = int((arrival - self._first_arrival) * OPUS_CLOCK)
        self._streams.append(_Stream(packet, start=max(self._end, elapsed)))
        return self._streams[-1]

    def _hear(self, stream: _Stream, packet: RtpPacket, arrival: float, *, follows: bool) -> None:
        samples = self._decoder.decode(packet.payload)
        timestamp = unwrap(packet.timestamp, stream.timestamp, bits=32)
        if follows and timestamp != stream.next_timestamp:
            self.timestamp_gaps += 1
        if timestamp >= stream.timestamp:
            stream.timestamp, stream.next_timestamp = timestamp, timestamp + len(samples)
        position = stream.start + timestamp - stream.first_timestamp
        self._packets[position] = packet.payload
        self._end = max(self._end, position + len(samples))
        if np.abs(samples.astype(np.int32)).max(initial=0) > SOUND_LEVEL:
            self.sound_seconds += len(samples) / OPUS_CLOCK
            self._first_sound = arrival if self._first_sound is None else self._first_sound


class _Stream:
    """One SSRC as it arrives, with its counters unwrapped."""

    def __init__(self, first: RtpPacket, *, start: int) -> None:
        self.ssrc = first.ssrc
        self.start = start
        self.first_timestamp = self.timestamp = first.timestamp
        self.next_timestamp = first.timestamp
        self.highest = self._lowest = first.sequence
        self._seen: set[int] = set()

    @property
    def lost(self) -> int:
        """How many numbers between the lowest and the highest are missing."""
        return self.highest - self._lowest + 1 - len(self._seen)

    def note(self, sequence: int) -> bool:
        """Count a sequence number in; False when it was there before."""
        if sequence in self._seen:
            return False
        self._seen.add(sequence)
        self.highest = max(self.highest, sequence)
        self._lowest = min(self._lowest, sequence)
        return True

    def strays(self, packet: RtpPacket) -> bool:
        """Whether a packet's timestamp cannot belong to this stream's clock."""
        timestamp = unwrap(packet.timestamp, self.timestamp, bits=32)
        return abs(timestamp - self.timestamp) > _LONGEST_JUMP
