"""What was received of one RTP stream, as RTCP reports it (RFC 3550 section 6.4, appendix A)."""

from __future__ import annotations

from pipecat_whatsapp.media.rtp import ReportBlock, RtpPacket, SenderReport, unwrap

MAX_DROPOUT = 3000
MAX_MISORDER = 100
"""Sequence numbers ahead and back; a greater leap is a restart of the source (RFC 3550 A.1)."""


class Reception:
    """Counts one SSRC's packets.

    Args:
        first: The stream's first packet.
        clock_rate: The stream's clock, Hz.

    Attributes:
        ssrc: The stream.
        received: Packets, those that came twice included.
        jitter: Interarrival jitter, in clock units (RFC 3550 section 6.4.1).
    """

    def __init__(self, first: RtpPacket, clock_rate: int) -> None:
        self.ssrc = first.ssrc
        self.received = 0
        self.jitter = 0.0
        self._clock_rate = clock_rate
        self._base = self._highest = first.sequence
        self._last: tuple[float, int] | None = None
        self._reported = (0, 0)
        self._sender_report: tuple[int, float] | None = None

    @property
    def lost(self) -> int:
        """Packets that have not come, negative when more came than were sent."""
        return self._expected - self.received

    @property
    def _expected(self) -> int:
        return self._highest - self._base + 1

    def add(self, packet: RtpPacket, arrival: float, *, timed: bool) -> None:
        """Count a packet.

        Args:
            packet: A packet of this SSRC.
            arrival: When it came, monotonic seconds.
            timed: Whether its timestamp says when it was sent.
        """
        self.received += 1
        sequence = unwrap(packet.sequence, self._highest, bits=16)
        if not -MAX_MISORDER <= sequence - self._highest <= MAX_DROPOUT:
            self._restart(sequence)
        self._base = min(self._base, sequence)
        if sequence <= self._highest and self.received > 1:
            return
        self._highest = sequence
        if timed:
            self._note_time(packet.timestamp, arrival)

    def note(self, report: SenderReport, arrival: float) -> None:
        """Remember the stream's last sender report, from which it measures its round trip."""
        self._sender_report = (report.ntp >> 16 & 0xFFFFFFFF, arrival)

    def report(self, now: float) -> ReportBlock:
        """What to tell the sender; each call begins a new interval of the fraction lost."""
        expected, received = self._expected, self.received
        lately = expected - self._reported[0]
        lost = lately - (received - self._reported[1])
        self._reported = (expected, received)
        lsr, came = self._sender_report or (0, now)
        return ReportBlock(
            ssrc=self.ssrc,
            lost=self.lost,
            highest=self._highest & 0xFFFFFFFF,
            fraction=min(lost * 256 // lately, 255) if lost > 0 else 0,
            jitter=int(self.jitter),
            lsr=lsr,
            dlsr=min(int((now - came) * 65536), 0xFFFFFFFF),
        )

    def _restart(self, sequence: int) -> None:
        """Begin to count anew at a number, without anything lost between."""
        self._base += sequence - 1 - self._highest
        self._highest = sequence - 1
        self._last = None

    def _note_time(self, timestamp: int, arrival: float) -> None:
        if self._last is not None:
            came, sent = self._last
            apart = unwrap(timestamp, sent, bits=32) - sent
            difference = abs((arrival - came) * self._clock_rate - apart)
            self.jitter += (difference - self.jitter) / 16
        self._last = (arrival, timestamp)
