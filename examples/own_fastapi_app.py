"""A FastAPI application of one's own that takes WhatsApp calls beside its other work. Needs no key.

    pip install "pipecat-whatsapp[runner]"
    python examples/own_fastapi_app.py --port 7860

Callers hear when the shop is open; `GET /calls` tells the shop's other pages what becomes of calls.
Let the internet in to /whatsapp alone, and not to the rest.

Without a WhatsApp account: `pipecat-whatsapp simulate examples/own_fastapi_app.py`.
"""

from __future__ import annotations

import argparse
import sys
import wave
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from dotenv import load_dotenv
from fastapi import FastAPI
from pipecat.frames.frames import EndFrame, SpeechOutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp import (
    CallReport,
    WebhookAdapter,
    WhatsAppConfig,
    WhatsAppError,
    WhatsAppParams,
    WhatsAppRunnerArguments,
)
from pipecat_whatsapp.runner import create_transport, whatsapp_router

load_dotenv(override=True)

HOURS = Path(__file__).parent / "sounds" / "hours.wav"
SAMPLE_RATE = 16_000  # That of the recording, so that nothing has to be resampled.

causes: Counter[str] = Counter()
"""Why calls have ended, and how often."""


async def bot(runner_args: WhatsAppRunnerArguments) -> None:
    transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
    worker = PipelineWorker(
        Pipeline([transport.input(), transport.output()]),
        params=PipelineParams(audio_out_sample_rate=SAMPLE_RATE),
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport: BaseTransport, client: object) -> None:
        # An EndFrame ends the call when what was queued before has been heard.
        await worker.queue_frames([recorded(HOURS), EndFrame()])

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()


def recorded(path: Path) -> SpeechOutputAudioRawFrame:
    """What a 16-bit mono WAV file says."""
    with wave.open(str(path), "rb") as file:
        audio = file.readframes(file.getnframes())
        return SpeechOutputAudioRawFrame(audio, file.getframerate(), file.getnchannels())


async def on_call_ended(report: CallReport) -> None:
    causes[report.cause.value] += 1


try:
    adapter = WebhookAdapter(WhatsAppConfig.from_env(), bot, on_call_ended=on_call_ended)
except WhatsAppError as error:
    sys.exit(str(error))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The application's own beginning and end; the router's lie between them."""
    print("The shop opens.", flush=True)
    yield
    print(f"The shop closes. Calls: {causes.total()}", flush=True)


app = FastAPI(lifespan=lifespan)
app.include_router(whatsapp_router(lambda: adapter))


@app.get("/calls")
async def calls() -> dict[str, Any]:
    return {"running": len(adapter.calls), "ended": causes}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A shop that can be called.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    # `pipecat-whatsapp simulate` starts every bot with `-t whatsapp`; this one has nothing else.
    parser.add_argument("-t", "--transport", choices=["whatsapp"], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    options = arguments()
    uvicorn.run(app, host=options.host, port=options.port)
