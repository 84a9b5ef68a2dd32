"""What a call needs of the process that serves it."""

from __future__ import annotations

import argparse
from typing import Protocol

from pipecat_whatsapp.calls.bot import Bot
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.claims import Claims
from pipecat_whatsapp.calls.hooks import Hooks
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.meta.graph import GraphClient


class Desk(Protocol):
    """What a session needs of whoever runs it."""

    config: WhatsAppConfig
    graph: GraphClient
    claims: Claims
    observers: Observer
    bot: Bot
    cli_args: argparse.Namespace | None
    hooks: Hooks

    def refusal(self) -> Cause | None:
        """Why a further call is not taken now; or None."""
        ...

    def admit(self, call: Call) -> Cause | None:
        """Give a call that has begun its place. Returns why there is none, or None."""
        ...
