"""Calls people on WhatsApp, reminds them of something, and tells what came of it. Needs no key.

    python examples/outbound_reminder.py -t whatsapp --to "+49 155 50002222"

Who has not allowed calls is asked first: with the words of --ask while a conversation is open, that
is within 24 hours after they wrote or called, or at any time with a template (--template), which
Meta has to approve. What is said is a WAV file (--say). Without --to nobody is called until
`pipecat-whatsapp call "+49 155 50002222" --ask "May we call you?"` says so.

Without a WhatsApp account: `pipecat-whatsapp simulate examples/outbound_reminder.py --outbound`.
"""

from __future__ import annotations

import argparse
import wave
from pathlib import Path
from typing import Any

from pipecat.frames.frames import EndFrame, SpeechOutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp import (
    PermissionTemplate,
    WebhookAdapter,
    WhatsAppError,
    WhatsAppParams,
    WhatsAppRunnerArguments,
)
from pipecat_whatsapp.runner import create_transport, main

REMINDER = Path(__file__).parent / "sounds" / "reminder.wav"
SAMPLE_RATE = 16_000  # That of the recording, so that nothing has to be resampled.


async def remind(adapter: WebhookAdapter) -> None:
    """Call everybody, one after the other."""
    arguments: Any = adapter.cli_args
    ask = PermissionTemplate(arguments.template, "en_US") if arguments.template else arguments.ask
    for number in arguments.to:
        print(f"{number}: {await call(adapter, number, ask)}", flush=True)


async def call(adapter: WebhookAdapter, number: str, ask: str | PermissionTemplate) -> str:
    """Call somebody. Returns what came of it, in words."""
    try:
        result = await adapter.call(number, ask_permission=ask)
    except WhatsAppError as error:
        return str(error)
    report = await result.report()  # Waits until the call is over; None when none was placed.
    if report is not None and report.answered:
        return f"answered, {report.cause.value} after {report.duration:.0f} s"
    return f"{result.outcome.value}: {result.detail}"


async def bot(runner_args: WhatsAppRunnerArguments) -> None:
    """Speak the reminder, and hang up. Who calls back hears it, too."""
    transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
    arguments: Any = runner_args.cli_args
    worker = PipelineWorker(
        Pipeline([transport.input(), transport.output()]),
        params=PipelineParams(audio_out_sample_rate=SAMPLE_RATE),
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport: BaseTransport, client: object) -> None:
        # An EndFrame ends the call when what was queued before has been heard.
        await worker.queue_frames([recorded(arguments.say), EndFrame()])

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()


def recorded(path: Path) -> SpeechOutputAudioRawFrame:
    """What a 16-bit mono WAV file says."""
    with wave.open(str(path), "rb") as file:
        audio = file.readframes(file.getnframes())
        return SpeechOutputAudioRawFrame(audio, file.getframerate(), file.getnchannels())


def parser() -> argparse.ArgumentParser:
    """The command line; pipecat's runner adds its own arguments."""
    parser = argparse.ArgumentParser(description="Reminds people by WhatsApp calls.")
    parser.add_argument("--to", nargs="+", default=[], metavar="NUMBER", help="whom to remind")
    parser.add_argument("--ask", default="May we call you about your appointment?")
    parser.add_argument("--template", help="a template that asks for permission, in en_US")
    parser.add_argument("--say", type=Path, default=REMINDER, metavar="WAV")
    return parser


if __name__ == "__main__":
    main(parser(), on_start=remind)
