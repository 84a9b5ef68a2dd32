from __future__ import annotations

import numpy as np
import pytest

from aiortc_business import tone
from pipecat_whatsapp.media.opus import create_encoder
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.media.voice import VoiceDetector
from test_opus import encode, speech

OPUS = 96


def noise(seconds: float, dbfs: float) -> bytes:
    """White noise of so much power."""
    level = 32_768 * 10 ** (dbfs / 20)
    samples = np.random.default_rng(1).normal(0, level, int(seconds * 16_000))
    return samples.clip(-32_768, 32_767).astype(np.int16).tobytes()


def detections(pcm: bytes, *, payload_type: int = OPUS, dtx: bool = False) -> list[int]:
    """After how many packets a voice was told of, each time."""
    told: list[int] = []
    sent = 0
    detector = VoiceDetector(lambda: told.append(sent))
    detector.expect(OPUS)
    for sequence, payload in enumerate(encode(create_encoder(16_000, dtx=dtx), pcm)):
        sent += 1
        detector.receive(bytes(RtpPacket(payload_type, sequence, sequence * 960, 7, payload)))
    return told


def test_speech_is_told_of_once_and_soon() -> None:
    (packets,) = detections(speech())
    assert packets <= 50, "within its first second"


@pytest.mark.parametrize("dbfs", [-12, -25, -35])
def test_whoever_speaks_softly_is_heard_too(dbfs: float) -> None:
    said = np.frombuffer(speech(), np.int16).astype(float)
    loudest = max(np.sqrt(np.mean(part**2)) for part in np.array_split(said, 50))
    softly = said * 32_768 * 10 ** (dbfs / 20) / loudest
    assert len(detections(softly.clip(-32_768, 32_767).astype(np.int16).tobytes())) == 1


@pytest.mark.parametrize(
    "pcm",
    [bytes(64_000), noise(3.0, -50), noise(3.0, -65), tone(440, 0.04) + bytes(32_000)],
    ids=["silence", "comfort noise", "faint comfort noise", "a click"],
)
@pytest.mark.parametrize("dtx", [False, True])
def test_what_is_no_voice_is_not_told_of(pcm: bytes, dtx: bool) -> None:
    assert detections(pcm, dtx=dtx) == []


def test_clicks_do_not_add_up() -> None:
    assert detections((tone(440, 0.02) + bytes(640 * 10)) * 20) == []


def test_another_payload_type_is_no_voice() -> None:
    assert detections(speech(), payload_type=126) == []


@pytest.mark.parametrize(
    "datagram", [b"", b"short", bytes(RtpPacket(OPUS, 1, 2, 3, b"")), bytes(300), b"\xff" * 300]
)
def test_what_is_no_opus_is_dropped(datagram: bytes) -> None:
    told: list[bool] = []
    detector = VoiceDetector(lambda: told.append(True))
    detector.expect(OPUS)
    for _ in range(20):
        detector.receive(datagram)
    assert told == []
