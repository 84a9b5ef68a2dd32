"""A bot for `pipecat eval`: it does what a language model and a voice would make it do.

It greets, says its hours whenever it is spoken to, tells of each key, and hangs up at #. What it
says as text goes beside what it says as sound, and is not the same.
"""

from __future__ import annotations

from pathlib import Path

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    EndWorkerFrame,
    Frame,
    InputDTMFFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMMessagesUpdateFrame,
    LLMTextFrame,
    SpeechOutputAudioRawFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from bots import RATE, run_worker
from pipecat_whatsapp.calls.bot import WhatsAppRunnerArguments
from pipecat_whatsapp.runner import create_transport
from pipecat_whatsapp.simulator.demo import FOLDER
from pipecat_whatsapp.simulator.sound import read_wav
from pipecat_whatsapp.transport import WhatsAppParams

EXAMPLES = Path(__file__).parent.parent / "examples" / "sounds"
GREETING, HOURS, FAREWELL = FOLDER / "greeting.wav", EXAMPLES / "hours.wav", FOLDER / "goodbye.wav"


def answer(text: str, sound: Path) -> list[Frame]:
    """What a language model and a voice make of an answer."""
    spoken = SpeechOutputAudioRawFrame(read_wav(sound), RATE, 1)
    return [LLMFullResponseStartFrame(), LLMTextFrame(text), LLMFullResponseEndFrame(), spoken]


class Model(FrameProcessor):
    """Stands for a language model and a voice."""

    def __init__(self) -> None:
        super().__init__()
        self._user = "whoever you are"

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        for each in self._answer(frame):
            await self.push_frame(each)
        if isinstance(frame, InputDTMFFrame) and frame.button.value == "#":
            await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)

    def _answer(self, frame: Frame) -> list[Frame]:
        if isinstance(frame, LLMMessagesUpdateFrame):
            self._user = str(frame.messages[0]["content"])  # type: ignore[index]
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            return answer(f"We are open, {self._user}.", HOURS)
        elif isinstance(frame, InputDTMFFrame) and frame.button.value == "#":
            return answer("Goodbye.", FAREWELL)
        elif isinstance(frame, InputDTMFFrame):
            return answer(f"This was {frame.button.value}.", GREETING)
        return []


async def bot(runner_args: WhatsAppRunnerArguments) -> None:
    """Answer one call."""
    transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
    vad = VADProcessor(vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=0.8)))
    worker = PipelineWorker(
        Pipeline([transport.input(), vad, Model(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport: object, client: object) -> None:
        await worker.queue_frames(answer("Hello.", GREETING))

    await run_worker(worker)
