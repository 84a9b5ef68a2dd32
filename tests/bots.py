"""Bots for tests: without a pipeline where only the call matters, with one where sound does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp.calls.bot import WhatsAppRunnerArguments
from pipecat_whatsapp.runner import create_transport
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport

RATE = 16_000


class PlainBot:
    """A bot without a pipeline: it is ready at once and stays until the call is over.

    Args:
        ready: Whether it ever says that it is ready.
        stay: Whether it goes on when the call is over.
        error: What it raises instead of starting.
    """

    def __init__(
        self, *, ready: bool = True, stay: bool = False, error: BaseException | None = None
    ) -> None:
        self.started: list[WhatsAppRunnerArguments] = []
        self.running = 0
        self.cancelled = 0
        self._ready = ready
        self._stay = stay
        self._error = error

    async def __call__(self, runner_args: WhatsAppRunnerArguments) -> None:
        self.started.append(runner_args)
        if self._error is not None:
            raise self._error
        self.running += 1
        closed = asyncio.Event()

        async def on_closed(_: object) -> None:
            closed.set()

        connection = runner_args.webrtc_connection
        connection.add_event_handler("closed", on_closed)
        try:
            if self._ready:
                await connection.connect()
            await closed.wait()
            if self._stay:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


class Echo(FrameProcessor):
    """Says what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
        await self.push_frame(frame, direction)


class Ear(FrameProcessor):
    """Keeps what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.pcm = b""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        if isinstance(frame, InputAudioRawFrame):
            self.pcm += frame.audio
        await self.push_frame(frame, direction)


class Ears(list[Ear]):
    """Makes an ear for each call, and keeps it."""

    def __call__(self) -> Ear:
        self.append(Ear())
        return self[-1]

    @property
    def frames(self) -> list[Frame]:
        """What the first one has heard."""
        return self[0].frames if self else []

    @property
    def pcm(self) -> bytes:
        """What the first one has heard of the caller."""
        return self[0].pcm if self else b""


Prepare = Callable[[WhatsAppTransport, PipelineWorker], Awaitable[None] | None]


class PipelineBot:
    """A bot with a real pipeline around a WhatsApp transport.

    Args:
        *processors: What stands between input and output.
        prepare: Called with transport and worker, to register handlers or queue frames.
        params: Makes the transport's parameters.
        metrics: Whether the pipeline collects metrics.
    """

    def __init__(
        self,
        *processors: Callable[[], FrameProcessor],
        prepare: Prepare | None = None,
        params: Callable[[], WhatsAppParams] = WhatsAppParams,
        metrics: bool = False,
    ) -> None:
        self.events: list[str] = []
        self.workers: list[PipelineWorker] = []
        self.returned = 0
        self._processors = processors
        self._prepare = prepare
        self._params = params
        self._metrics = metrics

    async def __call__(self, runner_args: WhatsAppRunnerArguments) -> None:
        transport = await create_transport(runner_args, {"whatsapp": self._params})
        assert isinstance(transport, WhatsAppTransport)
        processors = [make() for make in self._processors]
        worker = PipelineWorker(
            Pipeline([transport.input(), *processors, transport.output()]),
            params=PipelineParams(
                audio_in_sample_rate=RATE,
                audio_out_sample_rate=RATE,
                enable_metrics=self._metrics,
            ),
        )
        self.workers.append(worker)
        self._listen(transport)
        if self._prepare is not None and (preparing := self._prepare(transport, worker)):
            await preparing
        await run_worker(worker)
        self.returned += 1

    def _listen(self, transport: BaseTransport) -> None:
        for name in ("on_client_connected", "on_client_disconnected", "on_before_disconnect"):

            async def note(_: object, *args: object, name: str = name) -> None:
                self.events.append(name)

            transport.add_event_handler(name, note)


async def run_worker(worker: PipelineWorker) -> None:
    runner = WorkerRunner()
    await runner.add_workers(worker)
    await runner.run()


def says(pcm: bytes, *, then_end: bool = False) -> Prepare:
    """Says something as soon as the caller can hear."""

    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_connected(_: object, __: object) -> None:
            await worker.queue_frame(OutputAudioRawFrame(pcm, RATE, 1))
            if then_end:
                await worker.queue_frame(EndFrame())

        transport.add_event_handler("on_client_connected", on_connected)

    return prepare
