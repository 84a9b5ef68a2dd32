"""What only a phone needs of RTP: the numbering of its stream, its report, and its goodbye.

Source: RFC 3550. The wire format itself is in `media.rtp`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pipecat_whatsapp.media.rtp import ReportBlock, RtpPacket, rtcp_packet

_CLOCK = 48_000
_NTP_EPOCH = 2_208_988_800  # Seconds from 1900 to 1970.


class RtpStream:
    """The numbering of one outgoing stream: one SSRC, one sequence, one clock.

    Parameters:
        ssrc: The stream's SSRC, for the whole call.
        sequence: The first sequence number.
        timestamp: The first timestamp.
    """

    def __init__(self, ssrc: int, *, sequence: int = 0, timestamp: int = 0) -> None:
        self.ssrc = ssrc
        self.timestamp = timestamp
        self.packets = 0
        self.octets = 0
        self._sequence = sequence

    def packet(
        self, payload_type: int, payload: bytes, *, marker: bool = False, back: int = 0
    ) -> RtpPacket:
        """Make the next packet of the stream.

        Args:
            payload_type: The payload type.
            payload: The payload.
            marker: The marker bit.
            back: How long before now the payload began, in clock units.
        """
        made = RtpPacket(
            payload_type,
            (self._sequence + self.packets) & 0xFFFF,
            (self.timestamp - back) & 0xFFFFFFFF,
            self.ssrc,
            payload,
            marker,
        )
        self.packets += 1
        self.octets += len(payload)
        return made

    def advance(self, units: int) -> None:
        """Let the stream's clock run on by so many units."""
        self.timestamp = (self.timestamp + units) & 0xFFFFFFFF


@dataclass(frozen=True)
class FarEnd:
    """What the far end reports of our stream (RFC 3550 section 6.4.1).

    Parameters:
        loss: Share of packets lost since its last report, 0 to 1.
        jitter: Interarrival jitter, s.
        round_trip: Network round trip, s; None before it has had a report of ours.
    """

    loss: float
    jitter: float
    round_trip: float | None

    @classmethod
    def of(cls, block: ReportBlock, now: float) -> FarEnd:
        """Read a report block that came now, Unix seconds."""
        round_trip = None
        if block.lsr:
            passed = ((_ntp(now) >> 16) - block.lsr - block.dlsr) & 0xFFFFFFFF
            # A clock that was set back makes it huge: nothing then.
            round_trip = passed / 65536 if passed < 1 << 31 else None
        return cls(block.fraction / 256, block.jitter / _CLOCK, round_trip)


def sender_report(stream: RtpStream, now: float, blocks: Sequence[ReportBlock] = ()) -> bytes:
    """Write a sender report (RFC 3550 section 6.4.1).

    Args:
        stream: The stream we send.
        now: Wall-clock time, Unix seconds.
        blocks: What we receive.
    """
    counts = (stream.timestamp, stream.packets & 0xFFFFFFFF, stream.octets & 0xFFFFFFFF)
    body = struct.pack("!IQIII", stream.ssrc, _ntp(now), *counts)
    return rtcp_packet(200, len(blocks), body + b"".join(map(bytes, blocks)))


def _ntp(now: float) -> int:
    """Unix seconds as NTP time, 64 bits (RFC 3550 section 4)."""
    return int((now + _NTP_EPOCH) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF


def bye(ssrc: int) -> bytes:
    """Write a goodbye (RFC 3550 section 6.6)."""
    return rtcp_packet(203, 1, struct.pack("!I", ssrc))
