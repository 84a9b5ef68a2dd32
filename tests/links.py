"""A connection on one side and WhatsApp's relay on the other, without a call around them.

Of a user's call, which WhatsApp offers, and of a call of ours.
"""

from __future__ import annotations

import asyncio
from typing import Self

from pipecat.transports.smallwebrtc.connection import IceServer

from conftest import until
from pipecat_whatsapp.media.answering import answer_offer
from pipecat_whatsapp.media.connection import LinkEvent, WhatsAppConnection
from pipecat_whatsapp.media.network import ANYWHERE, Network
from pipecat_whatsapp.media.offering import make_offer
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.media.sdp import read_offer
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.offer import read_answer
from pipecat_whatsapp.simulator.phone_media import PhoneMedia


class Link:
    """One link; use it with `async with`.

    Attributes:
        endpoint: The relay's end.
        phone: What speaks and listens there.
        events: What the connection told its call.
        sent: What the relay got, decrypted.
    """

    endpoint: LiteEndpoint
    connection: WhatsAppConnection

    def __init__(self) -> None:
        self.events: list[LinkEvent] = []
        self.sent: list[RtpPacket] = []
        self.sdp = ""

    async def __aenter__(self) -> Self:
        self.endpoint = await LiteEndpoint.open()
        self.phone = PhoneMedia(self.endpoint, dtx=False, on_change=lambda: None)
        self.offer = self.phone.offer("today")
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.phone.hush()
        if hasattr(self, "connection"):
            await self.connection.close()
            await self.connection.release()
        await self.endpoint.close()

    async def answer(self, *servers: IceServer, network: Network = ANYWHERE) -> None:
        self.connection, self.sdp = await answer_offer(
            read_offer(self.offer), self.events.append, ice_servers=servers, network=network
        )

    @property
    def ours(self) -> str:
        """What our side says of itself."""
        return self.sdp

    @property
    def peer(self) -> tuple[str, int] | None:
        """The address that the relay hears us from."""
        return self.endpoint._peer  # noqa: SLF001

    async def start(self) -> None:
        """Bring the link up, once it is answered."""
        self.endpoint.start(read_answer(self.sdp))
        await self.connection.start_link()
        await self._until_up()

    async def come_up(self) -> None:
        await self.answer()
        await self.start()

    async def gets(self, count: int) -> list[RtpPacket]:
        """Wait for so many RTP packets at the relay from now on."""
        start = len(self.sent)
        await until(lambda: len(self.sent) >= start + count)
        return self.sent[start : start + count]

    def send(self, packet: RtpPacket) -> None:
        """Let the relay send one RTP packet."""
        self.endpoint.send_rtp(bytes(packet))

    async def _until_up(self) -> None:
        """Wait for both ends: one of them is always the last to have the keys."""
        await until(lambda: LinkEvent.UP in self.events and self.endpoint.connected)

    def _listen(self) -> None:
        hear = self.endpoint.on_rtp

        def keep(data: bytes, arrival: float) -> None:
            self.sent.append(RtpPacket.parse(data))
            hear(data, arrival)

        self.endpoint.on_rtp = keep


class OwnLink(Link):
    """The same for a call of ours.

    Args:
        setup: What the relay says of its part in DTLS: "active", "passive" or "actpass".
        change: What else is changed in its answer, before and after.
    """

    def __init__(self, setup: str = "active", change: tuple[str, str] = ("", "")) -> None:
        super().__init__()
        self._setup = setup
        self._change = change

    async def answer(self, *servers: IceServer, network: Network = ANYWHERE) -> None:
        """Make the offer, and have the relay's answer written."""
        self.connection, self.offer = await make_offer(
            self.events.append, ice_servers=servers, network=network
        )
        self.sdp = self.phone.answer(self.offer, self._setup).replace(*self._change)

    @property
    def ours(self) -> str:
        """What our side says of itself."""
        return self.offer

    async def start(self) -> None:
        """Bring the link up."""
        await self.connection.take_answer(self.sdp)
        await self._until_up()


async def rtcp_reached(endpoint: LiteEndpoint, count: int = 1) -> list[bytes]:
    """Wait for so many compound RTCP packets at the relay."""
    packets: list[bytes] = []
    hear = endpoint.on_rtcp

    def keep(data: bytes) -> None:
        packets.append(data)
        hear(data)

    endpoint.on_rtcp = keep
    async with asyncio.timeout(30):
        while len(packets) < count:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
    endpoint.on_rtcp = hear
    return packets
