"""pipecat's mixers: sound behind the bot's voice, such as music while somebody waits."""

from __future__ import annotations

from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import MixerControlFrame

from bots import RATE, PipelineBot
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.transport import WhatsAppParams
from recordings import chirp, heard


class Music(BaseAudioMixer):
    """Plays a sound over and over, whether or not the bot speaks."""

    def __init__(self, sound: bytes) -> None:
        self._sound = sound
        self._at = 0

    async def start(self, sample_rate: int) -> None:
        assert sample_rate == RATE

    async def stop(self) -> None:
        """Nothing is held."""

    async def process_frame(self, frame: MixerControlFrame) -> None:
        """Nothing can be set."""

    async def mix(self, audio: bytes) -> bytes:
        begin, self._at = self._at, (self._at + len(audio)) % (len(self._sound) - len(audio))
        return self._sound[begin : begin + len(audio)]


async def test_music_is_heard_while_the_bot_says_nothing(whatsapp: WhatsApp, phone: Phone) -> None:
    sound = chirp(2.0)
    await whatsapp.serve(PipelineBot(params=lambda: WhatsAppParams(audio_out_mixer=Music(sound))))
    call = await phone.dial()
    await heard(sound, lambda: call.recording.pcm)
