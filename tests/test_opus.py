from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger

from aiortc_business import pitch, tone
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.opus import (
    SAMPLE_RATES,
    Decoder,
    Encoder,
    create_decoder,
    create_encoder,
    find_library,
)
from pipecat_whatsapp.media.opus_packet import (
    FRAME_TICKS,
    MAX_PACKET_TICKS,
    has_fec,
    packet_ticks,
)
from pipecat_whatsapp.media.opus_pyav import PyAVDecoder, PyAVEncoder
from pipecat_whatsapp.simulator import demo
from pipecat_whatsapp.simulator.sound import read_wav, resample

PACKETS = st.binary(max_size=300)
TICKS = st.one_of(
    st.integers(1, 48).map(lambda n: 120 * n),  # What may be asked for: 2.5 to 120 ms.
    st.integers(-(10**6), 10**6),
)

# RFC 6716, table 2: what a configuration codes, by the sample rate that it needs.
BANDWIDTHS = [8000] * 4 + [12000] * 4 + [16000] * 4 + [24000] * 2 + [48000] * 2
BANDWIDTHS += [8000] * 4 + [16000] * 4 + [24000] * 4 + [48000] * 4


@cache
def speech(rate: int = 16_000) -> bytes:
    """A few seconds, pauses included."""
    return resample(read_wav(Path(demo.__file__).with_name("greeting.wav")), 16_000, rate)


def frames(pcm: bytes, rate: int = 16_000) -> list[bytes]:
    size = rate // 50 * 2
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def encode(encoder: Encoder, pcm: bytes, rate: int = 16_000) -> list[bytes]:
    return [encoder.encode(frame) for frame in frames(pcm, rate)]


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, np.int16).astype(np.float64)


def level(pcm: bytes) -> float:
    return float(np.sqrt(np.mean(samples(pcm) ** 2)))


def share_with_fec(packets: list[bytes]) -> float:
    return sum(map(has_fec, packets)) / len(packets)


@pytest.mark.parametrize("heard_at", SAMPLE_RATES)
@pytest.mark.parametrize("spoken_at", SAMPLE_RATES)
def test_a_tone_survives_at_its_pitch_and_level(spoken_at: int, heard_at: int) -> None:
    said = tone(440, 1.0, spoken_at)
    packets = encode(create_encoder(spoken_at), said, spoken_at)
    decoder = create_decoder(heard_at)
    heard = [decoder.decode(packet) for packet in packets]
    assert {packet_ticks(packet) for packet in packets} == {FRAME_TICKS}
    assert {len(pcm) for pcm in heard} == {heard_at // 50 * 2}
    settled = b"".join(heard[10:])
    assert pitch(settled, heard_at) == pytest.approx(440, abs=2)
    assert level(settled) == pytest.approx(level(said), rel=0.15)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_a_packet_is_one_frame_of_mono(rate: int) -> None:
    packets = encode(create_encoder(rate), speech(rate), rate)
    assert {packet[0] & 0b111 for packet in packets} == {0}, "stereo flag and frame count"


@pytest.mark.parametrize("expected_loss", [0.0, 0.1])
@pytest.mark.parametrize("bitrate", [12_000, 20_000, 32_000])
@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_the_bit_rate_is_kept_on_speech(rate: int, bitrate: int, expected_loss: float) -> None:
    encoder = create_encoder(rate, bitrate=bitrate, expected_loss=expected_loss)
    packets = encode(encoder, speech(rate), rate)
    spent = sum(map(len, packets)) * 8 / (len(packets) * 0.02)
    assert spent == pytest.approx(bitrate, rel=0.25)


def test_the_bit_rate_can_be_changed_on_the_way() -> None:
    encoder = create_encoder(16_000, bitrate=40_000)
    before = encode(encoder, speech())
    encoder.adapt(bitrate=14_000, expected_loss=0)
    after = encode(encoder, speech())
    assert sum(map(len, after)) < sum(map(len, before)) / 2


def test_more_than_20_ms_at_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="20 ms are 640 bytes, not 1280"):
        create_encoder(16_000).encode(bytes(1280))


# Loss


def test_fec_is_there_when_loss_is_expected_and_only_then() -> None:
    encoder = create_encoder(16_000, expected_loss=0.1)
    assert share_with_fec(encode(encoder, speech())) > 0.7
    encoder.adapt(bitrate=20_000, expected_loss=0)
    assert share_with_fec(encode(encoder, speech())[1:]) == 0
    encoder.adapt(bitrate=20_000, expected_loss=0.1)
    assert share_with_fec(encode(encoder, speech())) > 0.7


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_a_recovered_packet_is_much_closer_to_the_original_than_a_concealed_one(rate: int) -> None:
    packets = encode(create_encoder(16_000, expected_loss=0.1), speech())
    lost = {at for at in range(10, len(packets) - 1, 5) if has_fec(packets[at + 1])}
    assert len(lost) > 20
    whole, recovering, concealing = (create_decoder(rate) for _ in range(3))
    original, recovered, concealed = [], [], []
    for at, packet in enumerate(packets):
        if at in lost:
            original.append(whole.decode(packet))
            recovered.append(recovering.recover(packets[at + 1], FRAME_TICKS))
            concealed.append(concealing.conceal(FRAME_TICKS))
        else:
            for decoder in (whole, recovering, concealing):
                decoder.decode(packet)
    assert {len(pcm) for pcm in recovered + concealed} == {rate // 50 * 2}
    truth, near, far = (samples(b"".join(parts)) for parts in (original, recovered, concealed))
    assert np.sum((near - truth) ** 2) < np.sum((far - truth) ** 2) / 2


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_what_is_concealed_goes_on_with_what_was_heard_and_fades(rate: int) -> None:
    decoder = create_decoder(rate)
    for packet in encode(create_encoder(rate), tone(440, 1.0, rate), rate):
        heard = decoder.decode(packet)
    first = decoder.conceal(FRAME_TICKS)
    assert level(first) > level(heard) / 3
    for _ in range(50):
        last = decoder.conceal(FRAME_TICKS)
    assert level(last) < level(heard) / 4


@pytest.mark.parametrize("milliseconds", [2.5, 20, 60, 100, 120])
def test_a_lost_packet_of_any_length_is_concealed_in_full(milliseconds: float) -> None:
    ticks = round(milliseconds * 48)
    assert len(create_decoder(16_000).conceal(ticks)) == round(milliseconds * 32)


@pytest.mark.parametrize("ticks", [-960, 0, 7, MAX_PACKET_TICKS + 120, 480_000])
def test_no_packet_of_an_impossible_length_is_made_up(ticks: int) -> None:
    """Anything longer than a packet can be would be written beyond the buffer for it."""
    packet = create_encoder(16_000).encode(bytes(640))
    decoder = create_decoder(16_000)
    for make_up in (lambda: decoder.conceal(ticks), lambda: decoder.recover(packet, ticks)):
        with pytest.raises(ValueError, match=r"Opus packet|invalid argument"):
            make_up()


# Silence and bandwidth


def test_silence_needs_next_to_nothing_with_dtx() -> None:
    silence = bytes(2 * 16_000 * 2)
    sizes = [len(packet) for packet in encode(create_encoder(16_000, dtx=True), silence)]
    assert sum(size <= 2 for size in sizes) > len(sizes) * 0.7
    assert sum(size > 2 for size in sizes[20:]) >= 3, "a sign of life about every 400 ms"
    assert min(len(packet) for packet in encode(create_encoder(16_000), silence)) > 2


def test_speech_is_sent_in_full_with_dtx() -> None:
    packets = encode(create_encoder(16_000, dtx=True), tone(440, 1.0))
    assert min(map(len, packets)) > 2


def noise(rate: int) -> bytes:
    random = np.random.default_rng(1)
    return random.integers(-8000, 8000, rate, np.int16).tobytes()


@pytest.mark.parametrize(
    ("max_playback_rate", "coded"),
    [(8000, 8000), (12000, 12000), (16000, 16000), (22050, 24000), (24000, 24000), (48000, 48000)],
)
def test_nothing_is_coded_that_the_far_end_cannot_play(max_playback_rate: int, coded: int) -> None:
    encoder = create_encoder(48_000, bitrate=40_000)
    encoder.set_max_playback_rate(max_playback_rate)
    packets = encode(encoder, noise(48_000), 48_000)
    assert {BANDWIDTHS[packet[0] >> 3] for packet in packets[10:]} == {coded}


def test_complexity_costs_or_saves() -> None:
    """It cannot be heard from outside, only that the setting arrives."""
    cheap = encode(create_encoder(16_000, complexity=0), speech())
    best = encode(create_encoder(16_000, complexity=10), speech())
    assert cheap != best


# What nobody should send

DECODERS: dict[str, Decoder] = {
    f"{kind.__name__} {rate}": kind(rate)
    for kind in (create_decoder, PyAVDecoder)
    for rate in (8_000, 48_000)
}


@settings(max_examples=300)
@given(PACKETS, TICKS)
@pytest.mark.parametrize("name", DECODERS)
def test_arbitrary_bytes_do_no_harm(name: str, packet: bytes, ticks: int) -> None:
    decoder = DECODERS[name]
    with contextlib.suppress(ValueError):
        decoder.decode(packet)
    with contextlib.suppress(ValueError):
        decoder.recover(packet, ticks)
    with contextlib.suppress(ValueError):
        decoder.conceal(ticks)


@settings(max_examples=300)
@given(PACKETS)
def test_what_can_be_decoded_is_as_long_as_was_said(packet: bytes) -> None:
    try:
        pcm = create_decoder(48_000).decode(packet)
    except ValueError:
        return
    assert len(pcm) == 2 * packet_ticks(packet)


@pytest.mark.parametrize("packet", [b"", b"\x4b", b"\x4b\x00"])
def test_what_is_not_opus_is_not_decoded(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"Opus packet|corrupted"):
        create_decoder(16_000).decode(packet)


# Settings


@pytest.mark.parametrize("rate", [0, 11_025, 22_050, 44_100, 96_000])
def test_an_impossible_rate_names_the_parameter_and_the_possible_ones(rate: int) -> None:
    for create, parameter in (
        (create_encoder, "audio_out_sample_rate"),
        (create_decoder, "audio_in_sample_rate"),
    ):
        with pytest.raises(ConfigError, match=rf"{rate} Hz.*{parameter}=.*8000.*48000"):
            create(rate)


# Without libopus


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No libopus anywhere; gives the warnings."""
    monkeypatch.setattr("pipecat_whatsapp.media.opus._candidates", lambda: iter(["no libopus"]))
    find_library.cache_clear()
    warnings: list[str] = []
    sink = logger.add(lambda message: warnings.append(str(message)), level="WARNING")
    yield warnings
    logger.remove(sink)
    find_library.cache_clear()


def test_without_libopus_pyav_serves_with_one_warning(no_library: list[str]) -> None:
    assert isinstance(create_encoder(24_000), PyAVEncoder)
    encoder, decoder = create_encoder(16_000, expected_loss=0.1), create_decoder(16_000)
    assert isinstance(encoder, PyAVEncoder)
    assert isinstance(decoder, PyAVDecoder)
    heard = b"".join(map(decoder.decode, encode(encoder, tone(440, 1.0))))
    assert pitch(heard) == pytest.approx(440, abs=2)
    assert len(no_library) == 1
    assert "libopus0" in no_library[0]


@pytest.mark.usefixtures("no_library")
def test_without_libopus_impossible_rates_are_told_too() -> None:
    with pytest.raises(ConfigError, match="audio_out_sample_rate"):
        create_encoder(44_100)
    with pytest.raises(ConfigError, match="audio_in_sample_rate"):
        create_decoder(44_100)


def test_a_library_that_is_something_else_is_passed_over(
    no_library: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(Path(av.__file__).parent.parent.glob("av.libs/*vpx*"), None)
    if other is None:
        pytest.skip("this PyAV carries its libraries elsewhere")
    monkeypatch.setattr("pipecat_whatsapp.media.opus._candidates", lambda: iter([str(other)]))
    assert find_library() is None
    assert len(no_library) == 1
