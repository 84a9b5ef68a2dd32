"""Several business numbers in one process, each with a bot of its own. Needs no key.

    python examples/several_numbers.py -t whatsapp

WHATSAPP_PHONE_NUMBER_ID names all of them, separated by commas. They share the app, its secret, the
access token and the webhook's address; NUMBERS says whose bot answers, by the number that was
called. At any other number the usual bot does.

Without a WhatsApp account, which has the first number only:
`pipecat-whatsapp simulate examples/several_numbers.py`.
"""

from __future__ import annotations

import wave
from pathlib import Path

from pipecat.frames.frames import EndFrame, SpeechOutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp import Bot, WhatsAppParams, WhatsAppRunnerArguments
from pipecat_whatsapp.runner import create_transport, main
from pipecat_whatsapp.screening import route

SOUNDS = Path(__file__).parent / "sounds"
SAMPLE_RATE = 16_000  # That of the sentences, so that nothing has to be resampled.


def saying(name: str) -> Bot:
    """A bot that says a recorded sentence, and hangs up."""

    async def bot(runner_args: WhatsAppRunnerArguments) -> None:
        transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
        worker = PipelineWorker(
            Pipeline([transport.input(), transport.output()]),
            params=PipelineParams(audio_out_sample_rate=SAMPLE_RATE),
        )

        @transport.event_handler("on_client_connected")
        async def on_client_connected(transport: BaseTransport, client: object) -> None:
            await worker.queue_frames([recorded(SOUNDS / f"{name}.wav"), EndFrame()])

        runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
        await runner.add_workers(worker)
        await runner.run()

    return bot


def recorded(path: Path) -> SpeechOutputAudioRawFrame:
    """What a 16-bit mono WAV file says."""
    with wave.open(str(path), "rb") as file:
        audio = file.readframes(file.getnframes())
        return SpeechOutputAudioRawFrame(audio, file.getframerate(), file.getnchannels())


NUMBERS = {"493055501111": saying("hours"), "442079460001": saying("address")}
"""By number, in digits with the country code, who answers."""

usual = saying("menu")
to_its_bot = route(lambda call: call.business_phone, NUMBERS)

if __name__ == "__main__":
    main(bot=usual, on_incoming_call=to_its_bot)
