"""What this package needs of aiortc and can only have by private names: all of them are here.

aiortc's receiver hands every packet to a jitter buffer and a decoder thread of its own, and drops
telephone-events before anybody sees them; its sender writes one payload type only; and it tells of
a far end that has gone after half a minute. No public name leads around any of it. Where such a
name has moved, nothing breaks: audio takes aiortc's own, slower way, and keys are not heard.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aioice import stun
from aiortc import RTCDtlsTransport
from loguru import logger

from pipecat_whatsapp.media.rtp import is_rtcp

Send = Callable[[bytes], Awaitable[None]]
"""Protects and sends one RTP or RTCP packet; raises ConnectionError when the link is down."""

_T = TypeVar("_T")

CONSENT_TRIES = 3
"""STUN requests after 0, 0.5 and 1.5 s; the last gets 2 s for its answer."""

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
