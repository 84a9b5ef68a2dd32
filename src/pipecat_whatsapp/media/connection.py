"""A call's peer connection: `SmallWebRTCConnection` with Meta's ICE, DTLS and media rules.

It is the one thing that a call and a pipeline share. The pipeline's transport says through it that
it is ready (`connect()`) and that it hangs up (`disconnect()`); the call says that the far end can
hear (`open()`) and that it is over (`close()`). pipecat's own `SmallWebRTCTransport` speaks the
same words, so a bot written for it obeys the same law.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCDtlsTransport,
    RTCRtpSender,
    RTCSessionDescription,
)
from loguru import logger
from pipecat.transports.smallwebrtc.connection import IceServer, SmallWebRTCConnection

from pipecat_whatsapp.errors import ConfigError, SdpError
from pipecat_whatsapp.media.aiortc_private import ask_consent, ask_no_more, place_sockets
from pipecat_whatsapp.media.call_audio import CallAudio
from pipecat_whatsapp.media.interfaces import read_interfaces
from pipecat_whatsapp.media.network import ANYWHERE, Network, advertise, choose_addresses
from pipecat_whatsapp.media.quality import CallQuality, QualityMeter
from pipecat_whatsapp.media.receiver import AudioReceiver
from pipecat_whatsapp.media.sdp import RemoteDescription, read_answer, write_answer, write_offer
from pipecat_whatsapp.media.track_receiver import TrackReceiver

CLOSE_TIMEOUT = 1.0
"""Seconds that the peer connection gets to close before the rest goes on without it."""

_UNREADABLE = (ValueError, KeyError, IndexError, AttributeError, AssertionError)
"""What aiortc raises for a description that it cannot take."""


class LinkEvent(Enum):
    """What a connection tells its call.

    Parameters:
        ICE_UP: ICE is up, DTLS not yet.
        UP: ICE and DTLS are up.
        LOST: The link broke, or the far end closed it.
        BOT_READY: The pipeline has started.
        BOT_HUNG_UP: The pipeline wants the call to end.
        VOICE: In a call of ours that is not open yet, somebody speaks at the far end. Told once.
    """

    ICE_UP = "ICE up"
    UP = "up"
    LOST = "lost"
    BOT_READY = "bot ready"
    BOT_HUNG_UP = "bot hung up"
    VOICE = "voice"


class WhatsAppConnection(SmallWebRTCConnection):
    """The peer connection of one call.

    Of a user's call: `answer`, then `start_link`. Of a call of ours: `offer`, then `take_answer`.
    Sound flows, in either direction, from `open` on.

    Args:
        offer: The offer to answer; None for an offer of our own.
        observer: Told, synchronously, what happens to the link and what the bot wants.
        ice_servers: STUN and TURN servers, of which aiortc uses the first of each kind.
        network: Which ports and addresses the call uses.
        leftovers: Earlier attempts that still close in the background.

    Attributes:
        remote: The far end's offer or answer; None before its answer.
    """

    def __init__(
        self,
        offer: RemoteDescription | None,
        observer: Callable[[LinkEvent], None],
        *,
        ice_servers: Sequence[IceServer] = (),
        network: Network = ANYWHERE,
        leftovers: Sequence[asyncio.Task[None]] = (),
    ) -> None:
        super().__init__(ice_servers=list(ice_servers))
        self.remote = offer
        self._observer = observer
        self._network = network
        self._leftovers = leftovers
        self._audio = CallAudio(self.pc, self._on_voice if offer is None else None)
        self._answer_to_apply: RTCSessionDescription | None = None
        self._is_ready = False
        self._closing: asyncio.Task[None] | None = None
        self._register_event_handler("call-state")
        self._register_event_handler("quality")
        self._register_event_handler("goodbye")
        # The base class would warn of a data channel that a call never has.
        self.pc.remove_all_listeners("connectionstatechange")
        self.pc.on("connectionstatechange", self._on_connection_state)
        self.pc.on("iceconnectionstatechange", self._on_ice_state)

    async def answer(self) -> str:
        """Take the offer, and write the answer for pre-accept and accept.

        Raises:
            SdpError: aiortc cannot take the offer.
            ConfigError: The network is not as the settings want it.
        """
        assert self.remote is not None  # noqa: S101 - there is an offer to answer
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(self.remote.sdp, "offer"))
            self.force_transceivers_to_send_recv()
            self._place_sockets()
            await self._transport.transport.iceGatherer.gather()
            self._answer_to_apply = await self.pc.createAnswer()
            sdp = advertise(write_answer(self._answer_to_apply.sdp, self.remote), self._network)
            self._audio.describe(sdp)
        except _UNREADABLE as error:
            raise SdpError(
                f"The offer cannot be read ({type(error).__name__}); the call cannot take place."
            ) from error
        self._audio.agree(self.remote)
        return sdp

    async def start_link(self) -> None:
        """Bring ICE and DTLS up, once Meta has our answer.

        A ClientHello that comes before the answer is lost, and DTLS repeats it only after a
        second (Meta: calling troubleshooting; RFC 6347 section 4.2.4.1).
        """
        if self._answer_to_apply is not None and not self._is_closed:
            await self.pc.setLocalDescription(self._answer_to_apply)

    async def offer(self) -> str:
        """Write the offer for Meta's connect, complete with candidates.

        Raises:
            ConfigError: The network is not as the settings want it.
        """
        transceiver = self.pc.addTransceiver("audio", direction="sendrecv")
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "audio/opus"])
        self._place_sockets()
        await self.pc.setLocalDescription(await self.pc.createOffer())
        sdp = advertise(write_offer(self.pc.localDescription.sdp), self._network)
        self._audio.describe(sdp)
        return sdp

    async def take_answer(self, sdp: str) -> None:
        """Take Meta's answer to our offer, and bring ICE and DTLS up.

        The first answer counts; Meta repeats its webhooks.

        Raises:
            SdpError: It cannot carry the call.
        """
        if self.remote is not None or self._is_closed:
            return
        remote = read_answer(sdp)
        self._audio.agree(remote)
        self.remote = remote
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(remote.sdp, "answer"))
        except _UNREADABLE as error:
            raise SdpError(
                f"The answer cannot be used ({type(error).__name__}); the call cannot take place."
            ) from error

    async def connect(self) -> None:
        """The pipeline has started: sound may flow as soon as the far end can hear."""
        if not self._is_ready:
            self._is_ready = True
            self._observer(LinkEvent.BOT_READY)
        if self.is_connected():
            await self._call_event_handler("connected")

    async def open(self) -> None:
        """The call is accepted, or picked up: sound may flow, and the far end can hear."""
        self._audio.open()
        if self._is_ready:
            await self._call_event_handler("connected")

    async def disconnect(self) -> None:
        """The pipeline hangs up, or has ended."""
        if not self._is_closed:
            self._observer(LinkEvent.BOT_HUNG_UP)
        await self.close()

    async def close(self) -> None:
        """Close the peer connection. Safe to repeat; whoever asks waits, and may be cancelled."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close_once())
        await asyncio.shield(self._closing)

    async def _close_once(self) -> None:
        await self._audio.stop()
        await self._close_peer()
        await self._call_event_handler("closed")

    async def _close_peer(self) -> None:
        """Close it here; a TURN server that has gone is not waited for."""
        for receiver in self.pc.getReceivers():
            ask_no_more(receiver.transport)
        closing = asyncio.create_task(self._disconnect())
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)
        if not closing.done():
            self._leftovers = [*self._leftovers, closing]

    async def _disconnect(self) -> None:
        transceivers = self.pc.getTransceivers()
        await super().disconnect()
        # aiortc starts them all the same when the link comes up while it is closed.
        await asyncio.sleep(0)
        for transceiver in transceivers:
            await transceiver.sender.stop()
            await transceiver.receiver.stop()

    async def release(self) -> None:
        """Wait until everything that may hang on a dead server is put away."""
        await asyncio.shield(asyncio.gather(*self._leftovers))

    async def announce(self, state: str) -> None:
        """Tell the transport that the call's state has changed."""
        await self._call_event_handler("call-state", state)

    async def say_goodbye(self) -> None:
        """Tell the transport that our side is about to end the call."""
        await self._call_event_handler("goodbye")

    def is_connected(self) -> bool:
        """Whether the far end can hear: the link is up and the call is open."""
        return self._audio.is_open and self.pc.connectionState == "connected"

    def create_receiver(self) -> AudioReceiver | TrackReceiver:
        """What hears the far end, from `open` on."""
        return self._audio.create_receiver()

    def replace_audio_track(self, track: MediaStreamTrack) -> None:
        """Send this track, from `open` on."""
        super().replace_audio_track(self._audio.gate(track))

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
        quality, packets = await self._audio.review(meter)
        await self._call_event_handler("quality", quality)
        return quality, packets

    async def has_consent(self) -> bool | None:
        """Whether the far end answers when asked by STUN; None when it cannot be asked."""
        return await ask_consent(self._transport)

    @property
    def _is_closed(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing is not None

    @property
    def _transport(self) -> RTCDtlsTransport:
        return self.pc.getReceivers()[0].transport

    def _place_sockets(self) -> None:
        addresses = choose_addresses(read_interfaces(), self._network)
        placed = place_sockets(self._transport, addresses, self._network.ports)
        if not placed and self._network != ANYWHERE:
            raise ConfigError(
                "This aiortc opens its sockets where it wants to, not where the settings say: use "
                "a tested version of it, or drop WHATSAPP_UDP_PORTS, WHATSAPP_RELAY_ONLY and the "
                "like."
            )

    def _on_voice(self) -> None:
        if not self._is_closed:
            self._observer(LinkEvent.VOICE)

    def _on_ice_state(self) -> None:
        if self.pc.iceConnectionState == "completed" and not self._is_closed:
            self._observer(LinkEvent.ICE_UP)

    def _on_connection_state(self) -> None:
        state = self.pc.connectionState
        logger.debug("Link is {}", state)
        if self._is_closed:
            return
        if state == "connected":
            self._audio.linked()
            self._observer(LinkEvent.UP)
        elif state in ("failed", "closed"):
            self._observer(LinkEvent.LOST)
