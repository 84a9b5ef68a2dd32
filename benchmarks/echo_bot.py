"""The bot that is measured: it says what it hears.

Run as a script it is served by this package, beside pipecat's other transports. The environment
changes it for one benchmark or another:

- `BENCH_RATES`, such as "16000 24000": the pipeline's rates in and out, Hz; pipecat's own if unset;
- `BENCH_STALL`, such as "0.15 2": it blocks its event loop for so long, every so often, s;
- `BENCH_START`: how long it needs to start, s;
- `BENCH_GREETING`: it says a chirp as soon as the caller can hear it;
- `BENCH_RECORD`: a folder where it writes what it hears, instead of saying it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame, StartFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.workers.runner import WorkerRunner
from recorder import Recorder
from sounds import GREETING_RATE, greeting

from pipecat_whatsapp.runner import create_transport, main

transport_params = {
    "webrtc": lambda: TransportParams(audio_in_enabled=True, audio_out_enabled=True),
}


class Echo(FrameProcessor):
    """Says what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Turn audio around."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
        await self.push_frame(frame, direction)


class Service(FrameProcessor):
    """Stands for services that connect to somewhere before the pipeline has started."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take time to start."""
        await super().process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await asyncio.sleep(float(os.environ["BENCH_START"]))
        await self.push_frame(frame, direction)


async def run_bot(transport: BaseTransport, runner_args: RunnerArguments) -> None:
    """Run the pipeline until the caller hangs up."""
    folder = os.environ.get("BENCH_RECORD")
    middle = Recorder(folder) if folder else Echo()
    services = [Service()] if "BENCH_START" in os.environ else []
    worker = PipelineWorker(
        Pipeline([transport.input(), *services, middle, transport.output()]), params=_params()
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport: BaseTransport, client: object) -> None:
        if "BENCH_GREETING" in os.environ:
            await worker.queue_frame(OutputAudioRawFrame(greeting(), GREETING_RATE, 1))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport: BaseTransport, client: object) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    async with _stalls():
        await runner.run()


def _params() -> PipelineParams:
    if "BENCH_RATES" not in os.environ:
        return PipelineParams()
    rate_in, rate_out = map(int, os.environ["BENCH_RATES"].split())
    return PipelineParams(audio_in_sample_rate=rate_in, audio_out_sample_rate=rate_out)


@asynccontextmanager
async def _stalls() -> AsyncIterator[None]:
    """Block the event loop now and then, as a bot does that computes where it should not."""

    async def stall() -> None:
        length, period = map(float, os.environ["BENCH_STALL"].split())
        while True:
            await asyncio.sleep(period - length)
            time.sleep(length)  # noqa: ASYNC251 - that is the point

    task = asyncio.create_task(stall()) if "BENCH_STALL" in os.environ else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


async def bot(runner_args: RunnerArguments) -> None:
    """Answer one call."""
    await run_bot(await create_transport(runner_args, transport_params), runner_args)


if __name__ == "__main__":
    main()
