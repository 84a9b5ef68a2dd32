"""RTP, RTCP and telephone-events in bytes: only what a phone sends and reads.

Sources: RFC 3550 (RTP, RTCP), RFC 4733 (telephone-event), RFC 5761 (both on one port).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

KEYS = "0123456789*#ABCD"
"""The keys of a telephone, at the index that is their event code (RFC 4733 section 3.2)."""

TICK = 160
"""Telephone-event clock units in one packet time: 20 ms at 8000 Hz."""

_HEADER = struct.Struct("!BBHII")
_NTP_EPOCH = 2_208_988_800  # Seconds from 1900 to 1970.


@dataclass(frozen=True)
class RtpPacket:
    """One RTP packet (RFC 3550 section 5.1).

    Parameters:
        payload_type: 7 bits.
        sequence: 16 bits.
        timestamp: 32 bits, in units of the stream's clock.
        ssrc: 32 bits.
        payload: What follows the header, without padding.
        marker: The marker bit.
    """

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def __bytes__(self) -> bytes:
        second = self.payload_type | (0x80 if self.marker else 0)
        header = _HEADER.pack(0x80, second, self.sequence, self.timestamp, self.ssrc)
        return header + self.payload

    @classmethod
    def parse(cls, data: bytes) -> RtpPacket:
        """Read a packet; CSRCs, header extension and padding are skipped.

        Args:
            data: One decrypted datagram.

        Raises:
            ValueError: It is no RTP packet.
        """
        if len(data) < _HEADER.size or data[0] >> 6 != 2:
            raise ValueError("not an RTP packet")
        first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        start = _payload_start(data)
        end = len(data) - (data[-1] if first & 0x20 else 0)
        if end < start:
            raise ValueError("an RTP packet is shorter than its header says")
        return cls(
            payload_type=second & 0x7F,
            sequence=sequence,
            timestamp=timestamp,
            ssrc=ssrc,
            payload=data[start:end],
            marker=bool(second & 0x80),
        )


def _payload_start(data: bytes) -> int:
    start = _HEADER.size + 4 * (data[0] & 0x0F)
    if data[0] & 0x10:
        if len(data) < start + 4:
            raise ValueError("an RTP header extension is cut off")
        (words,) = struct.unpack_from("!H", data, start + 2)
        start += 4 + 4 * words
    return start


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


def unwrap(value: int, near: int, *, bits: int) -> int:
    """Undo the wrap-around of a counter.

    Args:
        value: What the packet says, `bits` wide.
        near: An earlier unwrapped value of the same counter.
        bits: Width of the counter.

    Returns:
        The number nearest to `near` whose low bits are `value`.
    """
    half = 1 << (bits - 1)
    return near + ((value - near + half) & ((1 << bits) - 1)) - half


def is_rtcp(datagram: bytes) -> bool:
    """Whether a datagram on an RTP port is RTCP (RFC 5761 section 4)."""
    return len(datagram) > 1 and 192 <= datagram[1] <= 223


@dataclass(frozen=True)
class ReportBlock:
    """What was received of one stream (RFC 3550 section 6.4.1).

    Parameters:
        ssrc: The stream reported on.
        lost: Packets lost since the start.
        highest: Highest sequence number received, with its cycles.
        fraction: Share lost since the last report, in 1/256.
        jitter: Interarrival jitter, in clock units.
    """

    ssrc: int
    lost: int
    highest: int
    fraction: int = 0
    jitter: int = 0

    def __bytes__(self) -> bytes:
        lost = max(-(1 << 23), min(self.lost, (1 << 23) - 1)) & 0xFFFFFF
        word = (self.fraction << 24) | lost
        highest = self.highest & 0xFFFFFFFF
        return struct.pack("!IIIIII", self.ssrc, word, highest, self.jitter, 0, 0)


def _rtcp(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def sender_report(stream: RtpStream, now: float, blocks: Sequence[ReportBlock] = ()) -> bytes:
    """Write a sender report (RFC 3550 section 6.4.1).

    Args:
        stream: The stream we send.
        now: Wall-clock time, Unix seconds.
        blocks: What we receive.
    """
    ntp = int((now + _NTP_EPOCH) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF
    counts = (stream.timestamp, stream.packets & 0xFFFFFFFF, stream.octets & 0xFFFFFFFF)
    body = struct.pack("!IQIII", stream.ssrc, ntp, *counts)
    return _rtcp(200, len(blocks), body + b"".join(map(bytes, blocks)))


def receiver_report(ssrc: int, blocks: Sequence[ReportBlock] = ()) -> bytes:
    """Write a receiver report (RFC 3550 section 6.4.2) of the participant `ssrc`."""
    return _rtcp(201, len(blocks), struct.pack("!I", ssrc) + b"".join(map(bytes, blocks)))


def source_description(ssrc: int, cname: str) -> bytes:
    """Write the description every compound RTCP packet must hold (RFC 3550 section 6.5)."""
    name = cname.encode()
    chunk = struct.pack("!IBB", ssrc, 1, len(name)) + name
    return _rtcp(202, 1, chunk + bytes(4 - len(chunk) % 4))


def bye(ssrc: int) -> bytes:
    """Write a goodbye (RFC 3550 section 6.6)."""
    return _rtcp(203, 1, struct.pack("!I", ssrc))


def event_payload(key: str, duration: int, *, end: bool = False, volume: int = 10) -> bytes:
    """Pack one telephone-event payload (RFC 4733 section 2.3).

    Args:
        key: One of `KEYS`, in either case.
        duration: Time since the event began, in 8000 Hz units.
        end: Whether the key has been released.
        volume: Level below full scale, dB.

    Raises:
        ValueError: There is no such key.
    """
    code = KEYS.find(key.upper()) if len(key) == 1 else -1
    if code < 0:
        raise ValueError(f"a telephone has no key {key!r}, only {KEYS}")
    return struct.pack("!BBH", code, (0x80 if end else 0) | volume, duration)


def tone_payloads(key: str, ticks: int = 5) -> list[list[bytes]]:
    """The packets of one key press, by packet time of 20 ms.

    Args:
        key: One of `KEYS`.
        ticks: Length of the tone, in 20 ms.

    Returns:
        One payload for each packet time; for the last one the end, three times
        (RFC 4733 section 2.5.1.4).

    Raises:
        ValueError: There is no such key.
    """
    payloads = [[event_payload(key, TICK * tick)] for tick in range(1, ticks)]
    return [*payloads, [event_payload(key, TICK * ticks, end=True)] * 3]
