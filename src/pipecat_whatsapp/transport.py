"""The pipecat face of a WhatsApp call: a transport with an input and an output."""

from __future__ import annotations

from typing import Any

from pipecat.frames.frames import ClientConnectedFrame, EndWorkerFrame, MetricsFrame
from pipecat.metrics.metrics import MetricsData
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_transport import BaseTransport

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.media.connection import WhatsAppConnection
from pipecat_whatsapp.media.quality import CallQuality
from pipecat_whatsapp.meta.events import Direction
from pipecat_whatsapp.params import WhatsAppParams
from pipecat_whatsapp.transport_input import WhatsAppInputTransport
from pipecat_whatsapp.transport_output import WhatsAppOutputTransport

__all__ = ["CallQualityMetricsData", "WhatsAppParams", "WhatsAppTransport"]

METRICS_EVERY = 5
"""Seconds, and so reviews of a call's quality, between two metrics frames."""

RELIEF = 0.2
"""Mean opinion score above the threshold from which quality is good again."""


class CallQualityMetricsData(MetricsData):
    """A call's quality, in a `MetricsFrame` every `METRICS_EVERY` seconds.

    Parameters:
        value: The figures so far.
    """

    value: CallQuality


class WhatsAppTransport(BaseTransport):
    """Carries one WhatsApp call through a pipeline.

    Event handlers available:

    - on_client_connected(transport, connection): the user can hear the bot from now on: our
      accept was answered, or the user called has picked up
    - on_client_disconnected(transport, connection): the user, or WhatsApp, ended the call
    - on_call_state_updated(transport, state): "connecting", "alerting", "active", "ended", ...
    - on_dtmf_event(transport, data): the user pressed the key data["tone"]; an
      `InputDTMFFrame` follows for keys that pipecat knows
    - on_quality_low(transport, quality): the user has lately been hard to understand
    - on_dialin_connected(transport, call), on_dialout_answered(transport, call): as
      on_client_connected, for a user's call and for one of ours; Daily's names, with the call
    - on_dialin_stopped(transport, call), on_dialout_stopped(transport, call): as
      on_client_disconnected
    - on_goodbye(transport): the process is ending, and this call with it in a few seconds
    - on_before_disconnect(transport): the bot is about to hang up; awaited
    - on_error(transport, error): the call ended because something went wrong

    Args:
        connection: The call's peer connection (`runner_args.webrtc_connection`).
        call: The call (`runner_args.call`).
        contact: The user on the other side, to send messages to (`runner_args.contact`).
        params: Transport parameters.
        input_name: Name of the input processor.
        output_name: Name of the output processor.
    """

    def __init__(
        self,
        connection: WhatsAppConnection,
        call: Call,
        contact: Contact,
        params: WhatsAppParams | None = None,
        *,
        input_name: str | None = None,
        output_name: str | None = None,
    ) -> None:
        super().__init__(input_name=input_name, output_name=output_name)
        self.call = call
        self.contact = contact
        params = params or WhatsAppParams()
        self._connection = connection
        self._quality_threshold = params.quality_threshold
        self._quality_is_low = False
        self._reviews = 0
        self._hanging_up = False
        self._input = WhatsAppInputTransport(self, connection, params, name=input_name)
        self._output = WhatsAppOutputTransport(self, connection, params, name=output_name)

        for event in (
            "on_client_connected",
            "on_client_disconnected",
            "on_call_state_updated",
            "on_dtmf_event",
            "on_quality_low",
            "on_dialin_connected",
            "on_dialin_stopped",
            "on_dialout_answered",
            "on_dialout_stopped",
            "on_goodbye",
            "on_error",
        ):
            self._register_event_handler(event)
        self._register_event_handler("on_before_disconnect", sync=True)

        connection.add_event_handler("connected", self._on_connected)
        connection.add_event_handler("closed", self._on_closed)
        connection.add_event_handler("call-state", self._on_call_state)
        connection.add_event_handler("quality", self._on_quality)
        connection.add_event_handler("goodbye", self._on_goodbye)

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

    async def on_key(self, key: str) -> None:
        """Tell the handlers of a key that the caller pressed."""
        await self._call_event_handler("on_dtmf_event", {"tone": key})

    async def _on_connected(self, connection: WhatsAppConnection) -> None:
        await self._call_event_handler(self._daily_name("connected", "answered"), self.call)
        await self._call_event_handler("on_client_connected", connection)
        await self._input.push_frame(ClientConnectedFrame())

    async def _on_closed(self, connection: WhatsAppConnection) -> None:
        cause = self.call.cause
        if cause is not None and cause.is_failure:
            await self._call_event_handler("on_error", f"{cause.value}: {self.call.detail}")
        if self._hanging_up:
            return
        self._hanging_up = True
        await self._call_event_handler(self._daily_name("stopped", "stopped"), self.call)
        await self._call_event_handler("on_client_disconnected", connection)
        reason = cause.value if cause is not None else None
        await self._input.push_frame(EndWorkerFrame(reason=reason), FrameDirection.UPSTREAM)

    def _daily_name(self, inbound: str, outbound: str) -> str:
        """Daily's name of an event, which depends on who placed the call."""
        is_inbound = self.call.direction is Direction.INBOUND
        return f"on_dialin_{inbound}" if is_inbound else f"on_dialout_{outbound}"

    async def _on_call_state(self, connection: WhatsAppConnection, state: str) -> None:
        await self._call_event_handler("on_call_state_updated", state)

    async def _on_goodbye(self, _: WhatsAppConnection) -> None:
        await self._call_event_handler("on_goodbye")

    async def _on_quality(self, connection: WhatsAppConnection, quality: CallQuality) -> None:
        self._reviews += 1
        if self._reviews % METRICS_EVERY == 0 and self._input.metrics_enabled:
            data = CallQualityMetricsData(processor=self._input.name, value=quality)
            await self._input.push_frame(MetricsFrame(data=[data]))
        if quality.mos_lately is None:
            return
        was_low = self._quality_is_low
        limit = self._quality_threshold + (RELIEF if was_low else 0.0)
        self._quality_is_low = quality.mos_lately < limit
        if self._quality_is_low and not was_low:
            await self._call_event_handler("on_quality_low", quality)
