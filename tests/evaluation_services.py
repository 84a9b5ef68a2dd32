"""What `pipecat eval` needs of models, without any: a voice and an ear for recorded sounds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from pipecat.frames.frames import Frame, TranscriptionFrame, TTSAudioRawFrame
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService

from evaluated_bot import FAREWELL, GREETING, HOURS
from pipecat_whatsapp.simulator.demo import FOLDER
from pipecat_whatsapp.simulator.matching import find
from pipecat_whatsapp.simulator.sound import RATE, read_wav

KNOWN = {"greeting": GREETING, "hours": HOURS, "farewell": FAREWELL}

_PIECE = 2 * RATE
_HEADER = 44


class RecordedVoice(TTSService):
    """Says what is recorded under a name."""

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        pcm = read_wav(FOLDER / f"{text}.wav")
        yield TTSAudioRawFrame(pcm, RATE, 1, context_id=context_id)


class RecordedEar(SegmentedSTTService):
    """Writes down the name of a sound of which it hears a second."""

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        heard = audio[_HEADER:] if audio.startswith(b"RIFF") else audio
        for name, file in KNOWN.items():
            pcm = read_wav(file)
            pieces = (pcm[at : at + _PIECE] for at in range(0, len(pcm) - _PIECE, _PIECE))
            if any(find(heard, piece) is not None for piece in pieces):
                yield TranscriptionFrame(name, "", "")


def voice(_: dict[str, Any], __: int = RATE) -> RecordedVoice:
    """For `user.speech.factory`; pipecat 1.8 gives the rate too."""
    return RecordedVoice(sample_rate=RATE)


def ear(_: dict[str, Any], __: int = RATE) -> RecordedEar:
    """For `judge.transcription.factory`; pipecat 1.8 gives the rate too."""
    return RecordedEar(sample_rate=RATE)
