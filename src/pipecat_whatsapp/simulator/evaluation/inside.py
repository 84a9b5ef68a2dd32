"""A look inside an evaluated bot: what its pipeline tells a client, and what a client tells it.

pipecat's RTVI speaks with a client of the bot, and gives each message to the output transport.
WhatsApp has no channel for messages, so there they end; but an observer sees them arrive. What a
client would say is queued at the pipeline's beginning, where RTVI awaits it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pipecat.frames.frames import (
    Frame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.worker import PipelineWorker

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.transport_input import WhatsAppInputTransport
from pipecat_whatsapp.transport_output import WhatsAppOutputTransport

SETUP_FILES = "PIPECAT_SETUP_FILES"
"""pipecat's variable that names the files which it runs for each pipeline."""

_inside: ContextVar[Inside | None] = ContextVar("whatsapp_inside", default=None)


class Inside:
    """The pipeline of one call's bot.

    Attributes:
        on_message: Called with each message that the bot has for its client.
    """

    def __init__(self) -> None:
        self.on_message: Callable[[dict[str, Any]], None] = lambda _message: None
        self._worker: asyncio.Future[PipelineWorker] = asyncio.get_running_loop().create_future()
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()

    def send(self, frame: Frame) -> None:
        """Give the pipeline a frame, as soon as it has started."""
        self._frames.put_nowait(frame)

    async def feed(self) -> None:
        """Give the pipeline what was sent, until cancelled."""
        worker = await self._worker
        while True:
            await worker.queue_frame(await self._frames.get())

    def on_started(self, worker: PipelineWorker) -> None:
        """The pipeline that the call's sound goes through has started."""
        if not self._worker.done():
            self._worker.set_result(worker)


class Insight(Observer):
    """Knows which call is evaluated, and tells its pipeline. An observer of the adapter."""

    def __init__(self) -> None:
        self._evaluated: dict[str, Inside] = {}

    def look_into(self, call_id: str) -> Inside:
        """Look into the bot of a call, which must not have started."""
        inside = self._evaluated[call_id] = Inside()
        return inside

    def call_began(self, call: Call) -> None:
        """Hand the call's pipeline, which is set up in this context, to who looks into it."""
        _inside.set(self._evaluated.pop(call.id, None))


def attach(worker: PipelineWorker) -> None:
    """Look into a pipeline, if it is that of an evaluated call."""
    inside = _inside.get()
    if inside is not None:
        worker.add_observer(_Onlooker(inside, worker))


@contextmanager
def attaching() -> Iterator[None]:
    """Have pipecat attach to the pipelines of this process."""
    before = os.environ.get(SETUP_FILES)
    ours = str(Path(__file__).with_name("pipecat_setup.py"))
    os.environ[SETUP_FILES] = f"{before}{os.pathsep}{ours}" if before else ours
    try:
        yield
    finally:
        if before is None:
            del os.environ[SETUP_FILES]
        else:
            os.environ[SETUP_FILES] = before


class _Onlooker(BaseObserver):
    """Sees what reaches the ends of a pipeline.

    Args:
        inside: Told of it.
        worker: The pipeline's worker; a bot may have others, which a call does not reach.
    """

    def __init__(self, inside: Inside, worker: PipelineWorker) -> None:
        super().__init__()
        self._inside = inside
        self._worker = worker

    async def on_push_frame(self, data: FramePushed) -> None:
        """Look at a frame that one processor hands to the next."""
        frame = data.frame
        if isinstance(frame, StartFrame):
            if isinstance(data.destination, WhatsAppInputTransport):
                self._inside.on_started(self._worker)
        elif isinstance(frame, OutputTransportMessageFrame | OutputTransportMessageUrgentFrame):
            is_for_client = isinstance(data.destination, WhatsAppOutputTransport)
            if is_for_client and isinstance(frame.message, dict):
                self._inside.on_message(frame.message)
