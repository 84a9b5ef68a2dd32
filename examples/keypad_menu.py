"""A menu that is worked with the keys of the telephone, from recorded sentences. Needs no key.

    python examples/keypad_menu.py -t whatsapp

Call it, and press 1, 2, * or #; a key cuts short what is being said. Put sentences of your own
(16-bit mono WAV files) into examples/sounds.

Without a WhatsApp account: `pipecat-whatsapp simulate examples/keypad_menu.py --press "12#"`.
"""

from __future__ import annotations

import wave
from pathlib import Path

from loguru import logger
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    ClientConnectedFrame,
    EndWorkerFrame,
    Frame,
    InputDTMFFrame,
    SpeechOutputAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp import Contact, WhatsAppError, WhatsAppParams, WhatsAppRunnerArguments
from pipecat_whatsapp.runner import create_transport, main

SOUNDS = Path(__file__).parent / "sounds"
SAMPLE_RATE = 16_000  # That of the sentences, so that nothing has to be resampled.
ADDRESS = "The Book Shop, 12 Example Street, 10115 Berlin"
SILENCE_SECONDS = 20.0
"""Without a key or a word for so long, the call ends."""


class Menu(FrameProcessor):
    """Says what the keys do, and does it."""

    def __init__(self, contact: Contact) -> None:
        super().__init__()
        self._contact = contact

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, ClientConnectedFrame):
            await self._say("menu")
        elif isinstance(frame, InputDTMFFrame):
            await self.broadcast_interruption()
            await self._press(frame.button)

    async def _press(self, key: KeypadEntry) -> None:
        match key:
            case KeypadEntry.ONE:
                await self._say("hours")
            case KeypadEntry.TWO:
                await self._say("address" if await self._send_address() else "failed")
            case KeypadEntry.POUND:
                await self._say("farewell")
                # The call ends when that has been heard.
                await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)
            case _:
                await self._say("menu")

    async def _send_address(self) -> bool:
        try:
            await self._contact.send_text(ADDRESS)
        except WhatsAppError as error:
            logger.warning("{}", error)
            return False
        return True

    async def _say(self, name: str) -> None:
        with wave.open(str(SOUNDS / f"{name}.wav"), "rb") as file:
            audio = file.readframes(file.getnframes())
            rate, channels = file.getframerate(), file.getnchannels()
        await self.push_frame(SpeechOutputAudioRawFrame(audio, rate, channels))


async def bot(runner_args: WhatsAppRunnerArguments) -> None:
    transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
    menu = Menu(runner_args.contact)
    worker = PipelineWorker(
        Pipeline([transport.input(), menu, transport.output()]),
        params=PipelineParams(audio_out_sample_rate=SAMPLE_RATE),
        idle_timeout_secs=SILENCE_SECONDS,
    )
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    main()
