from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from pipecat_whatsapp.simulator.sound import (
    FRAME_BYTES,
    RATE,
    OpusDecoder,
    OpusEncoder,
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
    encoder, decoder, pcm = OpusEncoder(), OpusDecoder(), tone(440, 1.0)
    frames = [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm), FRAME_BYTES)]
    decoded = [decoder.decode(encoder.encode(frame)) for frame in frames]
    assert {len(samples) for samples in decoded} == {960}
    assert pitch(b"".join(s.tobytes() for s in decoded), 48_000) == pytest.approx(440, abs=3)


def test_a_short_frame_is_filled_with_silence() -> None:
    assert len(OpusDecoder().decode(OpusEncoder().encode(b""))) == 960


@pytest.mark.parametrize("packet", [b"", b"\xff\xff", b"\x03"])
def test_a_packet_that_is_not_opus_is_no_sound_and_no_harm(packet: bytes) -> None:
    decoder = OpusDecoder()
    assert len(decoder.decode(packet)) in (0, 960)
    assert len(decoder.decode(OpusEncoder().encode(b""))) == 960
