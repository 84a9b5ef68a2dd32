"""Asks STUN servers from one socket: does UDP get out, and what does the NAT make of us?"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aioice import stun

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.ice_servers import is_ice_url

Address = tuple[str, int]

RETRANSMISSIONS = (0.0, 0.3, 0.6, 1.2)
"""Seconds after which a request is sent (again). Source: RFC 8489 section 6.2.1, shortened."""

PATIENCE = 2.5
"""Seconds that a server gets to answer."""

UNRESOLVED = "its name cannot be resolved"

DEFAULT_PORTS = {False: 3478, True: 5349}
"""By whether the scheme is the secure one (RFC 7064 and RFC 7065)."""

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(:(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class StunAnswer:
    """What a STUN server told, or why it did not.

    Parameters:
        url: The server.
        server: Its address, None when its name could not be resolved.
        local: The address that the request left from; None when there is no route.
        mapped: The address that it was seen from; None when no answer came.
        why: Why there is no answer.
        seconds: How long the answer took, from the name on.
    """

    url: str
    server: Address | None = None
    local: Address | None = None
    mapped: Address | None = None
    why: str = ""
    seconds: float = 0.0


class _Client(asyncio.DatagramProtocol):
    """Matches answers to requests by their transaction ids (RFC 8489 section 6.3)."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, asyncio.Future[Address]] = {}

    def datagram_received(self, data: bytes, _: Address) -> None:
        try:
            message = stun.parse_message(data)
        except ValueError:
            return
        waiting = self.waiting.get(message.transaction_id)
        mapped = message.attributes.get("XOR-MAPPED-ADDRESS")
        if waiting is not None and not waiting.done() and mapped is not None:
            waiting.set_result(mapped)


def read_probe(url: str) -> str:
    """A STUN server that can be asked whether UDP gets out.

    Raises:
        ConfigError: It is none.
    """
    if not url.startswith("stun:") or not is_ice_url(url):
        raise ConfigError(f"{url!r} is no STUN server: write it as stun:host:port.")
    return url


async def ask(urls: Sequence[str]) -> list[StunAnswer]:
    """Ask STUN servers all at once, from one local port, over IPv4.

    Source: RFC 8489 section 6; RFC 5780 section 4.3 for the comparison that the answers allow.

    Args:
        urls: Servers, as "stun:host:port".
    """
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
        _Client,
        local_addr=("0.0.0.0", 0),  # noqa: S104 - a client, on the interface that routing picks
    )
    try:
        return list(await asyncio.gather(*(_ask(transport, client, url) for url in urls)))
    finally:
        transport.close()


async def _ask(transport: asyncio.DatagramTransport, client: _Client, url: str) -> StunAnswer:
    began = time.monotonic()
    try:
        server = await _resolve(url)
    except (OSError, UnicodeError):
        return StunAnswer(url, why=UNRESOLVED)
    port = transport.get_extra_info("sockname")[1]
    try:
        local = (_source_of(server), port)
    except OSError as error:
        return StunAnswer(url, server, why=network_reason(error))
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    answer = client.waiting[request.transaction_id] = asyncio.get_running_loop().create_future()
    sending = asyncio.create_task(_send(transport, bytes(request), server))
    try:
        async with asyncio.timeout(PATIENCE):
            mapped = await answer
        return StunAnswer(url, server, local, mapped, seconds=time.monotonic() - began)
    except TimeoutError:
        return StunAnswer(url, server, local, why="no answer came")
    finally:
        sending.cancel()


async def _send(transport: asyncio.DatagramTransport, request: bytes, server: Address) -> None:
    before = 0.0
    for after in RETRANSMISSIONS:
        await asyncio.sleep(after - before)
        before = after
        transport.sendto(request, server)


def host_and_port(url: str) -> Address:
    """The host and port of a server's URL, such as "turn:host:port?transport=tcp".

    Source: RFC 7064 and RFC 7065.

    Raises:
        ValueError: It has no host, or its port is none.
    """
    scheme, _, rest = url.partition(":")
    match = _HOST_AND_PORT.fullmatch(rest.partition("?")[0])
    if match is None:
        raise ValueError("not a server's URL")
    port = int(match["port"] or DEFAULT_PORTS[scheme.endswith("s")])
    if not 1 <= port <= 65_535:
        raise ValueError("not a port")
    return match["host"].strip("[]"), port


async def _resolve(url: str) -> Address:
    host, port = host_and_port(url)
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM
    )
    return str(found[0][4][0]), port


def network_reason(error: OSError) -> str:
    """Why the network refused, in a few words."""
    # asyncio puts its own words where those of the system should be.
    code = error.errno or 0
    return os.strerror(code) if code > 0 else str(error.strerror or error)


def _source_of(server: Address) -> str:
    """The address of ours that the route to a server starts from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(server)
        source: str = probe.getsockname()[0]
    return source


def is_public(host: str) -> bool:
    """Whether an address can be reached from the internet."""
    return ipaddress.ip_address(host).is_global
