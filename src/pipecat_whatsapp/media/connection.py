"""A call's peer connection: `SmallWebRTCConnection` with Meta's ICE, DTLS and media rules.

It is the one thing that a call and a pipeline share. The pipeline's transport says through it that
it is ready (`connect()`) and that it hangs up (`disconnect()`); the call says that the caller can
hear (`open()`) and that it is over (`close()`). pipecat's own `SmallWebRTCTransport` speaks the
same words, so a bot written for it obeys the same law.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from aiortc import MediaStreamTrack, RTCSessionDescription, RTCTransportStats
from loguru import logger
from pipecat.transports.smallwebrtc.connection import IceServer, SmallWebRTCConnection

from pipecat_whatsapp.errors import SdpError
from pipecat_whatsapp.media.sdp import Offer, write_answer

GATHERING_TIMEOUT = 2.0
"""Seconds that one STUN or TURN server gets. aiortc itself would wait for 5."""


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
        self._opened = asyncio.Event()
        self._outgoing: _GatedTrack | None = None
        self._is_ready = False
        self._is_closed = False
        self._register_event_handler("call-state")
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
            await self.pc.getReceivers()[0].transport.transport.iceGatherer.gather()
            self._answer_to_apply = await self.pc.createAnswer()
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
        await super().disconnect()
        await self._call_event_handler("closed")
        await asyncio.gather(*self._leftovers)

    async def announce(self, state: str) -> None:
        """Tell the transport that the call's state has changed."""
        await self._call_event_handler("call-state", state)

    def is_connected(self) -> bool:
        """Whether the caller can hear: the link is up and accept was answered 200."""
        return self._opened.is_set() and self.pc.connectionState == "connected"

    def replace_audio_track(self, track: MediaStreamTrack) -> None:
        """Send this track, once accept was answered 200."""
        self._outgoing = _GatedTrack(track, self._opened)
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

    @property
    def caller_track(self) -> MediaStreamTrack:
        """The track of what the caller says."""
        return self.pc.getReceivers()[0].track

    async def packets_received(self) -> int:
        """How many RTP, RTCP and DTLS packets have come from the caller's side."""
        report = await self.pc.getStats()
        return sum(s.packetsReceived for s in report.values() if isinstance(s, RTCTransportStats))

    def _on_connection_state(self) -> None:
        state = self.pc.connectionState
        logger.debug("Link is {}", state)
        if self._is_closed:
            return
        if state == "connected":
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


async def answer_offer(
    offer: Offer,
    observer: Callable[[LinkEvent], None],
    *,
    ice_servers: Sequence[IceServer] = (),
) -> tuple[WhatsAppConnection, str]:
    """Open a connection that answers an offer.

    aiortc uses one TURN server only and says nothing when it fails, so each is tried in turn until
    one gives a relay; without any, the host's own addresses serve.

    Returns:
        The connection, and the answer.

    Raises:
        SdpError: The offer cannot be read.
    """
    leftovers: list[asyncio.Task[None]] = []
    for servers in _attempts(ice_servers):
        connection = WhatsAppConnection(
            offer, observer, ice_servers=servers, leftovers=tuple(leftovers)
        )
        # Shielded, because aiortc loses the sockets of a gathering that is cancelled.
        answering = asyncio.create_task(connection.answer())
        try:
            answer = await asyncio.wait_for(
                asyncio.shield(answering), GATHERING_TIMEOUT if servers else None
            )
        except TimeoutError:
            logger.warning("No answer from {} in {} s", _names(servers), GATHERING_TIMEOUT)
        except BaseException:
            await _discard(connection, answering)
            raise
        else:
            if not any(map(_is_turn, servers)) or " typ relay" in answer:
                return connection, answer
            logger.warning("No relay from {}", _names(servers))
        leftovers.append(asyncio.create_task(_discard(connection, answering)))
    raise AssertionError("the last attempt uses no server")  # pragma: no cover


async def _discard(connection: WhatsAppConnection, answering: asyncio.Task[str]) -> None:
    """Close a connection that no call will see, once it has finished gathering."""
    await asyncio.gather(answering, return_exceptions=True)
    await connection.close()


def _attempts(ice_servers: Sequence[IceServer]) -> list[list[IceServer]]:
    """Servers to try together, in order: each TURN URL with the STUN servers, then none."""
    urls = [
        IceServer(url, server.username, server.credential, server.credentialType)
        for server in ice_servers
        for url in ([server.urls] if isinstance(server.urls, str) else server.urls)
    ]
    stun = [server for server in urls if not _is_turn(server)]
    turn = [server for server in urls if _is_turn(server)]
    attempts = [[*stun, server] for server in turn] or ([stun] if stun else [])
    return [*attempts, []]


def _is_turn(server: IceServer) -> bool:
    return str(server.urls).startswith(("turn:", "turns:"))


def _names(servers: Sequence[IceServer]) -> str:
    return ", ".join(str(server.urls) for server in servers)
