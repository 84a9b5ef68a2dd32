"""What the doctor examines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.doctor.network import STUN_SERVERS


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A bot's settings and surroundings.

    Parameters:
        environ: The variables that the bot runs with.
        phone_number_ids: The business numbers.
        app_secrets: The app's secrets; two while one replaces the other.
        verification_token: What Meta shows to the webhook's address.
        bot_url: Where the bot listens on this machine.
        url: Where webhooks shall go; None takes Meta's word for it.
        waba_id: The WhatsApp Business Account, where the token does not name it.
        ice_servers: The STUN and TURN servers that the bot is configured with.
        probes: STUN servers that tell whether UDP gets out.
        answer_time: Seconds that the bot needs to answer a call.
        now: Unix seconds.
    """

    environ: Mapping[str, str] = field(repr=False)
    phone_number_ids: tuple[str, ...]
    app_secrets: tuple[str, ...] = field(repr=False)
    verification_token: str = field(repr=False)
    bot_url: str
    url: str | None = None
    waba_id: str | None = None
    ice_servers: tuple[IceServer, ...] = field(default=(), repr=False)
    probes: tuple[str, ...] = STUN_SERVERS
    answer_time: float = 5.0
    now: float = field(default_factory=time.time)
