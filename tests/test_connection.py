from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from loguru import logger
from pipecat.transports.smallwebrtc.connection import IceServer

from conftest import until
from pipecat_whatsapp.errors import SdpError
from pipecat_whatsapp.media.connection import LinkEvent, WhatsAppConnection, answer_offer
from pipecat_whatsapp.media.sdp import Offer, read_offer
from pipecat_whatsapp.media.sender import AudioSender
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.offer import read_answer, write_offer
from pipecat_whatsapp.simulator.rules import check_answer
from test_sdp import whatsapp_offer


class Link:
    """A connection on one side, WhatsApp's relay on the other."""

    def __init__(self, endpoint: LiteEndpoint) -> None:
        self.endpoint = endpoint
        self.events: list[LinkEvent] = []
        self.packets = 0
        self.offer = write_offer(
            host=endpoint.host,
            port=endpoint.port,
            ufrag=endpoint.ufrag,
            pwd=endpoint.pwd,
            fingerprint=endpoint.fingerprint,
            ssrc=1234567890,
        )
        self.connection: WhatsAppConnection
        self.sdp = ""

    def count(self, packet: bytes, arrival: float) -> None:
        self.packets += 1

    async def answer(self) -> None:
        self.connection, self.sdp = await answer_offer(read_offer(self.offer), self.events.append)

    async def come_up(self) -> None:
        await self.answer()
        self.endpoint.start(read_answer(self.sdp))
        await self.connection.start_link()
        await until(lambda: LinkEvent.UP in self.events)


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    endpoint = await LiteEndpoint.open()
    link = Link(endpoint)
    endpoint.on_rtp = link.count
    yield link
    if hasattr(link, "connection"):
        await link.connection.close()
    await endpoint.close()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING")
    yield lines
    logger.remove(sink)


async def test_the_answer_keeps_metas_rules(link: Link) -> None:
    await link.answer()
    check_answer(link.sdp, link.offer)
    assert " typ host" in link.sdp


async def test_the_link_stays_down_until_it_is_started(link: Link) -> None:
    """Meta must have our answer before DTLS begins."""
    await link.answer()
    link.endpoint.start(read_answer(link.sdp))
    assert link.connection.pc.connectionState == "new"
    await link.connection.start_link()
    await until(lambda: LinkEvent.UP in link.events)
    assert link.connection.pc.localDescription is not None
    assert link.connection.pc.localDescription.sdp.count("a=ice-ufrag") == 1
    ufrag = read_answer(link.sdp).ufrag
    assert f"a=ice-ufrag:{ufrag}\r\n" in link.connection.pc.localDescription.sdp


async def test_nothing_is_sent_before_the_gate_opens(link: Link) -> None:
    await link.come_up()
    link.connection.replace_audio_track(AudioSender(16_000))
    await link.connection.connect()
    # RTCP goes on meanwhile: wait for it, to have given RTP its chance.
    reports = asyncio.Event()
    link.endpoint.on_rtcp = lambda packet: reports.set()
    async with asyncio.timeout(30):
        await reports.wait()
    assert link.packets == 0
    assert not link.connection.is_connected()
    await link.connection.open()
    assert link.connection.is_connected()
    await until(lambda: link.packets > 5)


async def test_connected_is_told_once_both_sides_are_ready(link: Link) -> None:
    connected: list[object] = []

    async def on_connected(connection: object) -> None:
        connected.append(connection)

    await link.come_up()
    link.connection.add_event_handler("connected", on_connected)
    await link.connection.connect()
    assert connected == []
    assert link.events[-1] is LinkEvent.BOT_READY
    await link.connection.open()
    await until(lambda: connected == [link.connection])


async def test_the_far_ends_close_is_told(link: Link) -> None:
    await link.come_up()
    await link.endpoint.close()
    await until(lambda: LinkEvent.LOST in link.events)


async def test_our_own_close_is_no_loss(link: Link) -> None:
    closed: list[object] = []

    async def on_closed(connection: object) -> None:
        closed.append(connection)

    await link.come_up()
    link.connection.add_event_handler("closed", on_closed)
    await link.connection.close()
    await link.connection.close()
    await link.connection.disconnect()
    await until(lambda: closed == [link.connection])
    assert link.events == [LinkEvent.UP]


async def test_disconnect_says_that_the_bot_hung_up(link: Link) -> None:
    await link.come_up()
    await link.connection.disconnect()
    assert link.events == [LinkEvent.UP, LinkEvent.BOT_HUNG_UP]


async def test_closing_before_the_link_comes_up_frees_whoever_writes(link: Link) -> None:
    await link.answer()
    sender = AudioSender(16_000)
    link.connection.replace_audio_track(sender)
    writing = asyncio.ensure_future(sender.write(bytes(64_000)))
    await asyncio.sleep(0)
    await link.connection.close()
    assert not await writing
    await link.connection.start_link()
    assert link.connection.pc.connectionState == "closed"


async def test_packets_are_counted(link: Link) -> None:
    await link.come_up()
    before = await link.connection.packets_received()
    assert before > 0, "the handshake itself"
    link.endpoint.send_rtcp(bytes.fromhex("80c90001499602d2"))
    while await link.connection.packets_received() == before:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_a_call_has_no_data_channel_and_warns_of_none(
    link: Link, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat.transports.smallwebrtc.connection.DATA_CHANNEL_TIMEOUT_SECS", 0.05)
    await link.come_up()
    await link.connection.connect()
    await link.connection.open()
    link.connection.send_app_message({"type": "anything"})
    await asyncio.sleep(0.2)
    assert warnings == []


async def test_an_offer_that_aiortc_cannot_take_is_an_sdp_error() -> None:
    sdp = whatsapp_offer().replace("a=setup:actpass", "a=candidate:broken")
    with pytest.raises(SdpError, match="cannot be read"):
        await answer_offer(Offer(sdp=sdp, opus_payload_type=111), lambda event: None)


async def test_a_cancelled_answer_leaves_no_socket() -> None:
    """Unclosed sockets would be warnings, and warnings are errors here."""
    task = asyncio.create_task(answer_offer(read_offer(whatsapp_offer()), lambda event: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# STUN and TURN


def silent_port() -> tuple[socket.socket, int]:
    """A UDP port that takes everything and answers nothing."""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    return sink, sink.getsockname()[1]


async def test_turn_servers_are_tried_in_order(
    link: Link, turn_url: str, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, port = silent_port()
    dead = f"turn:127.0.0.1:{port}?transport=udp"
    servers = [IceServer([dead, turn_url], "ada", "secret")]
    monkeypatch.setattr("pipecat_whatsapp.media.connection.GATHERING_TIMEOUT", 1.0)
    with sink:
        connection, sdp = await answer_offer(
            read_offer(link.offer), link.events.append, ice_servers=servers
        )
        await connection.close()
    assert " typ relay" in sdp
    assert len(warnings) == 1
    assert dead in warnings[0]
    assert "secret" not in warnings[0]


async def test_without_any_relay_the_hosts_own_addresses_serve(
    link: Link, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, port = silent_port()
    servers = [
        IceServer(f"stun:127.0.0.1:{port}"),
        IceServer(f"turn:127.0.0.1:{port}", "ada", "secret"),
    ]
    monkeypatch.setattr("pipecat_whatsapp.media.connection.GATHERING_TIMEOUT", 0.1)
    with sink:
        connection, sdp = await answer_offer(
            read_offer(link.offer), link.events.append, ice_servers=servers
        )
        link.connection = connection
        assert " typ host" in sdp
        link.endpoint.start(read_answer(sdp))
        await connection.start_link()
        await until(lambda: LinkEvent.UP in link.events)
        await connection.close()
    assert len(warnings) == 1
