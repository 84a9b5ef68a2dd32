from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aiortc_business import pitch, tone
from pipecat_whatsapp.media.rtp import ReportBlock, RtpPacket, SenderReport
from pipecat_whatsapp.simulator.recording import Recording
from pipecat_whatsapp.simulator.sound import FRAME_BYTES, RATE, OpusEncoder, read_wav


def packets(pcm: bytes, *, ssrc: int = 1, sequence: int = 0, timestamp: int = 0) -> list[RtpPacket]:
    encoder = OpusEncoder()
    frames = [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm), FRAME_BYTES)]
    return [
        RtpPacket(
            111,
            (sequence + index) & 0xFFFF,
            (timestamp + 960 * index) & 0xFFFFFFFF,
            ssrc,
            encoder.encode(frame),
        )
        for index, frame in enumerate(frames)
    ]


def record(*sent: RtpPacket) -> Recording:
    recording = Recording()
    for index, packet in enumerate(sent):
        recording.add(packet, 0.02 * index)
    return recording


def test_a_recording_holds_what_was_sent(tmp_path: Path) -> None:
    recording = record(*packets(tone(440, 1.0), sequence=65_500, timestamp=0xFFFFFF00))
    assert (recording.received, recording.lost, recording.late) == (50, 0, 0)
    assert recording.timestamp_gaps == 0
    assert len(recording.pcm) == 2 * RATE
    assert pitch(recording.pcm) == pytest.approx(440, abs=3)
    recording.save(tmp_path / "heard.wav")
    assert read_wav(tmp_path / "heard.wav") == recording.pcm


def test_an_empty_recording_is_empty() -> None:
    recording = Recording()
    assert recording.pcm == b""
    assert (recording.lost, recording.report(0.0), recording.ssrcs) == (0, [], set())


def test_lost_packets_are_silence_of_their_length() -> None:
    sent = packets(tone(440, 1.0))
    recording = record(*sent[:20], *sent[30:])
    assert (recording.received, recording.lost) == (40, 10)
    heard = np.frombuffer(recording.pcm, np.int16)
    assert len(heard) == RATE
    hole = heard[22 * 320 : 28 * 320]
    assert np.abs(hole).max() < 100
    assert np.abs(heard[32 * 320 : 48 * 320]).max() > 5000


def test_reordered_packets_are_put_in_order_and_doubled_ones_left_out() -> None:
    sent = packets(tone(440, 1.0))
    recording = record(*sent[:10], sent[11], sent[10], sent[10], *sent[12:])
    assert (recording.received, recording.late, recording.duplicates) == (50, 1, 1)
    assert recording.lost == 0
    assert recording.pcm == record(*sent).pcm


def test_a_packet_before_the_first_one_lengthens_the_front() -> None:
    sent = packets(tone(440, 0.2))
    assert record(sent[1], sent[0], *sent[2:]).pcm == record(*sent).pcm


def test_consecutive_packets_with_a_hole_in_time_are_counted() -> None:
    first = packets(tone(440, 0.2))
    second = packets(tone(440, 0.2), sequence=10, timestamp=960 * 15)
    recording = record(*first, *second)
    assert recording.timestamp_gaps == 1
    assert recording.lost == 0
    assert len(recording.pcm) == 2 * 25 * 320


def test_a_new_ssrc_goes_on_after_the_old_one() -> None:
    first = packets(tone(440, 0.5), ssrc=1, timestamp=5)
    second = packets(tone(440, 0.5), ssrc=2, sequence=9000, timestamp=0x80000000)
    recording = record(*first, *second)
    assert recording.ssrcs == {1, 2}
    assert (recording.received, recording.lost) == (50, 0)
    assert len(recording.pcm) == 2 * RATE
    assert recording.report(0.0)[0].ssrc == 2


def test_a_wild_timestamp_does_not_make_a_recording_of_hours() -> None:
    sent = packets(tone(440, 0.2))
    wild = RtpPacket(111, 10, 0x40000000, 1, sent[0].payload)
    assert len(record(*sent, wild).pcm) < 2 * RATE


def test_first_sound_counts_from_accept() -> None:
    recording = Recording()
    sent = packets(bytes(FRAME_BYTES * 5) + tone(440, 0.1))
    for index, packet in enumerate(sent):
        if index == 2:
            recording.accepted_at = 100.0
        recording.add(packet, 100.0 + index)
    assert recording.media_before_accept == 2
    assert recording.first_sound_at == pytest.approx(5, abs=1)
    assert 0.06 <= recording.sound_seconds <= 0.12


def test_packets_that_are_not_audio_count_but_are_not_heard() -> None:
    recording = Recording()
    recording.add(RtpPacket(126, 5, 0, 1, b"\x01\x0a\x00\xa0"), 0.0, audio=False)
    assert recording.received == 1
    assert recording.pcm == b""


def test_keys_within_the_audio_are_neither_loss_nor_a_hole_in_time() -> None:
    sent = packets(tone(440, 0.4))
    keys = [replace(p, payload_type=126, timestamp=sent[5].timestamp) for p in sent[5:10]]
    recording = Recording()
    for index, packet in enumerate([*sent[:5], *keys, *sent[10:]]):
        recording.add(packet, 0.02 * index, audio=packet.payload_type == 111)
    assert (recording.received, recording.lost, recording.timestamp_gaps) == (20, 0, 0)
    assert len(recording.pcm) == 20 * 2 * 320


def test_a_report_tells_the_loss_since_the_last_one_and_since_the_start() -> None:
    sent = packets(tone(440, 1.0), sequence=65_530)
    recording = record(*sent[:5], *sent[10:20])
    (first,) = recording.report(1.0)
    assert (first.ssrc, first.lost, first.highest) == (1, 5, 65_549)
    assert first.fraction == 256 * 5 // 20
    for index, packet in enumerate(sent[20:40]):
        recording.add(packet, 0.4 + 0.02 * index)
    (second,) = recording.report(2.0)
    assert (second.lost, second.fraction) == (5, 0)
    recording.add(sent[7], 1.0)
    (third,) = recording.report(3.0)
    assert (third.lost, third.fraction) == (4, 0)
    recording.add(sent[49], 1.0)
    (fourth,) = recording.report(4.0)
    assert (fourth.lost, fourth.fraction) == (13, 256 * 9 // 10)


def test_a_report_tells_the_jitter() -> None:
    steady, shaken = Recording(), Recording()
    for index, packet in enumerate(packets(tone(440, 2.0), timestamp=0xFFFFF000)):
        steady.add(packet, 0.02 * index)
        shaken.add(packet, 0.02 * index + (0.01 if index % 2 else 0.0))
    assert steady.report(2.0)[0].jitter == 0
    # Each packet comes 10 ms nearer to or farther from the one before it.
    assert shaken.report(2.0)[0].jitter == pytest.approx(480, rel=0.02)


def test_a_report_answers_the_last_report_of_the_same_stream() -> None:
    recording = record(*packets(tone(440, 0.2)))
    assert recording.report(1.0)[0] == ReportBlock(1, 0, 9)
    recording.note_report(SenderReport(2, 0x1111222233334444, 0, 0, 0), 1.0)
    assert recording.report(1.0)[0].lsr == 0
    recording.note_report(SenderReport(1, 0x1111222233334444, 0, 0, 0), 1.0)
    recording.note_report(SenderReport(1, 0xAAAABBBBCCCCDDDD, 0, 0, 0), 2.0)
    (block,) = recording.report(2.25)
    assert (block.lsr, block.dlsr) == (0xBBBBCCCC, 65536 // 4)


def test_a_recording_tells_when_it_began_how_loud_it_is_and_how_even() -> None:
    recording = Recording()
    assert (recording.first_arrival, recording.first_sound, recording.take_peak()) == (
        None,
    ) * 2 + (0,)
    silence, sound = packets(bytes(2 * FRAME_BYTES)), packets(tone(440, 0.2))
    for index, packet in enumerate(
        [*silence, *packets(tone(440, 0.2), sequence=2, timestamp=1920)]
    ):
        recording.add(packet, 5.0 + 0.02 * index)
    assert recording.first_arrival == 5.0
    assert recording.first_sound is not None
    assert 5.04 <= recording.first_sound < 5.1
    assert 6000 < recording.take_peak() < 12_000
    assert recording.take_peak() == 0
    assert recording.jitter < 0.001
    late = replace(sound[0], sequence=12, timestamp=12 * 960)
    recording.add(late, 5.0 + 0.02 * 12 + 0.16)
    assert recording.jitter == pytest.approx(0.01, abs=0.001)
