"""RTP and RTCP on the wire: packets in bytes and back, no I/O.

Sources: RFC 3550 (RTP, RTCP), RFC 5761 (both on one port). Whatever bytes come, reading them gives
a value or a `ValueError`; nothing grows beyond the size of the datagram.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_HEADER = struct.Struct("!BBHII")
_PLAIN = 0x80  # Version 2, without CSRCs, extension and padding.
_SENDER_INFO = struct.Struct("!IQIII")
_BLOCK = struct.Struct("!IIIIII")


@dataclass(frozen=True, slots=True)
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
        header = _HEADER.pack(_PLAIN, second, self.sequence, self.timestamp, self.ssrc)
        return header + self.payload

    @classmethod
    def parse(cls, data: bytes) -> RtpPacket:
        """Read a packet; CSRCs, header extension and padding are skipped.

        Args:
            data: One decrypted datagram.

        Raises:
            ValueError: It is no RTP packet.
        """
        if len(data) < _HEADER.size:
            raise ValueError("not an RTP packet: shorter than a header")
        first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        payload = data[12:] if first == _PLAIN else _payload(data)
        return cls(second & 0x7F, sequence, timestamp, ssrc, payload, second > 0x7F)


def _payload(data: bytes) -> bytes:
    """What lies between the optional parts of the header and the padding."""
    first = data[0]
    if first >> 6 != 2:
        raise ValueError("not an RTP packet: another version")
    start = _HEADER.size + 4 * (first & 0x0F)
    if first & 0x10:
        # Cut off, it reads as less than it is, which the last check notices.
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4])
    end = len(data) - (data[-1] if first & 0x20 else 0)
    if end < start:
        raise ValueError("an RTP packet is shorter than its header says")
    return data[start:end]


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


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What was received of one stream (RFC 3550 section 6.4.1).

    Parameters:
        ssrc: The stream reported on.
        lost: Packets lost since the start, 24 bits; negative when more arrived than were sent.
        highest: Highest sequence number received, with its cycles, 32 bits.
        fraction: Share lost since the last report, in 1/256.
        jitter: Interarrival jitter, in units of the stream's clock.
        lsr: The middle 32 bits of the NTP time in the last sender report, 0 without one.
        dlsr: Time since that sender report came, in 1/65536 s.
    """

    ssrc: int
    lost: int
    highest: int
    fraction: int = 0
    jitter: int = 0
    lsr: int = 0
    dlsr: int = 0

    def __bytes__(self) -> bytes:
        lost = max(-(1 << 23), min(self.lost, (1 << 23) - 1)) & 0xFFFFFF
        word = (self.fraction << 24) | lost
        highest = self.highest & 0xFFFFFFFF
        return _BLOCK.pack(self.ssrc, word, highest, self.jitter, self.lsr, self.dlsr)


@dataclass(frozen=True, slots=True)
class SenderReport:
    """What a participant sent and received (RFC 3550 section 6.4.1).

    Parameters:
        ssrc: Its stream.
        ntp: Wall-clock time of the report, 64-bit NTP: seconds since 1900, 32 bits of them whole.
        rtp_timestamp: The same time on the stream's clock.
        packets: Packets sent since the start.
        octets: Bytes of payload sent since the start.
        blocks: What it received.
    """

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """What a participant that sends nothing received (RFC 3550 section 6.4.2).

    Parameters:
        ssrc: The participant.
        blocks: What it received.
    """

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Participants that leave (RFC 3550 section 6.6).

    Parameters:
        ssrcs: Their streams.
    """

    ssrcs: tuple[int, ...]


RtcpPacket = SenderReport | ReceiverReport | Goodbye


def read_rtcp(data: bytes) -> tuple[RtcpPacket, ...]:
    """Read a compound RTCP packet (RFC 3550 section 6.1), full or reduced (RFC 5506).

    Args:
        data: One decrypted datagram.

    Returns:
        The reports and goodbyes in their order; other kinds of packet are skipped.

    Raises:
        ValueError: It is no RTCP, or cut off.
    """
    try:
        return tuple(_packets(data))
    except struct.error:
        raise ValueError("an RTCP packet is shorter than it says") from None


def _packets(data: bytes) -> Iterator[RtcpPacket]:
    start = 0
    while start < len(data):
        first, kind, words = struct.unpack_from("!BBH", data, start)
        end = start + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            raise ValueError("not an RTCP packet, or cut off")
        count, body = first & 0x1F, data[start + 4 : end]
        if kind == 200:
            ssrc, ntp, timestamp, packets, octets = _SENDER_INFO.unpack_from(body)
            blocks = _blocks(body, _SENDER_INFO.size, count)
            yield SenderReport(ssrc, ntp, timestamp, packets, octets, blocks)
        elif kind == 201:
            (ssrc,) = struct.unpack_from("!I", body)
            yield ReceiverReport(ssrc, _blocks(body, 4, count))
        elif kind == 203:
            yield Goodbye(struct.unpack_from(f"!{count}I", body))
        start = end


def _blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    return tuple(_block(body, start + _BLOCK.size * index) for index in range(count))


def _block(body: bytes, at: int) -> ReportBlock:
    ssrc, word, highest, jitter, lsr, dlsr = _BLOCK.unpack_from(body, at)
    fraction, lost = word >> 24, unwrap(word & 0xFFFFFF, 0, bits=24)
    return ReportBlock(ssrc, lost, highest, fraction, jitter, lsr, dlsr)


def rtcp_packet(kind: int, count: int, body: bytes) -> bytes:
    """Write one RTCP packet (RFC 3550 section 6.4).

    Args:
        kind: Its packet type.
        count: Items in the body, 0 to 31.
        body: What follows the first word; a multiple of 4 bytes.
    """
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def receiver_report(ssrc: int, blocks: Sequence[ReportBlock] = ()) -> bytes:
    """Write a receiver report (RFC 3550 section 6.4.2) of the participant `ssrc`."""
    return rtcp_packet(201, len(blocks), struct.pack("!I", ssrc) + b"".join(map(bytes, blocks)))


def source_description(ssrc: int, cname: str) -> bytes:
    """Write the description every compound RTCP packet must hold (RFC 3550 section 6.5)."""
    name = cname.encode()
    chunk = struct.pack("!IBB", ssrc, 1, len(name)) + name
    return rtcp_packet(202, 1, chunk + bytes(4 - len(chunk) % 4))
