"""Meta's transcript of a call."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pipecat_whatsapp.errors import MediaError
from pipecat_whatsapp.meta.events import Raw
from pipecat_whatsapp.meta.reading import as_object, bounded_int, child, items, name_of, text

MAX_TEXT_CHARS = 1_000_000


@dataclass(frozen=True)
class TranscriptWord:
    """A word that was said.

    Parameters:
        word: The word.
        start: Its begin, seconds into the recording.
        end: Its end.
        confidence: How sure Meta is, 0 to 1.
        language: In which language, such as "en".
    """

    word: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    language: str | None = None


@dataclass(frozen=True)
class TranscriptSegment:
    """What one side said in one go.

    Parameters:
        speaker: "Business" or "Customer".
        text: What was said.
        start: Its begin, seconds into the recording.
        end: Its end.
        confidence: How sure Meta is, 0 to 1.
        channel: Channel of the recording, 0 or 1.
        words: The single words.
    """

    speaker: str | None
    text: str = field(repr=False)
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    channel: int | None = None
    words: tuple[TranscriptWord, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Transcript:
    """What was said in a call.

    Parameters:
        text: All of it.
        segments: Who said what, in order.
        language: The main language, such as "en".
        duration: Seconds.
        confidence: How sure Meta is, 0 to 1.
        raw: The JSON object that it was read from.
    """

    text: str = field(repr=False)
    segments: tuple[TranscriptSegment, ...] = field(repr=False)
    language: str | None = None
    duration: float | None = None
    confidence: float | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


def parse_transcript(document: bytes) -> Transcript:
    """Read the file behind a `CallMediaAvailable` of the kind "transcription".

    Source: Meta, call transcription.

    Raises:
        MediaError: It is not a transcript.
    """
    try:
        raw = as_object(json.loads(document, parse_int=bounded_int))
    except (ValueError, RecursionError):
        raw = {}
    transcript = child(raw, "transcript")
    if not transcript:
        raise MediaError(
            "The transcript cannot be read, because the file is not JSON of the form that Meta "
            "documents: look at it with `download`."
        )
    return Transcript(
        text=text(transcript, "text", MAX_TEXT_CHARS) or "",
        segments=tuple(_segment(item) for item in items(transcript, "segments")),
        language=name_of(transcript, "language"),
        duration=_number(transcript, "duration"),
        confidence=_number(transcript, "confidence"),
        raw=raw,
    )


def _segment(item: Any) -> TranscriptSegment:
    channel = _number(item, "channel")
    return TranscriptSegment(
        speaker=name_of(item, "speaker"),
        text=text(item, "text", MAX_TEXT_CHARS) or "",
        start=_number(item, "start"),
        end=_number(item, "end"),
        confidence=_number(item, "confidence"),
        channel=None if channel is None else int(channel),
        words=tuple(_word(word) for word in items(as_object(item), "words")),
    )


def _word(item: Any) -> TranscriptWord:
    return TranscriptWord(
        word=text(item, "word") or "",
        start=_number(item, "start"),
        end=_number(item, "end"),
        confidence=_number(item, "confidence"),
        language=name_of(item, "lang"),
    )


def _number(obj: Any, key: str) -> float | None:
    value = as_object(obj).get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e12 else None
