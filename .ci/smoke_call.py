"""Places a call with what `pip install pipecat-whatsapp` alone brings, and hears an echo.

Run where the package is installed and its source is not; `.ci/check-package` does.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp import (
    WebhookAdapter,
    WhatsAppConfig,
    WhatsAppParams,
    WhatsAppRunnerArguments,
    WhatsAppTransport,
)
from pipecat_whatsapp.server import PATH, create_app
from pipecat_whatsapp.simulator.demo import QUESTION
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.phone import Phone


class Echo(FrameProcessor):
    """Says what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Turn what comes in round, and pass on the rest."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
        await self.push_frame(frame, direction)


async def bot(arguments: WhatsAppRunnerArguments) -> None:
    """Answer one call."""
    transport = WhatsAppTransport(
        arguments.webrtc_connection, arguments.call, arguments.contact, WhatsAppParams()
    )
    runner = WorkerRunner(handle_sigint=False)
    pipeline = Pipeline([transport.input(), Echo(), transport.output()])
    await runner.add_workers(PipelineWorker(pipeline))
    await runner.run()


async def main() -> None:
    """Serve the bot, and call it."""
    async with SimulatedMeta() as meta, Phone(meta) as phone:
        account = meta.account
        config = WhatsAppConfig(
            token=account.token,
            phone_number_ids=frozenset({account.phone_number_id}),
            app_secrets=(account.app_secret,),
            verification_token=account.verification_token,
            graph_url=meta.graph_url,
        )
        server = web.AppRunner(create_app(WebhookAdapter(config, bot)))
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        await meta.subscribe(f"http://127.0.0.1:{server.addresses[0][1]}{PATH}")
        call = await phone.dial()
        await call.answered()
        await call.say(QUESTION)
        await call.wait_sound()
        await call.hang_up()
        await server.cleanup()


asyncio.run(main())
extras = {"fastapi", "redis", "segno", "typer", "uvicorn"} & set(sys.modules)
sys.exit(f"A call needs {', '.join(sorted(extras))}, which is an extra." if extras else 0)
