"""What this package needs of aiortc and can only have by private names: all of them are here.

aiortc's receiver hands every packet to a jitter buffer and a decoder thread of its own, and drops
telephone-events before anybody sees them; its sender writes one payload type only; it tells of a
far end that has gone after half a minute; and it opens its sockets on every address of the machine,
at any port. No public name leads around any of it. Where such a name has moved, nothing breaks:
audio takes aiortc's own, slower way, and keys are not heard; only what was asked for and cannot be
done is an error.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from aioice import Candidate, Connection, candidate, ice, stun
from aiortc import RTCDtlsTransport
from loguru import logger

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.rtp import is_rtcp
from pipecat_whatsapp.media.udp_ports import bind

Send = Callable[[bytes], Awaitable[None]]
"""Protects and sends one RTP or RTCP packet; raises ConnectionError when the link is down."""

_T = TypeVar("_T")

CONSENT_TRIES = 3
"""STUN requests after 0, 0.5 and 1.5 s; the last gets 2 s for its answer."""

STUN_PATIENCE = 5.0
"""Seconds that aioice, too, gives a STUN server before it gathers without."""

_GATHERING = ["self", "component", "addresses", "timeout"]
_AIOICE_NAMES = (
    (ice, "StunProtocol"),
    (ice, "server_reflexive_candidate"),
    (candidate, "candidate_foundation"),
    (candidate, "candidate_priority"),
)

_DOOR = {
    "_handle_rtp_data": ["data", "arrival_time_ms"],
    "_handle_rtcp_data": ["data"],
    "_send_rtp": ["data"],
}


def open_rtp_door(
    transport: RTCDtlsTransport,
    *,
    on_rtp: Callable[[bytes], bool],
    on_rtcp: Callable[[bytes], None],
    outgoing: Callable[[bytes], bytes | None],
) -> Send | None:
    """Put three functions into a transport's way.

    Args:
        transport: The DTLS transport of one call.
        on_rtp: Gets each incoming RTP packet before aiortc does, which gets those that it does
            not take (False).
        on_rtcp: Gets each incoming RTCP packet, before aiortc does.
        outgoing: May change each RTP packet that aiortc is about to send, or hold it back (None).

    Returns:
        How to send a packet of one's own; None when this aiortc has no such door, and then
        nothing was changed.
    """
    if not _is_there():
        return None
    handle_rtp = transport._handle_rtp_data  # noqa: SLF001
    handle_rtcp = transport._handle_rtcp_data  # noqa: SLF001
    send = transport._send_rtp  # noqa: SLF001

    async def handle_rtp_data(data: bytes, arrival_time_ms: int) -> None:
        if not _guarded(on_rtp, data, otherwise=True):
            await handle_rtp(data, arrival_time_ms)

    async def handle_rtcp_data(data: bytes) -> None:
        _guarded(on_rtcp, data, otherwise=None)
        await handle_rtcp(data)

    async def send_rtp(data: bytes) -> None:
        as_it_is: bytes | None = data
        packet = as_it_is if is_rtcp(data) else _guarded(outgoing, data, otherwise=as_it_is)
        if packet is not None:
            await send(packet)

    transport._handle_rtp_data = handle_rtp_data  # type: ignore[method-assign] # noqa: SLF001
    transport._handle_rtcp_data = handle_rtcp_data  # type: ignore[method-assign] # noqa: SLF001
    transport._send_rtp = send_rtp  # type: ignore[method-assign] # noqa: SLF001
    return send


def _guarded(handler: Callable[[bytes], _T], data: bytes, *, otherwise: _T) -> _T:
    """Call a handler; what it raises would end aiortc's loop, and with it the call."""
    try:
        return handler(data)
    except Exception:  # noqa: BLE001
        logger.exception("A packet could not be handled")
        return otherwise


async def ask_consent(transport: RTCDtlsTransport) -> bool | None:
    """Ask the far end whether it is still there, by STUN on the path in use (RFC 7675).

    Returns:
        Whether it answered one of `CONSENT_TRIES` requests; None when it could not be asked, or
        does not know what is asked of it.
    """
    try:
        connection = transport.transport._connection  # noqa: SLF001
        pair = next(iter(connection._nominated.values()))  # noqa: SLF001
        await pair.protocol.request(
            connection.build_request(pair, nominate=False),
            pair.remote_addr,
            integrity_key=str(connection.remote_password).encode(),
            retransmissions=CONSENT_TRIES - 1,
        )
    except stun.TransactionTimeout:
        return False
    except (stun.TransactionFailed, AttributeError, TypeError, StopIteration, OSError):
        return None
    return True


def place_sockets(transport: RTCDtlsTransport, places: Sequence[str], ports: range | None) -> bool:
    """Choose where a transport opens its sockets, once it gathers.

    Args:
        transport: The DTLS transport of one call, which has not gathered yet.
        places: IP addresses, each for one socket; without any, the call goes through a relay.
        ports: UDP ports to choose from; None for any. Gathering leaves out places that cannot be
            used, and raises ConfigError when none is left, or no port is free.

    Returns:
        Whether it will do so; False when this aiortc has no such door, and then nothing was
        changed.
    """
    connection = getattr(transport.transport, "_connection", None)
    if connection is None or not _gathers_as_known(connection):
        return False
    gather = connection.get_component_candidates

    async def get_component_candidates(
        component: int, addresses: list[str], **options: Any
    ) -> list[Candidate]:
        hosts: list[Candidate] = []
        addresses = list(places)
        if ports is not None:
            hosts = await _gather_in_range(connection, component, places, ports)
            addresses = []
        others: list[Candidate] = await gather(component, addresses, **options)
        return hosts + others

    connection.get_component_candidates = get_component_candidates
    return True


def _gathers_as_known(connection: object) -> bool:
    return (
        isinstance(connection, Connection)
        and isinstance(getattr(connection, "_protocols", None), list)
        and list(inspect.signature(Connection.get_component_candidates).parameters) == _GATHERING
        and all(hasattr(module, name) for module, name in _AIOICE_NAMES)
    )


async def _gather_in_range(
    connection: Connection, component: int, places: Sequence[str], ports: range
) -> list[Candidate]:
    """Do for a range of ports what aioice does for any port: host candidates, and STUN's."""
    protocols = []
    for place in places:
        try:
            protocol = await _open_socket(connection, place, ports)
        except OSError as error:
            logger.warning(
                "A call leaves out {}: no UDP port can be opened there ({})", place, error
            )
            continue
        # Known from now on, so that it is closed with the connection whatever happens.
        connection._protocols.append(protocol)  # noqa: SLF001
        protocol.local_candidate = _host_candidate(component, protocol)
        protocols.append(protocol)
    if not protocols:
        raise ConfigError(
            f"No UDP port of {ports[0]}-{ports[-1]} may be opened on {', '.join(places)}, as the "
            "log says above: set WHATSAPP_BIND_ADDRESS and WHATSAPP_UDP_PORTS to what may be used."
        )
    hosts = [protocol.local_candidate for protocol in protocols]
    if connection.stun_server is None:
        return hosts
    answers = await asyncio.gather(
        *(
            asyncio.wait_for(
                ice.server_reflexive_candidate(protocol, connection.stun_server), STUN_PATIENCE
            )
            for protocol in protocols
            if ipaddress.ip_address(protocol.local_candidate.host).version == 4
        ),
        return_exceptions=True,
    )
    return hosts + [answer[0] for answer in answers if not isinstance(answer, BaseException)]


async def _open_socket(connection: Connection, address: str, ports: range) -> ice.StunProtocol:
    sock = bind(address, ports)
    try:
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: ice.StunProtocol(connection), sock=sock
        )
    except BaseException:
        sock.close()
        raise
    return protocol


def _host_candidate(component: int, protocol: ice.StunProtocol) -> Candidate:
    host, port = protocol.transport.get_extra_info("sockname")[:2]
    return Candidate(
        foundation=candidate.candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate.candidate_priority(component, "host"),
        host=host,
        port=port,
        type="host",
    )


def ask_no_more(transport: RTCDtlsTransport) -> None:
    """Let a transport that is about to be closed begin no repeated asking for consent.

    aioice begins it, for ever, on one that is closed while it comes up.
    """

    async def nothing() -> None:
        """In place of the asking."""

    connection = getattr(transport.transport, "_connection", None)
    if connection is not None:
        connection.query_consent = nothing


@functools.cache
def _is_there() -> bool:
    for name, parameters in _DOOR.items():
        method = getattr(RTCDtlsTransport, name, None)
        if (
            not inspect.iscoroutinefunction(method)
            or list(inspect.signature(method).parameters)[1:] != parameters
        ):
            logger.warning(
                "This aiortc has no RTCDtlsTransport.{}, so audio takes a slower way, lost packets "
                "leave longer holes, and keys are not heard: use a tested version of aiortc.",
                name,
            )
            return False
    return True
