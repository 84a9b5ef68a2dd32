from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aioice import stun
from pipecat.transports.smallwebrtc.connection import IceServer

from blocked_network import why_no_namespace
from bots import PlainBot
from conftest import Reports, until
from crowded_network import CONTAINERS, NETWORK, addresses_named
from links import Link, OwnLink
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media import gathering
from pipecat_whatsapp.media.connection import LinkEvent, WhatsAppConnection
from pipecat_whatsapp.media.network import ANYWHERE, Network
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from ports import free_ports, ports_named, taken_port
from test_sender import new_sender


@pytest.fixture(params=[Link, OwnLink])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """Of a user's call, which is answered, and of a call of ours, which is offered."""
    async with request.param() as made:
        yield made


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The URLs that each attempt used."""
    urls: list[list[str]] = []
    create = WhatsAppConnection.__init__

    def counted(self: WhatsAppConnection, *args: Any, **options: Any) -> None:
        create(self, *args, **options)
        urls.append([str(server.urls) for server in self.ice_servers])

    monkeypatch.setattr(WhatsAppConnection, "__init__", counted)
    return urls


class DeadServer(asyncio.DatagramProtocol):
    """Takes every request, and answers none until it is told to."""

    def __init__(self) -> None:
        self.requests = 0
        self.awake = False

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport
        self.address = "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.requests += 1
        if self.awake:
            request = stun.parse_message(data)
            answer = stun.Message(
                request.message_method, stun.Class.RESPONSE, request.transaction_id
            )
            # Somewhere on the internet.
            answer.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.7", 4321)
            answer.add_fingerprint()
            self._transport.sendto(bytes(answer), addr)


@asynccontextmanager
async def dead_server() -> AsyncIterator[DeadServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(DeadServer, local_addr=("127.0.0.1", 0))
    yield server
    transport.close()


async def describe(link: Link, *servers: IceServer, network: Network = ANYWHERE) -> str:
    await link.answer(*servers, network=network)
    return link.ours


async def test_without_servers_the_hosts_own_addresses_serve_at_the_first_attempt(
    link: Link, attempts: list[list[str]], warnings: list[str]
) -> None:
    sdp = await describe(link)
    assert " typ host" in sdp
    assert attempts == [[]]
    assert warnings == []


# STUN


async def test_a_stun_server_that_answers_is_used(
    link: Link,
    attempts: list[list[str]],
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gathering, "STUN_TIMEOUT", 30.0)
    async with dead_server() as server:
        server.awake = True
        sdp = await describe(link, IceServer(f"stun:{server.address}"))
        await link.connection.close()
    assert "203.0.113.7 4321 typ srflx" in sdp
    assert attempts == [[f"stun:{server.address}"]]
    assert warnings == []


async def test_a_dead_stun_server_does_not_hold_the_call_up(
    link: Link,
    attempts: list[list[str]],
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiortc would go on asking it; here it gets its time, and then does not count."""
    monkeypatch.setattr(gathering, "STUN_TIMEOUT", 0.01)
    monkeypatch.setattr(stun, "RETRY_RTO", 0.005)
    async with dead_server() as server:
        url = f"stun:{server.address}"
        sdp = await describe(link, IceServer(url))
        await until(lambda: server.requests > 0)
        assert attempts == [[url], []]
        assert " typ host" in sdp
        await link.start()
        await link.connection.close()
    assert len(warnings) == 1
    assert url in warnings[0]


async def test_a_stun_server_without_an_address_does_not_hold_the_call_up_either(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "STUN_TIMEOUT", 0.01)
    sdp = await describe(link, IceServer("stun:no-such-name.invalid:3478"))
    assert " typ host" in sdp
    await link.start()


async def test_the_attempt_that_failed_is_put_away_and_nobody_waits_for_it(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[WhatsAppConnection] = []
    close = WhatsAppConnection.close

    async def noted(self: WhatsAppConnection) -> None:
        await close(self)
        if self not in closed:
            closed.append(self)

    monkeypatch.setattr(WhatsAppConnection, "close", noted)
    monkeypatch.setattr(gathering, "STUN_TIMEOUT", 0.01)
    async with dead_server() as server:
        await describe(link, IceServer(f"stun:{server.address}"))
        await link.connection.close()
        assert closed == [link.connection]
        server.awake = True
        await link.connection.release()
    assert len(closed) == 2
    assert {connection.pc.connectionState for connection in closed} == {"closed"}


async def test_a_call_that_ends_while_a_dead_server_is_asked_leaves_no_socket(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "STUN_TIMEOUT", 30.0)
    async with dead_server() as server:
        task = asyncio.create_task(describe(link, IceServer(f"stun:{server.address}")))
        while server.requests == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        server.awake = True
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# TURN


@pytest.fixture
def silent() -> Iterator[str]:
    """A UDP address that takes everything and answers nothing."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sink:
        sink.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sink.getsockname()[1]}"


async def test_turn_servers_are_tried_in_order(
    link: Link,
    turn_url: str,
    silent: str,
    attempts: list[list[str]],
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gathering, "TURN_TIMEOUT", 30.0)
    monkeypatch.setattr(stun, "RETRY_RTO", 0.02)
    dead = f"turn:{silent}?transport=udp"
    sdp = await describe(link, IceServer([dead, turn_url], "ada", "secret"))
    assert " typ relay" in sdp
    assert attempts == [[dead], [turn_url]]
    assert len(warnings) == 1
    assert dead in warnings[0]
    assert "secret" not in warnings[0]


async def test_without_any_relay_the_hosts_own_addresses_serve(
    link: Link,
    silent: str,
    attempts: list[list[str]],
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TURN_TIMEOUT", "STUN_TIMEOUT"):
        monkeypatch.setattr(gathering, name, 0.01)
    monkeypatch.setattr(stun, "RETRY_RTO", 0.005)
    stun_url, turn_url = f"stun:{silent}", f"turn:{silent}"
    sdp = await describe(link, IceServer(stun_url), IceServer(turn_url, "ada", "secret"))
    assert attempts == [[turn_url], [stun_url], []]
    assert " typ host" in sdp
    await link.start()
    assert LinkEvent.LOST not in link.events, "the attempts before tell the call nothing"
    assert len(warnings) == 2


# Relay only

RELAY_ONLY = Network(relay_only=True)


async def put_away() -> None:
    """Wait until attempts that no call has used are closed."""
    await until(lambda: not gathering._closing)  # noqa: SLF001


async def test_a_call_through_relays_only_names_nothing_but_the_relay(
    turn_url: str, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "TURN_TIMEOUT", 30.0)
    sdp = await describe(link, IceServer(turn_url, "ada", "secret"), network=RELAY_ONLY)
    (relay,) = [line for line in sdp.splitlines() if line.startswith("a=candidate:")]
    assert relay.endswith(" typ relay raddr 0.0.0.0 rport 9")
    await link.start()
    link.connection.replace_audio_track(new_sender())
    await link.connection.open()
    await link.gets(3)
    # The far end hears it from the relay's port, and what it says arrives.
    assert link.peer == ("127.0.0.1", int(relay.split()[5]))
    assert await link.connection.has_consent()


async def test_without_a_relay_there_is_no_such_call(
    link: Link,
    silent: str,
    attempts: list[list[str]],
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gathering, "TURN_TIMEOUT", 0.01)
    monkeypatch.setattr(stun, "RETRY_RTO", 0.005)
    stun_url, turn_urls = f"stun:{silent}", [f"turn:{silent}", f"turn:{silent}?transport=udp"]
    with pytest.raises(ConfigError, match="No TURN server gave a relay"):
        await describe(
            link, IceServer(stun_url), IceServer(turn_urls, "ada", "secret"), network=RELAY_ONLY
        )
    assert attempts == [[url] for url in turn_urls]
    assert len(warnings) == 2
    await put_away()


async def test_a_relay_that_refuses_us_is_none(
    turn_url: str, link: Link, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "TURN_TIMEOUT", 30.0)
    with pytest.raises(ConfigError, match="user names and credentials"):
        await describe(link, IceServer(turn_url, "ada", "wrong"), network=RELAY_ONLY)
    (warning,) = warnings
    assert f"No relay from {turn_url}" in warning
    await put_away()


# Ports


async def test_a_dead_stun_server_leaves_its_ports_to_the_next_attempt(
    link: Link, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "STUN_TIMEOUT", 0.01)
    monkeypatch.setattr(stun, "RETRY_RTO", 0.005)
    first, last = free_ports(2)
    network = Network(address="127.0.0.1", udp_ports=(first, last))
    sdp = await describe(link, IceServer(f"stun:{silent}"), network=network)
    (port,) = ports_named(sdp)
    assert port in (first, last)
    await link.start()


async def test_a_stun_server_tells_what_a_port_of_the_range_is_seen_as(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "STUN_TIMEOUT", 30.0)
    port, _ = ports = free_ports(1)
    network = Network(address="127.0.0.1", udp_ports=ports)
    async with dead_server() as server:
        server.awake = True
        sdp = await describe(link, IceServer(f"stun:{server.address}"), network=network)
        await link.connection.close()
    assert ports_named(sdp) == [port, 4321]
    assert "203.0.113.7 4321 typ srflx" in sdp


async def test_a_range_without_a_free_port_ends_a_call_at_once(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    with taken_port() as port:
        network = Network(address="127.0.0.1", udp_ports=(port, port))
        await whatsapp.serve(PlainBot(), network=network, on_call_ended=reports)
        call = await phone.dial()
        assert await call.ended() == "rejected"
    report = await reports.next()
    assert report.cause is Cause.NO_MEDIA


async def test_a_call_keeps_to_its_place(whatsapp: WhatsApp, phone: Phone) -> None:
    port, _ = ports = free_ports(1)
    network = Network(address="127.0.0.1", udp_ports=ports, public_ip="203.0.113.7")
    await whatsapp.serve(PlainBot(), network=network)
    call = await phone.dial()
    await call.answered()
    accept = next(r for r in whatsapp.meta.requests if r.action == "accept")
    assert f" 203.0.113.7 {port} typ host" in accept.body["session"]["sdp"]


# Interfaces


@pytest.mark.parametrize(
    ("machine", "named"),
    [
        (CONTAINERS + NETWORK, ["10.0.0.2"]),
        (CONTAINERS, ["172.17.0.1", "172.18.0.1", "172.19.0.1"]),
    ],
)
async def test_interfaces_of_containers_are_named_only_where_there_are_no_others(
    machine: str, named: list[str]
) -> None:
    reason = await asyncio.to_thread(why_no_namespace)
    if reason is not None:
        pytest.skip(f"no network of one's own: {reason}")
    assert await addresses_named(machine) == named
