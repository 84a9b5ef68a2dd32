"""Transcripts as Meta writes them, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipecat_whatsapp.errors import MediaError
from pipecat_whatsapp.meta.transcript import (
    Transcript,
    TranscriptSegment,
    TranscriptWord,
    parse_transcript,
)

DOCUMENT: dict[str, Any] = {
    "metadata": {
        "processed_at": "2026-11-25T10:00:00Z",
        "audio": {"duration": 3.5, "sample_rate": 16000, "channels": 2, "audio_format": "opus"},
    },
    "transcript": {
        "text": "Hello. Hi!",
        "language": "en",
        "duration": 3.5,
        "confidence": 0.93,
        "segments": [
            {
                "id": 0,
                "speaker": "Business",
                "channel": 0,
                "start": 0.4,
                "end": 1,
                "text": "Hello.",
                "confidence": 0.95,
                "words": [
                    {"word": "Hello", "start": 0.4, "end": 1, "confidence": 0.95, "lang": "en"}
                ],
            },
            {"id": 1, "speaker": "Customer", "channel": 1, "text": "Hi!"},
        ],
    },
}


def parse(transcript: Any) -> Transcript:
    return parse_transcript(json.dumps({"transcript": transcript}).encode())


def test_a_transcript_is_read_whole() -> None:
    read = parse_transcript(json.dumps(DOCUMENT).encode())
    hello = TranscriptWord("Hello", 0.4, 1.0, 0.95, "en")
    assert read == Transcript(
        text="Hello. Hi!",
        segments=(
            TranscriptSegment("Business", "Hello.", 0.4, 1.0, 0.95, 0, (hello,)),
            TranscriptSegment("Customer", "Hi!", channel=1),
        ),
        language="en",
        duration=3.5,
        confidence=0.93,
    )
    assert read.raw == DOCUMENT


def test_what_was_said_is_not_shown() -> None:
    assert "Hello" not in repr(parse_transcript(json.dumps(DOCUMENT).encode()))


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b"{}", b"\xff", b'{"transcript": 7}', b"[" * 100_000]
)
def test_what_is_no_transcript_is_told_as_such(document: bytes) -> None:
    with pytest.raises(MediaError, match="cannot be read"):
        parse_transcript(document)


@pytest.mark.parametrize("number", ["1", True, None, [], 1e300])
def test_odd_numbers_are_none(number: Any) -> None:
    read = parse({"duration": number, "segments": [{"channel": number}]})
    assert (read.duration, read.segments[0].channel) == (None, None)


def test_odd_parts_are_empty() -> None:
    read = parse({"text": 0.5, "language": "?", "segments": [None, {"words": [None]}]})
    assert (read.text, read.language) == ("", None)
    empty = TranscriptSegment(None, "")
    assert read.segments == (empty, TranscriptSegment(None, "", words=(TranscriptWord(""),)))


def test_infinity_is_no_number() -> None:
    document = b'{"transcript": {"text": "x", "duration": Infinity, "confidence": NaN}}'
    read = parse_transcript(document)
    assert (read.duration, read.confidence) == (None, None)
