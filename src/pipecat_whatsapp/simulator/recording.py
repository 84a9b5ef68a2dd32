"""The recording of what a caller heard, and what an RTCP report says of it.

Sound is as in `sound`. Timestamps are those of Opus: 48000 Hz units, here unwrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from pipecat_whatsapp.media.rtp import ReportBlock, RtpPacket, SenderReport, unwrap
from pipecat_whatsapp.simulator.sound import (
    OPUS_CLOCK,
    RATE,
    SOUND_LEVEL,
    OpusDecoder,
    resample,
    write_wav,
)

_LONGEST_JUMP = 60 * OPUS_CLOCK
_RUN_UP = OPUS_CLOCK // 10  # What is decoded before a stretch: 80 ms settle Opus (RFC 7845).


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
        keys: The keys that the business pressed.
        sound_seconds: How much sound, not silence, was heard, s.
        first_arrival: Monotonic time of the first packet, s; None before.
        first_sound: Monotonic time of the first sound, s; None before.
    """

    def __init__(self) -> None:
        self.accepted_at: float | None = None
        self.received = 0
        self.late = 0
        self.duplicates = 0
        self.timestamp_gaps = 0
        self.media_before_accept = 0
        self.keys = ""
        self.sound_seconds = 0.0
        self.first_arrival: float | None = None
        self.first_sound: float | None = None
        self._peak = 0
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
        if self.first_sound is None or self.accepted_at is None:
            return None
        return self.first_sound - self.accepted_at

    @property
    def jitter(self) -> float:
        """Interarrival jitter of the stream heard last, s (RFC 3550 section 6.4.1)."""
        return self._streams[-1].jitter / OPUS_CLOCK if self._streams else 0.0

    def take_peak(self) -> int:
        """The loudest sample since this was last asked, 0 to 32768."""
        peak, self._peak = self._peak, 0
        return peak

    @property
    def duration(self) -> float:
        """How long it is, from the first packet on, s."""
        return (self._end - min(self._packets, default=self._end)) / OPUS_CLOCK

    @property
    def pcm(self) -> bytes:
        """All that was heard so far, from the first packet on."""
        return self.stretch(0.0)()

    def stretch(self, since: float) -> Callable[[], bytes]:
        """What has been heard from a time on, still to be decoded.

        Args:
            since: Seconds since the first packet.

        Returns:
            A function that decodes it, be it in another thread.
        """
        start = min(self._packets, default=0) + int(since * OPUS_CLOCK)
        packets = sorted(self._packets.items())
        return partial(_decoded, packets, min(start, self._end), self._end)

    def save(self, path: str | Path) -> None:
        """Write what was heard as a WAV file.

        Raises:
            OSError: The file cannot be written.
        """
        write_wav(path, self.pcm)

    def report(self, now: float) -> list[ReportBlock]:
        """What an RTCP report says about the stream heard last; empty before the first packet.

        Args:
            now: Monotonic time, s.
        """
        return [stream.report(now) for stream in self._streams[-1:]]

    def note_report(self, report: SenderReport, arrival: float) -> None:
        """Take in what the business reports of its own stream, and the monotonic time, s."""
        for stream in self._streams:
            if stream.ssrc == report.ssrc:
                stream.note_report(report, arrival)

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
        else:
            stream.next_timestamp = None

    def _stream(self, packet: RtpPacket, arrival: float) -> _Stream:
        for stream in reversed(self._streams):
            if stream.ssrc == packet.ssrc and not stream.strays(packet):
                return stream
        # Another SSRC has another clock: all that relates the two is the time of arrival.
        if self.first_arrival is None:
            self.first_arrival = arrival
        elapsed = int((arrival - self.first_arrival) * OPUS_CLOCK)
        self._streams.append(_Stream(packet, start=max(self._end, elapsed)))
        return self._streams[-1]

    def _hear(self, stream: _Stream, packet: RtpPacket, arrival: float, *, follows: bool) -> None:
        samples = self._decoder.decode(packet.payload)
        timestamp = unwrap(packet.timestamp, stream.timestamp, bits=32)
        stream.note_time(timestamp, arrival)
        if follows and stream.next_timestamp not in (None, timestamp):
            self.timestamp_gaps += 1
        if timestamp >= stream.timestamp:
            stream.timestamp, stream.next_timestamp = timestamp, timestamp + len(samples)
        position = stream.start + timestamp - stream.first_timestamp
        self._packets[position] = packet.payload
        self._end = max(self._end, position + len(samples))
        peak = int(np.abs(samples.astype(np.int32)).max(initial=0))
        self._peak = max(self._peak, peak)
        if peak > SOUND_LEVEL:
            self.sound_seconds += len(samples) / OPUS_CLOCK
            self.first_sound = arrival if self.first_sound is None else self.first_sound


def _decoded(packets: list[tuple[int, bytes]], start: int, end: int) -> bytes:
    """What lies between two positions, decoded in order: Opus carries state along."""
    timeline = np.zeros(end - start, np.int16)
    decoder = OpusDecoder()
    for position, packet in packets:
        if position < start - _RUN_UP:
            continue
        samples = decoder.decode(packet)[max(0, start - position) : end - position]
        timeline[max(0, position - start) :][: len(samples)] = samples
    return resample(timeline.tobytes(), OPUS_CLOCK, RATE)


class _Stream:
    """One SSRC of the business. Timestamps are in 48000 Hz units, unwrapped.

    Parameters:
        first: Its first packet.
        start: Where on the recording's timeline that packet lies.

    Attributes:
        timestamp: Of the latest audio so far.
        next_timestamp: Where that audio ends; None when it was followed by something else.
        highest: Highest sequence number so far, unwrapped.
        jitter: Interarrival jitter so far.
    """

    def __init__(self, first: RtpPacket, *, start: int) -> None:
        self.ssrc = first.ssrc
        self.start = start
        self.first_timestamp = self.timestamp = first.timestamp
        self.next_timestamp: int | None = first.timestamp
        self.highest = self._lowest = first.sequence
        self._seen: set[int] = set()
        self._transit: float | None = None
        self.jitter = 0.0
        self._reported = (0, 0)
        self._sender_report: tuple[int, float] | None = None

    @property
    def lost(self) -> int:
        """How many numbers between the lowest and the highest are missing."""
        return self._expected - len(self._seen)

    @property
    def _expected(self) -> int:
        return self.highest - self._lowest + 1

    def note(self, sequence: int) -> bool:
        """Count a sequence number in; False when it was there before."""
        if sequence in self._seen:
            return False
        self._seen.add(sequence)
        self.highest = max(self.highest, sequence)
        self._lowest = min(self._lowest, sequence)
        return True

    def note_time(self, timestamp: int, arrival: float) -> None:
        """Follow the jitter (RFC 3550 section 6.4.1).

        Args:
            timestamp: Of a packet of audio.
            arrival: Monotonic time of its arrival, s.
        """
        transit = arrival * OPUS_CLOCK - timestamp
        if self._transit is not None:
            self.jitter += (abs(transit - self._transit) - self.jitter) / 16
        self._transit = transit

    def note_report(self, report: SenderReport, arrival: float) -> None:
        """Remember the sender's own report, from which it measures its round trip.

        Args:
            report: The report.
            arrival: Monotonic time of its arrival, s.
        """
        self._sender_report = report.ntp, arrival

    def strays(self, packet: RtpPacket) -> bool:
        """Whether a packet's timestamp cannot belong to this stream's clock."""
        timestamp = unwrap(packet.timestamp, self.timestamp, bits=32)
        return abs(timestamp - self.timestamp) > _LONGEST_JUMP

    def report(self, now: float) -> ReportBlock:
        """What an RTCP report says; the loss since the last one is that since the last call.

        Args:
            now: Monotonic time, s.
        """
        lsr, dlsr = 0, 0
        if self._sender_report is not None:
            ntp, arrival = self._sender_report
            lsr, dlsr = (ntp >> 16) & 0xFFFFFFFF, round((now - arrival) * 65536)
        return ReportBlock(
            self.ssrc, self.lost, self.highest, self._fraction(), round(self.jitter), lsr, dlsr
        )

    def _fraction(self) -> int:
        """Share lost since the last report, in 1/256 (RFC 3550 section A.3)."""
        expected = self._expected - self._reported[0]
        received = len(self._seen) - self._reported[1]
        self._reported = self._expected, len(self._seen)
        return min(255, max(0, expected - received) * 256 // max(1, expected))
