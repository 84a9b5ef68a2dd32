from __future__ import annotations

from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpSrPacket

from pipecat_whatsapp.media.rtp import Goodbye, ReportBlock, SenderReport, read_rtcp
from pipecat_whatsapp.simulator.rtp import RtpStream, bye, sender_report


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
