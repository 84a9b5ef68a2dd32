from __future__ import annotations

import pytest
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpRrPacket, RtcpSdesPacket, RtcpSrPacket
from aiortc.rtp import RtpPacket as AiortcPacket

from pipecat_whatsapp.simulator import rtp
from pipecat_whatsapp.simulator.rtp import ReportBlock, RtpPacket, RtpStream


def test_a_packet_survives_the_wire() -> None:
    packet = RtpPacket(111, 65535, 0xFFFFFFFF, 1234567890, b"opus", marker=True)
    assert RtpPacket.parse(bytes(packet)) == packet


def test_another_implementation_reads_the_packet() -> None:
    packet = AiortcPacket.parse(bytes(RtpPacket(126, 7, 960, 42, b"\x05\x0a\x00\xa0", marker=True)))
    assert (packet.payload_type, packet.marker, packet.sequence_number) == (126, 1, 7)
    assert (packet.timestamp, packet.ssrc, packet.payload) == (960, 42, b"\x05\x0a\x00\xa0")


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
        b"\x90" + bytes(13),  # Extension cut off.
        b"\x8f" + bytes(20),  # Fifteen CSRCs announced.
        b"\xa0" + bytes(11) + b"\xff",  # More padding than packet.
    ],
)
def test_what_is_no_packet_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="RTP"):
        RtpPacket.parse(data)


def test_a_stream_counts_and_wraps() -> None:
    stream = RtpStream(9, sequence=65535, timestamp=0xFFFFFFFF)
    first = stream.packet(111, b"abc")
    stream.advance(960)
    second = stream.packet(111, b"de", marker=True)
    assert (first.sequence, second.sequence) == (65535, 0)
    assert (first.timestamp, second.timestamp) == (0xFFFFFFFF, 959)
    assert (stream.packets, stream.octets) == (2, 5)
    assert stream.packet(126, b"", back=960).timestamp == 0xFFFFFFFF


@pytest.mark.parametrize(
    ("value", "near", "expected"), [(0, 65535, 65536), (65535, 65536, 65535), (5, 5, 5), (9, 3, 9)]
)
def test_counters_unwrap(value: int, near: int, expected: int) -> None:
    assert rtp.unwrap(value, near, bits=16) == expected


def test_another_implementation_reads_the_reports() -> None:
    stream = RtpStream(77, timestamp=960)
    stream.packet(111, b"12345")
    block = ReportBlock(ssrc=88, lost=3, highest=70_000, fraction=12, jitter=5)
    sender, name, goodbye = RtcpPacket.parse(
        rtp.sender_report(stream, 0.5, [block])
        + rtp.source_description(77, "WhatsAppAudioStream1")
        + rtp.bye(77)
    )
    assert isinstance(sender, RtcpSrPacket)
    assert sender.sender_info.ntp_timestamp == (2_208_988_800 << 32) | (1 << 31)
    assert (sender.sender_info.packet_count, sender.sender_info.octet_count) == (1, 5)
    (report,) = sender.reports
    assert (report.ssrc, report.packets_lost, report.highest_sequence) == (88, 3, 70_000)
    assert (report.fraction_lost, report.jitter) == (12, 5)
    assert isinstance(name, RtcpSdesPacket)
    assert name.chunks[0].items == [(1, b"WhatsAppAudioStream1")]
    assert isinstance(goodbye, RtcpByePacket)
    assert goodbye.sources == [77]


def test_a_receiver_report_needs_no_stream() -> None:
    data = rtp.receiver_report(5, [ReportBlock(6, 0, 1)])
    (report,) = RtcpPacket.parse(data)
    assert isinstance(report, RtcpRrPacket)
    assert (report.ssrc, report.reports[0].ssrc) == (5, 6)
    assert rtp.is_rtcp(data)
    assert not rtp.is_rtcp(bytes(RtpPacket(111, 1, 1, 1, b"", marker=True)))


def test_a_key_press_is_four_updates_and_three_ends() -> None:
    ticks = rtp.tone_payloads("#", 5)
    assert [len(tick) for tick in ticks] == [1, 1, 1, 1, 3]
    payloads = [payload for tick in ticks for payload in tick]
    assert {payload[0] for payload in payloads} == {11}
    durations = [int.from_bytes(payload[2:], "big") for payload in payloads]
    assert durations == [160, 320, 480, 640, 800, 800, 800]
    assert [payload[1] >> 7 for payload in payloads] == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("key", ["", "x", "12", "é"])
def test_there_are_no_other_keys(key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        rtp.event_payload(key, 160)


def test_letters_are_keys_in_either_case() -> None:
    assert rtp.event_payload("a", 160) == rtp.event_payload("A", 160) == bytes([12, 10, 0, 160])
