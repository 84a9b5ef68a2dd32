"""WhatsApp's end of a call's media: one UDP socket that speaks ICE-lite, DTLS and SRTP.

As Meta's relay it never starts anything by itself: it answers STUN checks, takes the address of the
nominated one for its peer, and lets DTLS datagrams fall that come before the business's answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pylibsrtp
from aioice import stun

from pipecat_whatsapp.media.rtp import is_rtcp
from pipecat_whatsapp.simulator.dtls import Dtls, Identity
from pipecat_whatsapp.simulator.network import Network, Way
from pipecat_whatsapp.simulator.offer import (
    Answer,
    Place,
    ice_credentials,
    write_answer,
    write_offer,
)

Address = tuple[str, int]


class LiteEndpoint(asyncio.DatagramProtocol):
    """The relay's end of one call. Make one with `open`.

    Attributes:
        ufrag: Our ICE user name fragment.
        pwd: Our ICE password.
        fingerprint: SHA-256 of our certificate, as SDP writes it.
        discarded: Media packets that SRTP refused: forged, broken, or there before (a replay).
        nominated_at: When ICE had found the path, monotonic s; None before.
        connected_at: When SRTP keys were agreed, monotonic s; None before.
        on_connected: Called once when SRTP keys are agreed.
        on_rtp: Called with each decrypted RTP packet and its monotonic time of arrival, s.
        on_rtcp: Called with each decrypted RTCP packet.
        on_closed: Called once when the business ends DTLS ("close_notify"), or when the handshake
            fails, with a sentence that says why.
    """

    def __init__(self, network: Network | None = None) -> None:
        self.ufrag, self.pwd = ice_credentials()
        self._identity = Identity()
        self.fingerprint = self._identity.fingerprint
        self.discarded = 0
        self.nominated_at: float | None = None
        self.connected_at: float | None = None
        self.on_connected: Callable[[], None] = lambda: None
        self.on_rtp: Callable[[bytes, float], None] = lambda _packet, _arrival: None
        self.on_rtcp: Callable[[bytes], None] = lambda _packet: None
        self.on_closed: Callable[[str], None] = lambda _reason: None
        self._network = network or Network()
        self._loop = asyncio.get_running_loop()
        self._in_flight: set[asyncio.TimerHandle] = set()
        self._answer: Answer | None = None
        self._dtls: Dtls | None = None
        self._peer: Address | None = None

    @classmethod
    async def open(cls, host: str = "127.0.0.1", network: Network | None = None) -> LiteEndpoint:
        """Open an endpoint on a free UDP port.

        Args:
            host: The address to bind, and to offer.
            network: What happens to its packets; nothing by default.

        Raises:
            OSError: The address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        _, endpoint = await loop.create_datagram_endpoint(
            lambda: cls(network), local_addr=(host, 0)
        )
        return endpoint

    @property
    def host(self) -> str:
        """The address of the socket."""
        return str(self._transport.get_extra_info("sockname")[0])

    @property
    def port(self) -> int:
        """The UDP port of the socket."""
        return int(self._transport.get_extra_info("sockname")[1])

    @property
    def connected(self) -> bool:
        """Whether SRTP keys are agreed."""
        return self._dtls is not None and self._dtls.keys is not None

    def offer(self, ssrc: int, variant: str = "today") -> str:
        """Write an offer of this endpoint, as WhatsApp does.

        Args:
            ssrc: The SSRC of what will be sent.
            variant: See `write_offer`.

        Raises:
            ValueError: There is no such variant.
        """
        return write_offer(ssrc=ssrc, variant=variant, **self._place)

    def answer(self, offer_sdp: str, ssrc: int, setup: str) -> str:
        """Write this endpoint's answer to a business that calls.

        Args:
            offer_sdp: The business's offer.
            ssrc: The SSRC of what will be sent.
            setup: See `write_answer`.

        Raises:
            AnswerError: The offer cannot carry a call.
        """
        return write_answer(offer_sdp, ssrc=ssrc, setup=setup, **self._place)

    def start(self, answer: Answer) -> None:
        """Let DTLS begin, now that the business's answer is known.

        Args:
            answer: `active` makes us the DTLS server, `passive` the client (RFC 5763 section 5).
        """
        self._answer = answer
        self._dtls = Dtls(
            self._identity,
            server=answer.setup == "active",
            fingerprint=answer.fingerprint,
            send=self._send,
            on_ready=self._note_connected,
            on_closed=lambda reason: self.on_closed(reason),
        )
        if self._peer is not None:
            self._dtls.start()

    def send_rtp(self, packet: bytes) -> None:
        """Protect and send one RTP packet; before the connection is up it is dropped."""
        if self._dtls is not None and self._dtls.keys is not None and not self._network.rtp_down:
            self._send_media(self._dtls.keys.outgoing.protect(packet))

    def send_rtcp(self, packet: bytes) -> None:
        """Protect and send one compound RTCP packet; before the connection is up it is dropped."""
        if self._dtls is not None and self._dtls.keys is not None:
            self._send_media(self._dtls.keys.outgoing.protect_rtcp(packet))

    async def close(self) -> None:
        """Let what is on its way arrive, say close_notify, and close the socket."""
        if self._transport.is_closing():
            return
        arrivals = [handle.when() for handle in self._in_flight]
        await asyncio.sleep(max(arrivals, default=0.0) - self._loop.time())
        if self._dtls is not None:
            self._dtls.close()
        self.vanish()

    def vanish(self) -> None:
        """Close the socket without a word."""
        if self._dtls is not None:
            self._dtls.abandon()
        for handle in self._in_flight:
            handle.cancel()
        self._in_flight.clear()
        self._transport.close()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """The socket is open (asyncio)."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """A datagram came in (asyncio); RFC 7983 tells its kind by the first byte."""
        if not data or self._network.down:
            return
        if data[0] < 4:
            self._answer_check(data, addr)
        elif addr[:2] != self._peer:
            return
        elif 20 <= data[0] < 64 and self._dtls is not None:
            self._dtls.receive(data)
        elif 128 <= data[0] < 192:
            self._travel(Way.TO_PHONE, lambda: self._receive_media(data))

    @property
    def _place(self) -> Place:
        return {
            "host": self.host,
            "port": self.port,
            "ufrag": self.ufrag,
            "pwd": self.pwd,
            "fingerprint": self.fingerprint,
        }

    def _answer_check(self, data: bytes, addr: Address) -> None:
        try:
            request = stun.parse_message(data)
        except ValueError:
            return
        if (request.message_method, request.message_class) != (
            stun.Method.BINDING,
            stun.Class.REQUEST,
        ):
            return
        trusted = self._trusts(request)
        self._transport.sendto(bytes(self._reply(request, addr, trusted=trusted)), addr)
        if trusted and "USE-CANDIDATE" in request.attributes:
            self._nominate(addr[:2])

    def _trusts(self, request: stun.Message) -> bool:
        ours, _, theirs = request.attributes.get("USERNAME", "").partition(":")
        known = self._answer is None or theirs == self._answer.ufrag
        key = self.pwd.encode()
        return ours == self.ufrag and known and request.check_message_integrity(key)

    def _reply(self, request: stun.Message, addr: Address, *, trusted: bool) -> stun.Message:
        """RFC 8489 sections 6.3.1 and 9.1.3."""
        kind = stun.Class.RESPONSE if trusted else stun.Class.ERROR
        reply = stun.Message(stun.Method.BINDING, kind, request.transaction_id)
        if trusted:
            reply.attributes["XOR-MAPPED-ADDRESS"] = addr[:2]
            reply.add_message_integrity(self.pwd.encode())
        else:
            reply.attributes["ERROR-CODE"] = (401, "Unauthenticated")
            reply.add_fingerprint()
        return reply

    def _nominate(self, addr: Address) -> None:
        first, self._peer = self._peer is None, addr
        if not first:
            return
        self.nominated_at = time.monotonic()
        if self._dtls is not None:
            self._dtls.start()

    def _note_connected(self) -> None:
        self.connected_at = time.monotonic()
        self.on_connected()

    def _receive_media(self, data: bytes) -> None:
        if self._dtls is None or self._dtls.keys is None:
            return
        incoming = self._dtls.keys.incoming
        try:
            if is_rtcp(data):
                self.on_rtcp(incoming.unprotect_rtcp(data))
            else:
                self.on_rtp(incoming.unprotect(data), time.monotonic())
        except pylibsrtp.Error:
            self.discarded += 1

    def _send(self, data: bytes) -> None:
        if self._peer and not self._network.down and not self._transport.is_closing():
            self._transport.sendto(data, self._peer)

    def _send_media(self, data: bytes) -> None:
        self._travel(Way.TO_BUSINESS, lambda: self._send(data))

    def _travel(self, way: Way, arrive: Callable[[], None]) -> None:
        for delay in self._network.plan(way):
            if delay <= 0:
                arrive()
            else:
                self._delay(delay, arrive)

    def _delay(self, delay: float, arrive: Callable[[], None]) -> None:
        def land() -> None:
            self._in_flight.discard(handle)
            arrive()

        handle = self._loop.call_later(delay, land)
        self._in_flight.add(handle)
