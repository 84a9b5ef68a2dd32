"""Asks a TURN server for a relay, as a call would."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass

from aioice import stun, turn
from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.doctor.stun import UNRESOLVED, Address, host_and_port, network_reason
from pipecat_whatsapp.media.gathering import TURN_TIMEOUT

PATIENCE = TURN_TIMEOUT
"""Seconds that a server gets for an allocation, as in a call."""


@dataclass(frozen=True)
class TurnAnswer:
    """What a TURN server gave, or why it did not.

    Parameters:
        url: The server.
        relayed: The relay's address; None when there is none.
        why: Why there is none.
    """

    url: str
    relayed: Address | None = None
    why: str = ""


class _Relay(asyncio.DatagramProtocol):
    """The user of a relay, who only wants to know when it has been given back."""

    def __init__(self) -> None:
        self.given_back = asyncio.Event()

    def connection_lost(self, _: Exception | None) -> None:
        self.given_back.set()


async def allocate(server: IceServer) -> TurnAnswer:
    """Ask for a relay, and give it back (RFC 8656 section 7).

    Args:
        server: A server with one URL, such as "turns:host:5349?transport=tcp".
    """
    url = str(server.urls)
    secure = url.startswith("turns:")
    by_tcp = secure or "transport=tcp" in url
    context = ssl.create_default_context() if secure else None
    try:
        async with asyncio.timeout(PATIENCE):
            transport, relay = await turn.create_turn_endpoint(
                _Relay,
                server_addr=host_and_port(url),
                username=server.username or None,
                password=server.credential or None,
                ssl=context,
                transport="tcp" if by_tcp else "udp",
            )
    except stun.TransactionFailed as error:
        return TurnAnswer(url, why=_refusal(error))
    except (TimeoutError, stun.TransactionTimeout):
        return TurnAnswer(url, why=f"no answer came in {PATIENCE:g} s")
    except ssl.SSLError as error:
        return TurnAnswer(url, why=f"TLS fails: {error.reason or error}")
    except (socket.gaierror, UnicodeError):
        return TurnAnswer(url, why=UNRESOLVED)
    except OSError as error:
        return TurnAnswer(url, why=network_reason(error))
    relayed: Address = transport.get_extra_info("sockname")
    transport.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(relay.given_back.wait(), PATIENCE)
    return TurnAnswer(url, relayed)


def _refusal(error: stun.TransactionFailed) -> str:
    code, reason = error.response.attributes.get("ERROR-CODE", (0, ""))
    if code == 401:
        return "it refuses the user name or the credential"
    return f"it refuses: {code} {reason}".strip()
