"""What the callers say and how it is found again: chirps, speech, and one timeline for packets.

16-bit mono PCM: at 16000 Hz where it is said, at 48000 Hz, the clock of Opus, where it is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np

from pipecat_whatsapp.media.rtp import RtpPacket, unwrap
from pipecat_whatsapp.simulator.demo import FOLDER
from pipecat_whatsapp.simulator.sound import (
    FRAME_BYTES,
    FRAME_TICKS,
    OPUS_CLOCK,
    RATE,
    OpusDecoder,
    OpusEncoder,
    read_wav,
)

CHIRP_SECONDS = 0.1
GREETING_RATE = 24_000
PACKET_SECONDS = 0.02

Samples: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int16]]
Floats: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]


def chirp(rate: int, seconds: float = CHIRP_SECONDS) -> Samples:
    """A sweep from 400 to 5000 Hz, faded over 2 ms at both ends."""
    t = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * (400 * t + (5000 - 400) / (2 * seconds) * t**2)
    fade = np.minimum(1, np.minimum(t, seconds - t) / 0.002)
    return np.asarray(12_000 * fade * np.sin(phase), np.int16)


def greeting() -> bytes:
    """What a bot says that greets with a chirp, PCM at `GREETING_RATE`."""
    return chirp(GREETING_RATE, 0.3).tobytes()


def hum(seconds: float) -> bytes:
    """A voice that never pauses, so that any silence in its echo is a fault.

    A rich tone that slides up and down around 150 Hz: it costs the codec what speech does.
    """
    t = np.arange(round(RATE * seconds)) / RATE
    phase = 2 * np.pi * 150 * t + 40 * np.sin(2 * np.pi * 0.7 * t)
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    return np.asarray(4000 * tone, np.int16).tobytes()


@cache
def speech() -> bytes:
    """About 17 s of speech with pauses of 0.8 s; PCM."""
    pause = bytes(round(0.8 * RATE) * 2)
    names = ("greeting", "question", "greeting", "goodbye")
    sentences = [read_wav(FOLDER / f"{name}.wav") for name in names]
    return pause.join(sentences)


def encode(pcm: bytes) -> list[bytes]:
    """Encode PCM at 16000 Hz as a WhatsApp phone does: one packet for each 20 ms."""
    encoder = OpusEncoder()
    return [encoder.encode(pcm[at : at + FRAME_BYTES]) for at in range(0, len(pcm), FRAME_BYTES)]


@dataclass(frozen=True)
class Timeline:
    """A stream of packets, placed by their RTP timestamps.

    Parameters:
        samples: The sound at 48000 Hz; silence where there was no packet.
        times: When the packet of each 20 ms was sent or came, monotonic s; NaN if there was none.
    """

    samples: Samples
    times: Floats

    def time_of(self, sample: int) -> float:
        """When a sample passed: the time of its packet, and its place in it; s."""
        slot, place = divmod(sample, FRAME_TICKS)
        return float(self.times[slot]) + place / OPUS_CLOCK

    def first_sample_after(self, time: float) -> int:
        """The first sample of the first packet that passed at a time or later, monotonic s."""
        passed = np.flatnonzero(self.times >= time)
        return int(passed[0]) * FRAME_TICKS if len(passed) else len(self.samples)


def timeline(packets: Sequence[tuple[float, bytes]]) -> Timeline:
    """Decode a stream.

    Args:
        packets: Monotonic time, s, and RTP packet, of one SSRC, in any order.
    """
    placed = _by_sequence(packets)
    if not placed:
        return Timeline(np.zeros(0, np.int16), np.zeros(0))
    slots = [(timestamp - placed[0][1]) // FRAME_TICKS for _, timestamp, _ in placed]
    samples = np.zeros((slots[-1] + 1) * FRAME_TICKS, np.int16)
    times = np.full(slots[-1] + 1, np.nan)
    decoder = OpusDecoder()
    for slot, (time, _, payload) in zip(slots, placed, strict=True):
        sound = decoder.decode(payload)[:FRAME_TICKS]
        samples[slot * FRAME_TICKS :][: len(sound)] = sound
        times[slot] = time
    return Timeline(samples, times)


def _by_sequence(packets: Sequence[tuple[float, bytes]]) -> list[tuple[float, int, bytes]]:
    """Time, unwrapped timestamp and payload of each packet, in the order of their sending."""
    found: dict[int, tuple[float, int, bytes]] = {}
    sequence = timestamp = -1
    for time, data in packets:
        packet = RtpPacket.parse(data)
        if sequence < 0:
            sequence, timestamp = packet.sequence + (1 << 16), packet.timestamp + (1 << 32)
        sequence = unwrap(packet.sequence, sequence, bits=16)
        timestamp = unwrap(packet.timestamp, timestamp, bits=32)
        found.setdefault(sequence, (time, timestamp, packet.payload))
    return [found[sequence] for sequence in sorted(found)]


def find(needle: Samples, haystack: Samples) -> tuple[int, float]:
    """Find a sound in a longer one by normalised cross-correlation.

    Returns:
        Where it begins, in samples, and how alike the two are there, from -1 to 1.
    """
    if len(haystack) < len(needle):
        return 0, 0.0
    products = correlate(haystack.astype(np.float64), needle.astype(np.float64))
    energy = np.cumsum(np.concatenate([[0.0], haystack.astype(np.float64) ** 2]))
    local = energy[len(needle) :] - energy[: -len(needle)]
    own = float(np.sum(needle.astype(np.float64) ** 2))
    # A floor under the energy keeps near silence from looking like anything.
    likeness = products / np.sqrt(own * np.maximum(local, own / 100))
    best = int(np.argmax(likeness))
    return best, float(likeness[best])


def correlate(long: Floats, short: Floats) -> Floats:
    """Inner products of `short` with `long` at every place where it fits in."""
    size = 1 << (len(long) + len(short) - 1).bit_length()
    spectrum = np.fft.rfft(long, size) * np.conj(np.fft.rfft(short, size))
    products: Floats = np.fft.irfft(spectrum, size)[: len(long) - len(short) + 1]
    return products
