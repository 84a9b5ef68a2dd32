"""The pipecat face of a WhatsApp call: a transport with an input and an output."""

from __future__ import annotations

import asyncio
from typing import Any

from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    EndWorkerFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    StartFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import BaseTransport, TransportParams

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.media.connection import WhatsAppConnection
from pipecat_whatsapp.media.receiver import receive_audio
from pipecat_whatsapp.media.sender import DEFAULT_BITRATE, AudioSender

LAST_WORD_SECONDS = 0.3
"""From the last word on the wire to the hang-up: Meta's relay and the phone still play it."""


class WhatsAppParams(TransportParams):
    """Parameters of a WhatsApp transport; the defaults are right for a voice bot.

    Parameters:
        audio_in_enabled: Hear the caller.
        audio_out_enabled: Speak to the caller.
        audio_out_10ms_chunks: 20 ms, one packet of WhatsApp.
        audio_out_end_silence_secs: None: the transport itself waits until the last word is out.
        audio_out_write_timeout_secs: Longer than a call may take to be accepted, since audio
            written before that is held until the caller can hear it.
    """

    audio_in_enabled: bool = True
    audio_out_enabled: bool = True
    audio_out_10ms_chunks: int = 2
    audio_out_end_silence_secs: int = 0
    audio_out_write_timeout_secs: float = 30.0


class WhatsAppTransport(BaseTransport):
    """Carries one WhatsApp call through a pipeline.

    Event handlers available:

    - on_client_connected(transport, connection): the caller can hear the bot from now on
    - on_client_disconnected(transport, connection): the caller, or WhatsApp, ended the call
    - on_call_state_updated(transport, state): "connecting", "accepting", "active", "ended", ...
    - on_dialin_connected(transport, call): as on_client_connected, for bots that know Daily
    - on_dialin_stopped(transport, call): as on_client_disconnected, for bots that know Daily
    - on_before_disconnect(transport): the bot is about to hang up; awaited
    - on_error(transport, error): the call ended because something went wrong

    Args:
        connection: The call's peer connection (`runner_args.webrtc_connection`).
        call: The call (`runner_args.call`).
        params: Transport parameters.
        input_name: Name of the input processor.
        output_name: Name of the output processor.
    """

    def __init__(
        self,
        connection: WhatsAppConnection,
        call: Call,
        params: WhatsAppParams | None = None,
        *,
        input_name: str | None = None,
        output_name: str | None = None,
    ) -> None:
        super().__init__(input_name=input_name, output_name=output_name)
        self.call = call
        params = params or WhatsAppParams()
        self._connection = connection
        self._hanging_up = False
        self._input = WhatsAppInputTransport(self, connection, params, name=input_name)
        self._output = WhatsAppOutputTransport(self, connection, params, name=output_name)

        for event in (
            "on_client_connected",
            "on_client_disconnected",
            "on_call_state_updated",
            "on_dialin_connected",
            "on_dialin_stopped",
            "on_error",
        ):
            self._register_event_handler(event)
        self._register_event_handler("on_before_disconnect", sync=True)

        connection.add_event_handler("connected", self._on_connected)
        connection.add_event_handler("closed", self._on_closed)
        connection.add_event_handler("call-state", self._on_call_state)

    def input(self) -> WhatsAppInputTransport:
        """The processor that gives what the caller says."""
        return self._input

    def output(self) -> WhatsAppOutputTransport:
        """The processor that speaks to the caller."""
        return self._output

    def get_client_id(self, client: Any) -> str:
        """The id of the caller's side, which is the call's id."""
        return self.call.id

    async def hang_up(self) -> None:
        """End the call from the bot's side. Audio still queued is not heard."""
        if self._hanging_up:
            return
        self._hanging_up = True
        await self._call_event_handler("on_before_disconnect")
        await self._connection.disconnect()

    async def _on_connected(self, connection: WhatsAppConnection) -> None:
        await self._call_event_handler("on_dialin_connected", self.call)
        await self._call_event_handler("on_client_connected", connection)
        await self._input.push_frame(ClientConnectedFrame())

    async def _on_closed(self, connection: WhatsAppConnection) -> None:
        cause = self.call.cause
        if cause is not None and cause.is_failure:
            await self._call_event_handler("on_error", f"{cause.value}: {self.call.detail}")
        if self._hanging_up:
            return
        self._hanging_up = True
        await self._call_event_handler("on_dialin_stopped", self.call)
        await self._call_event_handler("on_client_disconnected", connection)
        reason = cause.value if cause is not None else None
        await self._input.push_frame(EndWorkerFrame(reason=reason), FrameDirection.UPSTREAM)

    async def _on_call_state(self, connection: WhatsAppConnection, state: str) -> None:
        await self._call_event_handler("on_call_state_updated", state)


class WhatsAppInputTransport(BaseInputTransport):
    """Gives what the caller says, 20 ms at a time."""

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
        self._listening = params.audio_in_stream_on_start
        self._receive_task: asyncio.Task[None] | None = None

    async def start(self, frame: StartFrame) -> None:
        """Begin to listen."""
        await super().start(frame)
        await self.set_transport_ready(frame)
        if self._receive_task is None:
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

    async def _start_audio_in_streaming(self) -> None:
        self._listening = True

    async def _receive(self) -> None:
        # Read even what nobody wants to hear: aiortc queues it without bound.
        async for pcm in receive_audio(self._connection.caller_track, self.sample_rate):
            if self._listening:
                await self.push_audio_frame(
                    InputAudioRawFrame(audio=pcm, sample_rate=self.sample_rate, num_channels=1)
                )

    async def _stop_receiving(self) -> None:
        if self._receive_task is not None:
            task, self._receive_task = self._receive_task, None
            await self.cancel_task(task)


class WhatsAppOutputTransport(BaseOutputTransport):
    """Speaks to the caller, and hangs up when the pipeline ends."""

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
        self._sender: AudioSender | None = None

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Prepare the encoder. Nothing is sent before the call is accepted."""
        await super().setup(setup)
        bitrate = self._connection.offer.max_average_bitrate or DEFAULT_BITRATE
        self._sender = AudioSender(self.sample_rate, bitrate=bitrate)
        self._connection.replace_audio_track(self._sender)

    async def start(self, frame: StartFrame) -> None:
        """Every processor upstream has started: the call may be accepted."""
        await super().start(frame)
        await self.set_transport_ready(frame)
        if self._sender is not None:
            await self._connection.connect()
        else:
            # setup() has failed and said why; nobody shall be connected to a silent bot.
            await self.push_frame(EndWorkerFrame(reason="no sender"), FrameDirection.UPSTREAM)

    async def stop(self, frame: EndFrame) -> None:
        """Let the last word be heard, then hang up."""
        await super().stop(frame)
        if self._sender is not None and self._connection.is_connected():
            await self._sender.drain()
            await asyncio.sleep(LAST_WORD_SECONDS)
        await self._transport.hang_up()

    async def cancel(self, frame: CancelFrame) -> None:
        """Hang up at once."""
        await super().cancel(frame)
        await self._transport.hang_up()

    async def cleanup(self) -> None:
        """Release everything; a pipeline that ended in any other way hangs up here."""
        await super().cleanup()
        await self._transport.hang_up()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Drop unsent audio when the caller interrupts; the base class does the rest."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame) and self._sender is not None:
            self._sender.clear()

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Send audio; returns when all but its last 20 ms is on the wire.

        Returns:
            Whether the audio was taken: False once the call is over.
        """
        return self._sender is not None and await self._sender.write(frame.audio)
