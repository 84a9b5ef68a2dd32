"""What the caller says and presses, as pipecat's frames."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from loguru import logger
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    StartFrame,
    StopFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.transports.base_input import BaseInputTransport

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.connection import WhatsAppConnection
from pipecat_whatsapp.media.opus import check_sample_rate
from pipecat_whatsapp.params import WhatsAppParams

if TYPE_CHECKING:
    from pipecat_whatsapp.transport import WhatsAppTransport

MAX_RECEIVED = 500
"""Frames that wait for a pipeline that is slower than the caller speaks: 10 s."""


class WhatsAppInputTransport(BaseInputTransport):
    """Gives what the caller says, 20 ms at a time, and which keys they press."""

    def __init__(
        self,
        transport: WhatsAppTransport,
        connection: WhatsAppConnection,
        params: WhatsAppParams,
        **kwargs: Any,
    ) -> None:
        super().__init__(params, **kwargs)
        self._transport = transport
        self._connection = connection
        self._receiver = connection.create_receiver()
        self._whatsapp_params = params
        self._listening = False
        self._received: deque[bytes | str] = deque(maxlen=MAX_RECEIVED)
        self._something_received = asyncio.Event()
        self._receive_task: asyncio.Task[None] | None = None

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Prepare. A rate that Opus does not know ends the call: nobody talks to a deaf bot."""
        await super().setup(setup)
        try:
            check_sample_rate(self.sample_rate, "audio_in_sample_rate")
        except ConfigError:
            await self._connection.disconnect()
            raise

    async def start(self, frame: StartFrame) -> None:
        """Begin to listen."""
        await super().start(frame)
        await self.set_transport_ready(frame)
        self._listening = self._whatsapp_params.audio_in_stream_on_start
        if self._receive_task is None:
            self._receiver.start(self.sample_rate, on_audio=self._put, on_key=self._put)
            self._receive_task = self.create_task(self._receive())

    async def stop(self, frame: EndFrame) -> None:
        """Stop listening."""
        await super().stop(frame)
        await self._stop_receiving()

    async def cancel(self, frame: CancelFrame) -> None:
        """Stop listening."""
        await super().cancel(frame)
        await self._stop_receiving()

    async def cleanup(self) -> None:
        """Release everything."""
        await self._stop_receiving()
        await super().cleanup()
        await self._transport.cleanup()

    async def pause(self, frame: StopFrame) -> None:
        """Stop listening until the next start."""
        await super().pause(frame)
        self._listening = False

    async def push_audio_frame(self, frame: InputAudioRawFrame) -> None:
        """Push audio downstream, filtered if so wanted.

        The base class has a queue and a task for this, which cost more than decoding does; here
        audio has stood in a queue already.
        """
        params = self._whatsapp_params
        if not params.audio_in_enabled or not self._listening:
            return
        if params.audio_in_filter:
            frame.audio = await params.audio_in_filter.filter(frame.audio)
        if frame.audio and params.audio_in_passthrough:
            await self.push_frame(frame)

    async def _start_audio_in_streaming(self) -> None:
        self._listening = True

    def _put(self, received: bytes | str) -> None:
        self._received.append(received)
        self._something_received.set()

    async def _receive(self) -> None:
        while True:
            await self._something_received.wait()
            self._something_received.clear()
            while self._received:
                await self._hear(self._received.popleft())

    async def _hear(self, received: bytes | str) -> None:
        if isinstance(received, str):
            await self._press(received)
        else:
            await self.push_audio_frame(
                InputAudioRawFrame(audio=received, sample_rate=self.sample_rate, num_channels=1)
            )

    async def _press(self, key: str) -> None:
        await self._transport.on_key(key)
        try:
            button = KeypadEntry(key)
        except ValueError:
            logger.info("Key {} is on no telephone that pipecat knows; it got no frame", key)
            return
        await self.push_frame(InputDTMFFrame(button=button))

    async def _stop_receiving(self) -> None:
        self._receiver.stop()
        if self._receive_task is not None:
            task, self._receive_task = self._receive_task, None
            await self.cancel_task(task)
