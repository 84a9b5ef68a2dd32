"""The demo bot: greets, says back what it hears, and says goodbye. It needs no key.

Run it with `python bot.py -t whatsapp`, or without an account by `pipecat-whatsapp demo`.
It says goodbye when nobody has spoken for a while, when the caller presses #, or when the caller
sends the message "bye".
"""

from __future__ import annotations

import wave
from collections import deque
from pathlib import Path

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    SpeechOutputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.meta.events import Event, MessageReceived
from pipecat_whatsapp.runner import WhatsAppRunnerArguments, create_transport, main
from pipecat_whatsapp.transport import WhatsAppParams

SAMPLE_RATE = 16_000
PRE_ROLL_SECONDS = 0.5
"""What was heard just before the VAD was sure that it is speech: the first syllable."""
LONGEST_SPEECH_SECONDS = 30
SILENCE_SECONDS = 4.0
"""Without a word from either side, the bot says goodbye."""

on_air: dict[Call, PipelineWorker] = {}
"""The calls whose callers can hear us."""


class Parrot(FrameProcessor):
    """Says back what the caller said, and falls silent when the caller speaks."""

    def __init__(self) -> None:
        super().__init__()
        self._pre_roll: deque[bytes] = deque()
        self._speech: bytearray | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take the caller's audio out of the pipeline, and put the echo in."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._hear(frame.audio)
            return
        await self.push_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._speech = bytearray(b"".join(self._pre_roll))
            await self.broadcast_interruption()
        elif isinstance(frame, VADUserStoppedSpeakingFrame) and self._speech:
            speech, self._speech = bytes(self._speech), None
            await self.push_frame(spoken(speech))

    def _hear(self, audio: bytes) -> None:
        self._pre_roll.append(audio)
        if len(self._pre_roll) * len(audio) > _bytes(PRE_ROLL_SECONDS):
            self._pre_roll.popleft()
        if self._speech is not None and len(self._speech) < _bytes(LONGEST_SPEECH_SECONDS):
            self._speech += audio


async def run_bot(transport: BaseTransport, runner_args: WhatsAppRunnerArguments) -> None:
    """Hold one conversation."""
    call = runner_args.call
    vad = SileroVADAnalyzer(params=VADParams(stop_secs=0.6))
    worker = PipelineWorker(
        Pipeline([transport.input(), VADProcessor(vad_analyzer=vad), Parrot(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE, audio_out_sample_rate=SAMPLE_RATE),
        idle_timeout_secs=SILENCE_SECONDS,
        cancel_on_idle_timeout=False,
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport: BaseTransport, client: object) -> None:
        on_air[call] = worker
        await worker.queue_frame(spoken(recorded("greeting.wav")))

    @transport.event_handler("on_dtmf_event")
    async def on_dtmf_event(transport: BaseTransport, data: dict[str, str]) -> None:
        if data["tone"] == "#":
            await say_goodbye(call)

    @worker.event_handler("on_idle_timeout")
    async def on_idle_timeout(worker: PipelineWorker) -> None:
        await say_goodbye(call)

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    try:
        await runner.run()
    finally:
        on_air.pop(call, None)


async def say_goodbye(call: Call) -> None:
    """Say goodbye, and hang up when the caller has heard it."""
    worker = on_air.pop(call, None)
    if worker is not None:
        await worker.queue_frames([spoken(recorded("goodbye.wav")), EndFrame()])


async def on_webhook_event(event: Event) -> None:
    """A caller who sends the message "bye" is told goodbye."""
    if isinstance(event, MessageReceived) and (event.text or "").strip().lower() == "bye":
        for call in [call for call in on_air if call.user.key == event.user.key]:
            await say_goodbye(call)


async def bot(runner_args: WhatsAppRunnerArguments) -> None:
    """Answer one call."""
    transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
    await run_bot(transport, runner_args)


def spoken(audio: bytes) -> SpeechOutputAudioRawFrame:
    """A frame that says something."""
    return SpeechOutputAudioRawFrame(audio, SAMPLE_RATE, 1)


def recorded(name: str) -> bytes:
    """What a WAV file beside this one says."""
    with wave.open(str(Path(__file__).with_name(name)), "rb") as file:
        return file.readframes(file.getnframes())


def _bytes(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE) * 2


if __name__ == "__main__":
    main(on_webhook_event=on_webhook_event)
