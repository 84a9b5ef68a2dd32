from __future__ import annotations

import numpy as np
import pytest

from aiortc_business import pitch, tone
from pipecat_whatsapp.media.opus import SAMPLE_RATES
from pipecat_whatsapp.media.opus_packet import FRAME_TICKS, has_fec, packet_ticks
from pipecat_whatsapp.media.opus_pyav import PyAVDecoder, PyAVEncoder
from test_opus import frames, speech


def new_encoder(rate: int = 16_000, *, bitrate: int = 20_000) -> PyAVEncoder:
    return PyAVEncoder(rate, bitrate=bitrate, complexity=9)


def encode(encoder: PyAVEncoder, pcm: bytes, rate: int = 16_000) -> list[bytes]:
    return [encoder.encode(frame) for frame in frames(pcm, rate)]


@pytest.mark.parametrize("heard_at", SAMPLE_RATES)
@pytest.mark.parametrize("spoken_at", SAMPLE_RATES)
def test_a_tone_survives_at_its_pitch(spoken_at: int, heard_at: int) -> None:
    packets = encode(new_encoder(spoken_at), tone(440, 1.0, spoken_at), spoken_at)
    assert {packet_ticks(packet) for packet in packets} == {FRAME_TICKS}
    assert {packet[0] & 0b111 for packet in packets} == {0}, "one frame of mono"
    decoder = PyAVDecoder(heard_at)
    parts = [decoder.decode(packet) for packet in packets]
    assert {len(part) for part in parts} <= {0, heard_at // 50 * 2}
    heard = b"".join(parts)
    assert len(heard) == pytest.approx(heard_at * 2, abs=heard_at // 50 * 2), "but for one frame"
    assert pitch(heard[heard_at // 5 * 2 :], heard_at) == pytest.approx(440, abs=2)


def test_the_bit_rate_can_be_changed_before_the_first_packet_and_not_after() -> None:
    encoder = new_encoder(bitrate=32_000)
    encoder.adapt(bitrate=12_000, expected_loss=0.0)
    first = encode(encoder, speech())
    encoder.adapt(bitrate=32_000, expected_loss=0.0)
    encoder.set_complexity(0)
    encoder.set_max_playback_rate(8_000)
    for packets in (first, encode(encoder, speech())):
        spent = sum(map(len, packets)) * 8 / (len(packets) * 0.02)
        assert spent == pytest.approx(12_000, rel=0.25)


@pytest.mark.parametrize("bitrate", [12_000, 20_000, 32_000])
def test_the_bit_rate_is_kept_on_speech(bitrate: int) -> None:
    packets = encode(new_encoder(bitrate=bitrate), speech())
    spent = sum(map(len, packets)) * 8 / (len(packets) * 0.02)
    assert spent == pytest.approx(bitrate, rel=0.25)


def test_the_far_end_can_recover_what_is_lost() -> None:
    packets = encode(new_encoder(), speech())
    assert sum(map(has_fec, packets)) > len(packets) * 0.7


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("milliseconds", [10, 20, 60])
def test_what_is_lost_is_silence(rate: int, milliseconds: int) -> None:
    decoder = PyAVDecoder(rate)
    (packet,) = encode(new_encoder(), tone(440, 0.02))
    silence = bytes(2 * rate * milliseconds // 1000)
    assert decoder.conceal(milliseconds * 48) == silence
    assert decoder.recover(packet, milliseconds * 48) == silence


@pytest.mark.parametrize("malformed", [b"", b"\x4b", b"\x4b\x00", b"\x49\x00"])
def test_what_is_not_opus_is_told_and_does_no_harm(malformed: bytes) -> None:
    decoder = PyAVDecoder(16_000)
    packets = encode(new_encoder(), tone(440, 1.0))
    decoder.decode(packets[0])
    for _ in range(3):
        with pytest.raises(ValueError, match=r"Opus packet|Invalid"):
            decoder.decode(malformed)
    heard = b"".join(map(decoder.decode, packets[1:]))
    assert pitch(heard) == pytest.approx(440, abs=2)
    assert np.abs(np.frombuffer(heard, np.int16)).max() > 5_000
