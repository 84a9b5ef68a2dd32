"""Answers an offer: the media side of a call that a user makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.media.connection import LinkEvent, WhatsAppConnection
from pipecat_whatsapp.media.gathering import gather
from pipecat_whatsapp.media.network import ANYWHERE, Network
from pipecat_whatsapp.media.sdp import RemoteDescription


async def answer_offer(
    offer: RemoteDescription,
    observer: Callable[[LinkEvent], None],
    *,
    ice_servers: Sequence[IceServer] = (),
    network: Network = ANYWHERE,
) -> tuple[WhatsAppConnection, str]:
    """Open a connection that answers an offer.

    Args:
        offer: What Meta's webhook offers.
        observer: Told what happens to the link and what the bot wants.
        ice_servers: STUN and TURN servers; each gets a limited time.
        network: Which ports and addresses the call uses.

    Returns:
        The connection, and the answer, for pre-accept and accept.

    Raises:
        SdpError: The offer cannot be read.
        ConfigError: The network is not as the settings want it.
    """
    return await gather(offer, observer, WhatsAppConnection.answer, ice_servers, network)
