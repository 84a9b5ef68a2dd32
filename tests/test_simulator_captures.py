from __future__ import annotations

import pytest

from aiortc_business import pitch, tone
from ogg import decoded
from pipecat_whatsapp.meta.transcript import parse_transcript
from pipecat_whatsapp.simulator.captures import make


def test_a_recording_is_ogg_opus_with_the_sound_of_the_call() -> None:
    file, mime_type = make("recording", tone(440, 2.0))
    assert mime_type == "audio/ogg; codecs=opus"
    sound = decoded(file)
    assert len(sound) / 2 / 48_000 == pytest.approx(2.0, abs=0.02)
    assert pitch(sound, 48_000) == pytest.approx(440, abs=1)


def test_a_recording_of_nothing_is_a_file_all_the_same() -> None:
    assert decoded(make("recording", b"")[0])


def test_a_transcript_tells_who_said_what() -> None:
    file, mime_type = make("transcription", tone(440, 2.0))
    assert mime_type == "application/json"
    transcript = parse_transcript(file)
    assert transcript.duration == 2.0
    assert [segment.speaker for segment in transcript.segments] == ["Business", "Customer"]
    assert transcript.text == " ".join(segment.text for segment in transcript.segments)
    (word,) = transcript.segments[1].words
    assert (word.start, word.end, word.language) == (1.0, 2.0, "en")
