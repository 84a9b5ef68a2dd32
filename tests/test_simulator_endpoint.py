from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aioice import stun

from aiortc_business import Business, spy_on_rtp
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.network import Network, NetworkConditions
from pipecat_whatsapp.simulator.offer import Answer, read_answer

PATIENCE = 60
REMOTE = Answer("theirs", "pwd", ":".join(["00"] * 32), "active", 111)


@pytest.fixture
async def network() -> Network:
    return Network()


@pytest.fixture
async def endpoint(network: Network) -> AsyncIterator[LiteEndpoint]:
    made = await LiteEndpoint.open(network=network)
    yield made
    await made.close()


@pytest.fixture
async def business() -> AsyncIterator[Business]:
    async with Business() as made:
        yield made


async def connect(endpoint: LiteEndpoint, business: Business) -> None:
    up = asyncio.Event()
    endpoint.on_connected = up.set
    endpoint.start(read_answer(await business.answer(endpoint.offer(1))))
    async with asyncio.timeout(PATIENCE):
        await up.wait()
        await business.connected.wait()


class Stunner(asyncio.DatagramProtocol):
    """A socket that asks STUN questions."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[stun.Message] = asyncio.Queue()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.answers.put_nowait(stun.parse_message(data))

    async def ask(self, message: stun.Message) -> stun.Message:
        self.transport.sendto(bytes(message))
        async with asyncio.timeout(PATIENCE):
            return await self.answers.get()


@pytest.fixture
async def stunner(endpoint: LiteEndpoint) -> AsyncIterator[Stunner]:
    loop = asyncio.get_running_loop()
    address = (endpoint.host, endpoint.port)
    transport, protocol = await loop.create_datagram_endpoint(Stunner, remote_addr=address)
    yield protocol
    transport.close()


def check(username: str, pwd: str) -> stun.Message:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = username
    message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(pwd.encode())
    return message


async def test_a_good_check_is_answered_with_the_address_it_came_from(
    endpoint: LiteEndpoint, stunner: Stunner
) -> None:
    request = check(f"{endpoint.ufrag}:theirs", endpoint.pwd)
    answer = await stunner.ask(request)
    assert answer.message_class == stun.Class.RESPONSE
    assert answer.transaction_id == request.transaction_id
    sockname = stunner.transport.get_extra_info("sockname")
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == sockname
    assert answer.check_message_integrity(endpoint.pwd.encode())
    assert "FINGERPRINT" in answer.attributes


async def test_a_wrong_password_or_name_is_refused(
    endpoint: LiteEndpoint, stunner: Stunner
) -> None:
    endpoint.start(REMOTE)
    for request in (
        check(f"{endpoint.ufrag}:theirs", endpoint.pwd + "x"),
        check("nobody:theirs", endpoint.pwd),
        check(f"{endpoint.ufrag}:another", endpoint.pwd),
        stun.Message(stun.Method.BINDING, stun.Class.REQUEST),
    ):
        answer = await stunner.ask(request)
        assert answer.message_class == stun.Class.ERROR
        assert answer.error_code == 401


async def test_noise_is_left_unanswered(endpoint: LiteEndpoint, stunner: Stunner) -> None:
    indication = stun.Message(stun.Method.BINDING, stun.Class.INDICATION)
    for noise in (b"", b"\x00", b"\x16" * 20, b"\x80" * 20, b"\xff", bytes(indication)):
        stunner.transport.sendto(noise)
    # Loopback keeps the order, so whatever the noise had caused would have come first.
    answer = await stunner.ask(check(f"{endpoint.ufrag}:theirs", endpoint.pwd))
    assert answer.message_class == stun.Class.RESPONSE


async def test_rtp_flows_both_ways_after_dtls(
    endpoint: LiteEndpoint, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    reports: asyncio.Queue[bytes] = asyncio.Queue()
    endpoint.on_rtp = lambda packet, _arrival: heard.put_nowait(packet)
    endpoint.on_rtcp = reports.put_nowait
    seen = spy_on_rtp(monkeypatch)
    await connect(endpoint, business)
    assert endpoint.connected
    sent = bytes(RtpPacket(126, 1, 2, 3, b"\x01\x0a\x00\xa0"))
    endpoint.send_rtp(sent)
    async with asyncio.timeout(PATIENCE):
        assert RtpPacket.parse(await heard.get()).payload_type == 111
        assert (await reports.get())[1] in range(200, 207)
        assert await seen.get() == sent
    assert endpoint.discarded == 0


async def test_close_notify_reaches_the_business(
    endpoint: LiteEndpoint, business: Business
) -> None:
    await connect(endpoint, business)
    await endpoint.close()
    async with asyncio.timeout(PATIENCE):
        await business.closed.wait()
    assert not endpoint.connected


async def test_the_business_closing_is_told(endpoint: LiteEndpoint, business: Business) -> None:
    reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    endpoint.on_closed = reason.set_result
    await connect(endpoint, business)
    await business.pc.close()
    assert await asyncio.wait_for(reason, PATIENCE) == "close_notify"


async def test_a_business_with_another_certificate_is_refused(
    endpoint: LiteEndpoint, business: Business
) -> None:
    reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    endpoint.on_closed = reason.set_result
    answer = read_answer(await business.answer(endpoint.offer(1)))
    endpoint.start(replace(answer, fingerprint=REMOTE.fingerprint))
    async with asyncio.timeout(PATIENCE):
        assert "handshake failed" in await reason
        await business.closed.wait()
    assert not endpoint.connected


async def test_a_client_hello_before_the_answer_falls_and_is_sent_again(
    endpoint: LiteEndpoint, business: Business
) -> None:
    up, paired = asyncio.Event(), asyncio.Event()
    endpoint.on_connected = up.set
    business.pc.on("iceconnectionstatechange", paired.set)
    answer = read_answer(await business.answer(endpoint.offer(1)))
    async with asyncio.timeout(PATIENCE):
        while business.pc.iceConnectionState != "completed":
            paired.clear()
            await paired.wait()
        await asyncio.sleep(0.1)
        endpoint.start(answer)
        await up.wait()


@pytest.fixture
async def pair() -> AsyncIterator[tuple[LiteEndpoint, LiteEndpoint]]:
    """Two endpoints that know each other's address.

    Neither starts checks, being lite: these are written by hand.
    """
    client = await LiteEndpoint.open()
    server = await LiteEndpoint.open()
    for target, source in ((server, client), (client, server)):
        request = check(f"{target.ufrag}:{source.ufrag}", target.pwd)
        target.datagram_received(bytes(request), (source.host, source.port))
    yield client, server
    await client.close()
    await server.close()


def answer_of(endpoint: LiteEndpoint, setup: str) -> Answer:
    return Answer(endpoint.ufrag, endpoint.pwd, endpoint.fingerprint, setup, 111)


async def test_a_passive_business_makes_the_relay_the_dtls_client(
    pair: tuple[LiteEndpoint, LiteEndpoint],
) -> None:
    client, server = pair
    got: asyncio.Queue[bytes] = asyncio.Queue()
    client.on_connected = lambda: client.send_rtp(bytes(RtpPacket(111, 1, 1, 1, b"hello")))
    server.on_rtp = lambda packet, _arrival: got.put_nowait(packet)
    server.start(answer_of(client, "active"))
    client.start(answer_of(server, "passive"))
    async with asyncio.timeout(PATIENCE):
        assert RtpPacket.parse(await got.get()).payload == b"hello"


async def test_a_lost_flight_is_sent_again(pair: tuple[LiteEndpoint, LiteEndpoint]) -> None:
    client, server = pair
    up = asyncio.Event()
    client.on_connected = up.set
    # The server does not know its part yet, so the first ClientHello falls.
    client.start(answer_of(server, "passive"))
    await asyncio.sleep(0.1)
    server.start(answer_of(client, "active"))
    await asyncio.wait_for(up.wait(), PATIENCE)


async def test_a_delayed_packet_arrives_though_the_endpoint_closes(
    endpoint: LiteEndpoint, network: Network, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spy_on_rtp(monkeypatch)
    await connect(endpoint, business)
    network.conditions = NetworkConditions(delay=0.2, duplicate=1.0)
    sent = bytes(RtpPacket(126, 1, 2, 3, b"\x01\x0a\x00\xa0"))
    endpoint.send_rtp(sent)
    assert seen.empty()
    await endpoint.close()
    assert await asyncio.wait_for(seen.get(), PATIENCE) == sent


async def test_a_line_that_is_down_passes_not_even_stun(
    endpoint: LiteEndpoint, network: Network, stunner: Stunner
) -> None:
    network.down = True
    lost = bytes(check(f"{endpoint.ufrag}:theirs", endpoint.pwd))
    endpoint.datagram_received(lost, stunner.transport.get_extra_info("sockname"))
    network.down = False
    request = check(f"{endpoint.ufrag}:up", endpoint.pwd)
    answer = await stunner.ask(request)
    assert answer.transaction_id == request.transaction_id


async def test_media_before_the_connection_goes_nowhere(endpoint: LiteEndpoint) -> None:
    endpoint.send_rtp(bytes(RtpPacket(111, 1, 2, 3, b"")))
    endpoint.send_rtcp(b"")
    endpoint.vanish()
    await endpoint.close()
