from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.sound import (
    FRAME_BYTES,
    RATE,
    OpusDecoder,
    OpusEncoder,
    Recording,
    read_wav,
    resample,
    write_wav,
)


def tone(hertz: float, seconds: float, rate: int = RATE) -> bytes:
    times = np.arange(int(seconds * rate)) / rate
    return bytes((9000 * np.sin(2 * np.pi * hertz * times)).astype(np.int16).tobytes())


def pitch(pcm: bytes, rate: int = RATE) -> float:
    samples = np.frombuffer(pcm, np.int16).astype(float)
    return float(np.argmax(np.abs(np.fft.rfft(samples)))) * rate / len(samples)


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


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
def test_a_wav_file_of_any_rate_is_read_at_16_khz(tmp_path: Path, rate: int) -> None:
    write_wav(tmp_path / "tone.wav", tone(440, 1.0, rate), rate)
    pcm = read_wav(tmp_path / "tone.wav")
    assert len(pcm) == pytest.approx(2 * RATE, rel=0.01)
    assert pitch(pcm) == pytest.approx(440, abs=3)


def test_a_stereo_file_is_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
    with pytest.raises(ValueError, match="mono"):
        read_wav(tmp_path / "stereo.wav")


def test_resampling_nothing_is_nothing() -> None:
    assert resample(b"", 48_000, RATE) == b""


def test_opus_packets_hold_20_ms_and_the_sound() -> None:
    decoder = OpusDecoder()
    decoded = [decoder.decode(packet.payload) for packet in packets(tone(440, 1.0))]
    assert {len(samples) for samples in decoded} == {960}
    assert pitch(b"".join(s.tobytes() for s in decoded), 48_000) == pytest.approx(440, abs=3)


def test_a_short_frame_is_filled_with_silence() -> None:
    assert len(OpusDecoder().decode(OpusEncoder().encode(b""))) == 960


@pytest.mark.parametrize("packet", [b"", b"\xff\xff", b"\x03"])
def test_a_packet_that_is_not_opus_is_no_sound_and_no_harm(packet: bytes) -> None:
    decoder = OpusDecoder()
    assert len(decoder.decode(packet)) in (0, 960)
    assert len(decoder.decode(OpusEncoder().encode(b""))) == 960


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
    assert (recording.lost, recording.report(), recording.ssrcs) == (0, [], set())


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
    assert recording.report()[0].ssrc == 2


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
