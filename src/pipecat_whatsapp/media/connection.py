"""A call's peer connection: `SmallWebRTCConnection` with Meta's ICE, DTLS and media rules.

It is the one thing that a call and a pipeline share. The pipeline's transport says through it that
it is ready (`connect()`) and that it hangs up (`disconnect()`); the call says that the caller can
hear (`open()`) and that it is over (`close()`). pipecat's own `SmallWebRTCTransport` speaks the
same words, so a bot written for it obeys the same law.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCDtlsTransport,
    RTCRemoteInboundRtpStreamStats,
    RTCSessionDescription,
    RTCStatsReport,
    RTCTransportStats,
)
from loguru import logger
from pipecat.transports.smallwebrtc.connection import IceServer, SmallWebRTCConnection

from pipecat_whatsapp.errors import SdpError
from pipecat_whatsapp.media.aiortc_private import Send, ask_consent, open_rtp_door
from pipecat_whatsapp.media.quality import CallQuality, QualityMeter, find_stats
from pipecat_whatsapp.media.receiver import AudioReceiver
from pipecat_whatsapp.media.rtp import receiver_report, source_description
from pipecat_whatsapp.media.sdp import Offer, read_source, write_answer
from pipecat_whatsapp.media.sender import AudioSender
from pipecat_whatsapp.media.track_receiver import TrackReceiver


class LinkEvent(Enum):
    """What a connection tells its call.

    Parameters:
        UP: ICE and DTLS are up.
        LOST: The link broke, or the far end closed it.
        BOT_READY: The pipeline has started.
        BOT_HUNG_UP: The pipeline wants the call to end.
    """

    UP = "up"
    LOST = "lost"
    BOT_READY = "bot ready"
    BOT_HUNG_UP = "bot hung up"


class WhatsAppConnection(SmallWebRTCConnection):
    """The peer connection of one call.

    Args:
        offer: The offer to answer.
        observer: Told, synchronously, what happens to the link and what the bot wants.
        ice_servers: STUN and TURN servers, of which aiortc uses the first of each kind.
        leftovers: Earlier attempts that still close in the background.
    """

    def __init__(
        self,
        offer: Offer,
        observer: Callable[[LinkEvent], None],
        *,
        ice_servers: Sequence[IceServer] = (),
        leftovers: Sequence[asyncio.Task[None]] = (),
    ) -> None:
        super().__init__(ice_servers=list(ice_servers))
        self.offer = offer
        self._observer = observer
        self._leftovers = leftovers
        self._answer_to_apply: RTCSessionDescription | None = None
        self._source = (0, "")
        self._opened = asyncio.Event()
        self._outgoing: _GatedTrack | None = None
        self._sender: AudioSender | None = None
        self._receiver: AudioReceiver | TrackReceiver | None = None
        self._send_rtcp: Send | None = None
        self._setting_aside: asyncio.Task[None] | None = None
        self._last_report: object = None
        self._is_ready = False
        self._is_closed = False
        self._register_event_handler("call-state")
        self._register_event_handler("quality")
        # The base class would warn of a data channel that a call never has.
        self.pc.remove_all_listeners("connectionstatechange")
        self.pc.on("connectionstatechange", self._on_connection_state)

    async def answer(self) -> str:
        """Take the offer, and write the answer for pre-accept and accept.

        Raises:
            SdpError: aiortc cannot take the offer.
        """
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(self.offer.sdp, "offer"))
            self.force_transceivers_to_send_recv()
            await self._transport.transport.iceGatherer.gather()
            self._answer_to_apply = await self.pc.createAnswer()
            self._source = read_source(self._answer_to_apply.sdp)
        except (ValueError, KeyError, IndexError, AttributeError, AssertionError) as error:
            raise SdpError(
                f"The offer cannot be read ({type(error).__name__}); the call is rejected."
            ) from error
        return write_answer(self._answer_to_apply.sdp, self.offer)

    async def start_link(self) -> None:
        """Bring ICE and DTLS up, once Meta has our answer.

        A ClientHello that comes before the answer is lost, and DTLS repeats it only after a
        second (Meta: calling troubleshooting; RFC 6347 section 4.2.4.1).
        """
        if self._answer_to_apply is not None and not self._is_closed:
            await self.pc.setLocalDescription(self._answer_to_apply)

    async def connect(self) -> None:
        """The pipeline has started: the call may be accepted."""
        if not self._is_ready:
            self._is_ready = True
            self._observer(LinkEvent.BOT_READY)
        if self.is_connected():
            await self._call_event_handler("connected")

    async def open(self) -> None:
        """Accept was answered 200: sound may flow, and the caller can hear."""
        self._opened.set()
        if self._is_ready:
            await self._call_event_handler("connected")

    async def disconnect(self) -> None:
        """The pipeline hangs up, or has ended."""
        if not self._is_closed:
            self._observer(LinkEvent.BOT_HUNG_UP)
        await self.close()

    async def close(self) -> None:
        """Close the peer connection. Safe to repeat."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._outgoing is not None:
            self._outgoing.stop()
        if self._receiver is not None:
            self._receiver.stop()
        if self._setting_aside is not None:
            await self._setting_aside
        await super().disconnect()
        await self._call_event_handler("closed")

    async def release(self) -> None:
        """Wait until earlier attempts to answer, which may hang on a dead server, are put away."""
        await asyncio.shield(asyncio.gather(*self._leftovers))

    async def announce(self, state: str) -> None:
        """Tell the transport that the call's state has changed."""
        await self._call_event_handler("call-state", state)

    def is_connected(self) -> bool:
        """Whether the caller can hear: the link is up and accept was answered 200."""
        return self._opened.is_set() and self.pc.connectionState == "connected"

    def create_receiver(self) -> AudioReceiver | TrackReceiver:
        """What hears the caller, in aiortc's place as far as this aiortc lets it."""
        receiver = AudioReceiver(self.offer)
        self._send_rtcp = open_rtp_door(
            self._transport,
            on_rtp=receiver.receive,
            on_rtcp=receiver.receive_rtcp,
            outgoing=self._stamp,
        )
        if self._send_rtcp is None:
            self._receiver = TrackReceiver(self.pc.getReceivers()[0].track)
        else:
            self._receiver = receiver
            self._set_aiortc_aside()
        return self._receiver

    @property
    def telephone_event_payload_type(self) -> int | None:
        """What key presses are sent as; None when they cannot be sent."""
        return self.offer.telephone_event_payload_type if self._send_rtcp else None

    def replace_audio_track(self, track: MediaStreamTrack) -> None:
        """Send this track, once accept was answered 200."""
        self._outgoing = _GatedTrack(track, self._opened)
        self._sender = track if isinstance(track, AudioSender) else None
        super().replace_audio_track(self._outgoing)

    def send_app_message(self, message: Any) -> None:
        """Drop the message: a phone call has no data channel."""

    # A phone call has no video either; the base class would warn of each missing transceiver.

    def video_input_track(self) -> None:
        """No camera."""

    def screen_video_input_track(self) -> None:
        """No screen."""

    def replace_video_track(self, track: MediaStreamTrack) -> None:
        """Drop the track."""

    async def review(self, meter: QualityMeter) -> tuple[CallQuality, int]:
        """Report to the far end, follow what it reports, and measure; to be done once a second.

        Args:
            meter: Makes the figures.

        Returns:
            The figures, and how many RTP, RTCP and DTLS packets have come from the far end.
        """
        await self._report()
        if self._sender is not None:
            self._sender.ease()
        stats = await self.pc.getStats()
        self._adapt(stats)
        quality = meter.assess(
            self._receiver.statistics() if isinstance(self._receiver, AudioReceiver) else None,
            stats,
            now=asyncio.get_running_loop().time(),
            first_audio_out=self._sender.first_audio if self._sender else None,
        )
        await self._call_event_handler("quality", quality)
        transports = (s for s in stats.values() if isinstance(s, RTCTransportStats))
        return quality, sum(transport.packetsReceived for transport in transports)

    async def has_consent(self) -> bool | None:
        """Whether the far end answers when asked by STUN; None when it cannot be asked."""
        return await ask_consent(self._transport)

    @property
    def _transport(self) -> RTCDtlsTransport:
        return self.pc.getReceivers()[0].transport

    def _stamp(self, packet: bytes) -> bytes | None:
        return packet if self._sender is None else self._sender.stamp(packet)

    def _set_aiortc_aside(self) -> None:
        """End aiortc's own receiver, with its thread, once it has begun."""
        if self.pc.connectionState == "connected" and self._send_rtcp is not None:
            self._setting_aside = asyncio.create_task(self.pc.getReceivers()[0].stop())

    async def _report(self) -> None:
        """Tell the far end what came of its stream: aiortc's receiver would have."""
        if self._send_rtcp is None or not isinstance(self._receiver, AudioReceiver):
            return
        if blocks := self._receiver.reports():
            ssrc, cname = self._source
            with contextlib.suppress(ConnectionError):
                await self._send_rtcp(
                    receiver_report(ssrc, blocks) + source_description(ssrc, cname)
                )

    def _adapt(self, stats: RTCStatsReport) -> None:
        """Let the encoder follow the far end's newest report."""
        report = find_stats(stats, RTCRemoteInboundRtpStreamStats)
        if report is None or self._sender is None or report.timestamp == self._last_report:
            return
        self._last_report = report.timestamp
        self._sender.follow(report.fractionLost / 256)

    def _on_connection_state(self) -> None:
        state = self.pc.connectionState
        logger.debug("Link is {}", state)
        if self._is_closed:
            return
        if state == "connected":
            self._set_aiortc_aside()
            self._observer(LinkEvent.UP)
        elif state in ("failed", "closed"):
            self._observer(LinkEvent.LOST)


class _GatedTrack(MediaStreamTrack):
    """Holds a track back until a gate opens: nothing is sent before accept's 200."""

    kind = "audio"

    def __init__(self, track: MediaStreamTrack, gate: asyncio.Event) -> None:
        super().__init__()
        self._track = track
        self._gate = gate

    async def recv(self) -> Any:
        await self._gate.wait()
        return await self._track.recv()

    def stop(self) -> None:
        super().stop()
        self._track.stop()
