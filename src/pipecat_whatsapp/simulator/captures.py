"""What Meta makes of a call's sound: a recording, a voicemail, a transcript."""

from __future__ import annotations

import datetime
import io
import json
from fractions import Fraction
from typing import Any

import av

from pipecat_whatsapp.simulator.sound import FRAME_BYTES, FRAME_TICKS, OPUS_CLOCK, RATE, OpusEncoder

AUDIO = "audio/ogg; codecs=opus"
TRANSCRIPT = "application/json"

_CONFIDENCE = 0.99


def make(kind: str, pcm: bytes) -> tuple[bytes, str]:
    """Make a file out of a call's sound.

    Args:
        kind: "recording" or "transcription".
        pcm: The sound, as `sound` has it.

    Returns:
        The file, and its type.
    """
    if kind == "transcription":
        return transcript(len(pcm) / (2 * RATE)), TRANSCRIPT
    return ogg_opus(pcm), AUDIO


def transcript(seconds: float) -> bytes:
    """Write a transcript in Meta's form (Meta: call transcription), of words that nobody said.

    Args:
        seconds: How long the call was.
    """
    segments = [
        _segment(0, "Business", "Hello", start=0.0, end=seconds / 2),
        _segment(1, "Customer", "Goodbye", start=seconds / 2, end=seconds),
    ]
    sound = {"duration": seconds, "sample_rate": RATE, "channels": 2, "audio_format": "ogg"}
    document = {
        "metadata": {
            "processed_at": datetime.datetime.now(tz=datetime.UTC).isoformat(),
            "audio": sound,
        },
        "transcript": {
            "text": " ".join(str(segment["text"]) for segment in segments),
            "language": "en",
            "duration": seconds,
            "confidence": _CONFIDENCE,
            "segments": segments,
        },
    }
    return json.dumps(document).encode()


def _segment(number: int, speaker: str, word: str, *, start: float, end: float) -> dict[str, Any]:
    timed = {"start": start, "end": end, "confidence": _CONFIDENCE}
    return {
        "id": number,
        "speaker": speaker,
        "channel": number,
        "text": word,
        "words": [{"word": word, "lang": "en", **timed}],
        **timed,
    }


def ogg_opus(pcm: bytes) -> bytes:
    """Write sound, as `sound` has it, as an Ogg Opus file (RFC 7845); of nothing, 20 ms."""
    file = io.BytesIO()
    encoder = OpusEncoder()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=OPUS_CLOCK, layout="mono")
        for number, at in enumerate(range(0, max(len(pcm), 1), FRAME_BYTES)):
            packet = av.Packet(encoder.encode(pcm[at : at + FRAME_BYTES]))
            packet.stream = stream
            packet.time_base = Fraction(1, OPUS_CLOCK)
            packet.pts = packet.dts = number * FRAME_TICKS
            packet.duration = FRAME_TICKS
            container.mux(packet)
    return file.getvalue()
