from __future__ import annotations

import pytest
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpSrPacket

from pipecat_whatsapp.media.rtp import Goodbye, ReportBlock, SenderReport, read_rtcp
from pipecat_whatsapp.simulator.rtp import FarEnd, RtpStream, bye, sender_report


def test_a_stream_counts_and_wraps() -> None:
    stream = RtpStream(9, sequence=65535, timestamp=0xFFFFFFFF)
    first = stream.packet(111, b"abc")
    stream.advance(960)
    second = stream.packet(111, b"de", marker=True)
    assert (first.sequence, second.sequence) == (65535, 0)
    assert (first.timestamp, second.timestamp) == (0xFFFFFFFF, 959)
    assert (stream.packets, stream.octets) == (2, 5)
    assert stream.packet(126, b"", back=960).timestamp == 0xFFFFFFFF


def test_another_implementation_and_our_own_read_the_report() -> None:
    stream = RtpStream(77, timestamp=960)
    stream.packet(111, b"12345")
    block = ReportBlock(ssrc=88, lost=3, highest=70_000, fraction=12, jitter=5)
    data = sender_report(stream, 0.5, [block]) + bye(77)
    sender, goodbye = RtcpPacket.parse(data)
    assert isinstance(sender, RtcpSrPacket)
    ntp = (2_208_988_800 << 32) | (1 << 31)
    assert sender.sender_info.ntp_timestamp == ntp
    assert (sender.sender_info.packet_count, sender.sender_info.octet_count) == (1, 5)
    (report,) = sender.reports
    assert (report.ssrc, report.packets_lost, report.highest_sequence) == (88, 3, 70_000)
    assert (report.fraction_lost, report.jitter) == (12, 5)
    assert isinstance(goodbye, RtcpByePacket)
    assert goodbye.sources == [77]
    assert read_rtcp(data) == (SenderReport(77, ntp, 960, 1, 5, (block,)), Goodbye((77,)))


def test_a_report_on_our_stream_tells_loss_jitter_and_the_round_trip() -> None:
    stream, sent_at = RtpStream(77), 1_790_000_000.0
    (ours,) = read_rtcp(sender_report(stream, sent_at))
    assert isinstance(ours, SenderReport)
    lsr = (ours.ntp >> 16) & 0xFFFFFFFF
    block = ReportBlock(77, 1, 9, fraction=64, jitter=480, lsr=lsr, dlsr=65536 // 2)
    far = FarEnd.of(block, sent_at + 0.75)
    assert (far.loss, far.jitter) == (0.25, 0.01)
    assert far.round_trip == pytest.approx(0.25, abs=1e-4)


def test_without_a_report_of_ours_or_with_a_clock_set_back_there_is_no_round_trip() -> None:
    assert FarEnd.of(ReportBlock(77, 0, 0), 1_790_000_000.0).round_trip is None
    (ours,) = read_rtcp(sender_report(RtpStream(77), 1_790_000_000.0))
    assert isinstance(ours, SenderReport)
    block = ReportBlock(77, 0, 0, lsr=(ours.ntp >> 16) & 0xFFFFFFFF)
    assert FarEnd.of(block, 1_789_999_990.0).round_trip is None
