"""Makes an offer: the media side of a call that the business makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.media.connection import LinkEvent, WhatsAppConnection
from pipecat_whatsapp.media.gathering import gather
from pipecat_whatsapp.media.network import ANYWHERE, Network


async def make_offer(
    observer: Callable[[LinkEvent], None],
    *,
    ice_servers: Sequence[IceServer] = (),
    network: Network = ANYWHERE,
) -> tuple[WhatsAppConnection, str]:
    """Open a connection that offers itself; `take_answer` of it brings the link up.

    Args:
        observer: Told what happens to the link and what the bot wants.
        ice_servers: STUN and TURN servers; each gets a limited time.
        network: Which ports and addresses the call uses.

    Returns:
        The connection, and the complete offer, for Meta's connect.

    Raises:
        ConfigError: The network is not as the settings want it.
    """
    return await gather(None, observer, WhatsAppConnection.offer, ice_servers, network)
