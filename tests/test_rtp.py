from __future__ import annotations

import contextlib

import pytest
from aiortc.rtp import RtcpPacket as AiortcRtcp
from aiortc.rtp import RtcpRrPacket, RtcpSdesPacket
from aiortc.rtp import RtpPacket as AiortcPacket
from hypothesis import example, given
from hypothesis import strategies as st

from pipecat_whatsapp.media.rtp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtpPacket,
    SenderReport,
    is_rtcp,
    read_rtcp,
    receiver_report,
    rtcp_packet,
    source_description,
    unwrap,
)

U32 = st.integers(0, 0xFFFFFFFF)
PACKETS = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=U32,
    ssrc=U32,
    payload=st.binary(max_size=64),
    marker=st.booleans(),
)
BLOCKS = st.builds(
    ReportBlock,
    ssrc=U32,
    lost=st.integers(-(1 << 23), (1 << 23) - 1),
    highest=U32,
    fraction=st.integers(0, 255),
    jitter=U32,
    lsr=U32,
    dlsr=U32,
)


@given(PACKETS)
def test_a_packet_survives_the_wire(packet: RtpPacket) -> None:
    assert RtpPacket.parse(bytes(packet)) == packet


@given(PACKETS)
def test_another_implementation_reads_the_packet(packet: RtpPacket) -> None:
    read = AiortcPacket.parse(bytes(packet))
    assert (read.payload_type, bool(read.marker)) == (packet.payload_type, packet.marker)
    assert (read.sequence_number, read.timestamp) == (packet.sequence, packet.timestamp)
    assert (read.ssrc, read.payload) == (packet.ssrc, packet.payload)


def test_csrcs_extension_and_padding_are_skipped() -> None:
    plain = bytes(RtpPacket(111, 1, 2, 3, b""))
    header = bytes([0x80 | 0x20 | 0x10 | 2]) + plain[1:]
    data = header + bytes(8) + b"\xbe\xde\x00\x01\x10\xff\x00\x00" + b"sound" + b"\0\0\3"
    assert RtpPacket.parse(data) == RtpPacket(111, 1, 2, 3, b"sound")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80" * 11,
        b"\x00" * 12,  # Version 0.
        b"\x90" + bytes(11),  # No extension where one is announced.
        b"\x90" + bytes(13),  # Extension cut off.
        b"\x90" + bytes(13) + b"\x00\x01",  # Extension of one word without it.
        b"\x8f" + bytes(20),  # Fifteen CSRCs announced.
        b"\xa0" + bytes(11) + b"\xff",  # More padding than packet.
    ],
)
def test_what_is_no_packet_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="RTP"):
        RtpPacket.parse(data)


@given(st.binary(max_size=80))
@example(b"\xbf" + bytes(79))
def test_any_bytes_are_a_packet_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert RtpPacket.parse(data).payload in data


@pytest.mark.parametrize(
    ("value", "near", "expected"), [(0, 65535, 65536), (65535, 65536, 65535), (5, 5, 5), (9, 3, 9)]
)
def test_counters_unwrap(value: int, near: int, expected: int) -> None:
    assert unwrap(value, near, bits=16) == expected


def test_rtcp_is_told_from_rtp_by_its_second_byte() -> None:
    assert is_rtcp(receiver_report(5))
    assert is_rtcp(source_description(5, "name"))
    assert not is_rtcp(bytes(RtpPacket(111, 1, 1, 1, b"", marker=True)))
    assert not is_rtcp(b"\x80")


def test_another_implementation_reads_the_report_and_the_name() -> None:
    block = ReportBlock(6, lost=-3, highest=70_000, fraction=12, jitter=5, lsr=9, dlsr=8)
    report, name = AiortcRtcp.parse(receiver_report(5, [block]) + source_description(5, "Stream1"))
    assert isinstance(report, RtcpRrPacket)
    (read,) = report.reports
    assert (report.ssrc, read.ssrc, read.packets_lost, read.highest_sequence) == (5, 6, -3, 70_000)
    assert (read.fraction_lost, read.jitter, read.lsr, read.dlsr) == (12, 5, 9, 8)
    assert isinstance(name, RtcpSdesPacket)
    assert name.chunks[0].items == [(1, b"Stream1")]


@given(U32, st.lists(BLOCKS, max_size=31))
def test_a_receiver_report_survives_the_wire(ssrc: int, blocks: list[ReportBlock]) -> None:
    compound = receiver_report(ssrc, blocks) + source_description(ssrc, "name")
    assert read_rtcp(compound) == (ReceiverReport(ssrc, tuple(blocks)),)


@given(BLOCKS)
def test_a_sender_report_and_a_goodbye_are_read(block: ReportBlock) -> None:
    info = b"".join(n.to_bytes(4, "big") for n in (77, 0x80000001, 0x40000000, 960, 5, 600))
    feedback = rtcp_packet(205, 15, bytes(16))
    goodbye = rtcp_packet(203, 2, (77).to_bytes(4, "big") + (78).to_bytes(4, "big"))
    extension = b"more"
    report = rtcp_packet(200, 1, info + bytes(block) + extension)
    assert read_rtcp(report + feedback + goodbye) == (
        SenderReport(77, 0x8000000140000000, 960, 5, 600, (block,)),
        Goodbye((77, 78)),
    )


@pytest.mark.parametrize(
    "data",
    [
        b"\x81",
        b"\x81\xc9\x00",  # Shorter than its first word.
        b"\x01\xc9\x00\x01" + bytes(4),  # Version 0.
        b"\x80\xc9\x00\x00",  # A report of nobody.
        b"\x81\xc9\x00\x01" + bytes(4),  # One block announced, none there.
        b"\x80\xc9\x00\x02" + bytes(4),  # Cut off.
        b"\x80\xc8\x00\x01" + bytes(4),  # A sender report without its numbers.
        b"\x82\xcb\x00\x01" + bytes(4),  # Two leave, one is named.
        receiver_report(5) + b"\x80",
    ],
)
def test_malformed_rtcp_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="RTCP"):
        read_rtcp(data)


@given(
    st.one_of(
        st.binary(max_size=120),
        st.builds(
            lambda kind, count, words, rest: rtcp_packet(kind, count, bytes(4 * words)) + rest,
            st.integers(199, 204),
            st.integers(0, 31),
            st.integers(0, 40),
            st.binary(max_size=30),
        ),
    )
)
def test_any_bytes_are_rtcp_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(read_rtcp(data)) <= len(data) // 4
