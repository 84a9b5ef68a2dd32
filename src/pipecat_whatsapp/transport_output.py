"""What the bot says and presses, on its way to the caller."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    EndWorkerFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
    StartFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.transports.base_output import BaseOutputTransport

from pipecat_whatsapp.media.connection import WhatsAppConnection
from pipecat_whatsapp.media.opus import create_encoder
from pipecat_whatsapp.media.rate import RateControl
from pipecat_whatsapp.media.resampler import Resampler
from pipecat_whatsapp.media.sender import AudioSender
from pipecat_whatsapp.params import WhatsAppParams

if TYPE_CHECKING:
    from pipecat_whatsapp.transport import WhatsAppTransport

LAST_WORD_SECONDS = 0.3
"""From the last word on the wire to the hang-up: Meta's relay and the phone still play it."""


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
        self._whatsapp_params = params
        self._sender: AudioSender | None = None
        self._resampler: Resampler | None = None
        self._clearable = True

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Prepare the encoder. Nothing is sent before the far end can hear."""
        await super().setup(setup)
        params = self._whatsapp_params
        rate = RateControl(params.audio_out_bitrate, min_loss=params.audio_out_expected_loss)
        encoder = create_encoder(
            self.sample_rate,
            bitrate=rate.bitrate,
            expected_loss=rate.expected_loss,
            complexity=params.audio_out_complexity,
            dtx=params.audio_out_dtx,
        )
        self._sender = AudioSender(
            encoder,
            self.sample_rate,
            rate=rate,
            max_complexity=params.audio_out_complexity,
            dtx=params.audio_out_dtx,
        )
        self._resampler = Resampler(self.sample_rate)
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
            await self._sender.released()
            await asyncio.sleep(LAST_WORD_SECONDS)
        await self._transport.hang_up()

    async def cancel(self, frame: CancelFrame) -> None:
        """Hang up at once."""
        await super().cancel(frame)
        await self._transport.hang_up()

    async def cleanup(self) -> None:
        """Release everything; a pipeline that ended in any other way hangs up here."""
        await super().cleanup()
        self._resampler = None
        await self._transport.hang_up()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Drop unsent audio when the caller interrupts; the base class does the rest.

        Audio of another rate is converted here, because the base class would hold it back.
        """
        if isinstance(frame, OutputAudioRawFrame) and direction is FrameDirection.DOWNSTREAM:
            frame = self._at_our_rate(frame)
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame) and self._sender is not None and self._clearable:
            self._sender.clear()

    def _at_our_rate(self, frame: OutputAudioRawFrame) -> OutputAudioRawFrame:
        is_ours = (frame.sample_rate, frame.num_channels) == (self.sample_rate, 1)
        if self._resampler is None or is_ours or not frame.audio or frame.num_channels > 2:
            return frame
        converted = copy.copy(frame)
        converted.audio = self._resampler.resample(
            frame.audio, frame.sample_rate, frame.num_channels
        )
        converted.sample_rate, converted.num_channels = self.sample_rate, 1
        converted.num_frames = len(converted.audio) // 2
        return converted

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Send audio; returns when all but its last 20 ms is on the wire.

        Returns:
            Whether the audio was taken: False once the call is over.
        """
        if self._sender is None:
            return False
        # pipecat before 1.12 marks what must be heard in full in another way, and never audio.
        self._clearable = getattr(frame, "interruptible", True)
        return await self._sender.write(frame.audio)

    def _supports_native_dtmf(self) -> bool:
        return self._sender is not None and self._sender.sends_keys

    async def _write_dtmf_native(self, frame: OutputDTMFFrame | OutputDTMFUrgentFrame) -> None:
        if self._sender is None:
            return
        if isinstance(frame, OutputDTMFUrgentFrame):
            # Not waited for: it would hold up the interruption or the end that comes behind it.
            self._sender.press(frame.to_string())
        else:
            await self._sender.drain()
            self._sender.press(frame.to_string())
            await self._sender.released()
