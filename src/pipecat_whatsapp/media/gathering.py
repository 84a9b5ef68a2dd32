"""Gathers our side's candidates, and lets no dead server hold the other side up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from loguru import logger
from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.connection import LinkEvent, WhatsAppConnection
from pipecat_whatsapp.media.ice_servers import is_turn, urls_of
from pipecat_whatsapp.media.network import Network
from pipecat_whatsapp.media.sdp import RemoteDescription

TURN_TIMEOUT = 2.0
"""Seconds that a TURN server gets. aiortc itself would wait for 5."""

STUN_TIMEOUT = 0.2
"""Seconds that STUN servers get. They tell our public address, which Meta's relay, being ICE-lite,
learns from our first packet anyway."""

_closing: set[asyncio.Task[None]] = set()
"""Attempts that failed and still close: asyncio alone would forget a task that only waits."""


async def gather(
    offer: RemoteDescription | None,
    observer: Callable[[LinkEvent], None],
    describe: Callable[[WhatsAppConnection], Coroutine[Any, Any, str]],
    ice_servers: Sequence[IceServer],
    network: Network,
) -> tuple[WhatsAppConnection, str]:
    """Open a connection, and have it describe itself once it knows its candidates.

    aiortc uses one TURN server only and says nothing when it fails, so each is tried in turn until
    one gives a relay; without any, the host's own addresses serve, where they may.

    Args:
        offer: The offer to answer; None for an offer of our own.
        observer: Told what happens to the link and what the bot wants.
        describe: Has a connection gather, and write the description.
        ice_servers: STUN and TURN servers.
        network: Which ports and addresses the call uses.

    Returns:
        The connection, and its description.

    Raises:
        SdpError: The offer cannot be read.
        ConfigError: The network is not as the settings want it.
    """
    leftovers: list[asyncio.Task[None]] = []
    for servers, patience in _attempts(ice_servers, network):
        connection = WhatsAppConnection(
            offer, observer, ice_servers=servers, network=network, leftovers=tuple(leftovers)
        )
        # Shielded, because aiortc loses the sockets of a gathering that is cancelled.
        describing = asyncio.create_task(describe(connection))
        try:
            sdp = await asyncio.wait_for(asyncio.shield(describing), patience)
        except TimeoutError:
            logger.warning("No answer from {} in {} s", _names(servers), patience)
        except BaseException:
            await _discard(connection, describing)
            raise
        else:
            if not any(map(is_turn, servers)) or " typ relay" in sdp:
                return connection, sdp
            logger.warning("No relay from {}", _names(servers))
        leftover = asyncio.create_task(_discard(connection, describing))
        leftovers.append(leftover)
        _closing.add(leftover)
        leftover.add_done_callback(_closing.discard)
    raise ConfigError(
        "No TURN server gave a relay, and the call may use nothing else: check the servers, their "
        "user names and credentials, or drop WHATSAPP_RELAY_ONLY."
    )


async def _discard(connection: WhatsAppConnection, describing: asyncio.Task[str]) -> None:
    """Close a connection that no call will see, once it has finished gathering."""
    await asyncio.gather(describing, return_exceptions=True)
    await connection.close()


def _attempts(
    ice_servers: Sequence[IceServer], network: Network
) -> list[tuple[list[IceServer], float | None]]:
    """What to try, in order, and for how long: each TURN URL, the STUN servers, then no server."""
    urls = [
        IceServer(url, server.username, server.credential, server.credentialType)
        for server in ice_servers
        for url in urls_of(server)
    ]
    attempts: list[tuple[list[IceServer], float | None]] = [
        ([server], TURN_TIMEOUT) for server in urls if is_turn(server)
    ]
    if network.relay_only:
        return attempts
    if stun := [server for server in urls if not is_turn(server)]:
        attempts.append((stun, STUN_TIMEOUT))
    return [*attempts, ([], None)]


def _names(servers: Sequence[IceServer]) -> str:
    return ", ".join(str(server.urls) for server in servers)
