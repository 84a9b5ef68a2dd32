"""What a simulation needs before its first call: Meta's side, and a bot or servers behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.simulator.bot_process import BotProcess
from pipecat_whatsapp.simulator.graph import Account, SimulatedMeta, Timing
from pipecat_whatsapp.simulator.network import NetworkConditions
from pipecat_whatsapp.simulator.story import Echo

TIMING = Timing(retry_delays=(0.5, 1.0))


class SimulationError(SimulatorError):
    """The simulation cannot go on; one sentence says why."""


class Served(Protocol):
    """Who serves the business number."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def webhook_urls(self) -> Sequence[str]:
        """Where it takes webhooks; each webhook goes to the next."""
        ...

    @property
    def last_output(self) -> list[str]:
        """The last lines it printed, as far as we see them."""
        ...

    async def death(self) -> str:
        """Wait until it ends by itself; returns one sentence on why."""
        ...


@dataclass(frozen=True)
class RunningServers:
    """Servers that somebody else runs, with the simulated WhatsApp's address in their environment.

    Parameters:
        webhook_urls: Where each takes webhooks.
        account: What they take for their account at Meta.
        graph_port: Where they look for the Graph API on this machine.
    """

    webhook_urls: tuple[str, ...]
    account: Account
    graph_port: int

    name = "The server"

    @property
    def last_output(self) -> list[str]:
        """Nothing: they print it elsewhere."""
        return []

    async def death(self) -> str:
        """Never: others may take over their calls."""
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody knows was set")  # pragma: no cover


@dataclass(frozen=True)
class Setup:
    """What to simulate.

    Parameters:
        bot: The bot's file, or servers that run already.
        port: The port of a bot that is started; 0 takes a free one.
        conditions: The line between phone and bot.
        seed: The seed of the line's mishaps.
        verbose: Whether the output of a bot that is started is shown.
    """

    bot: Path | RunningServers
    port: int = 0
    conditions: NetworkConditions = field(default_factory=NetworkConditions)
    seed: int = 0
    verbose: bool = False


@dataclass(frozen=True)
class PagePlace:
    """Where the phone page is served.

    Parameters:
        host: The address.
        port: The port; 0 takes a free one.
        token: What a browser has to show; not needed on loopback.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = field(default=None, repr=False)


@asynccontextmanager
async def staged(setup: Setup, echo: Echo) -> AsyncIterator[tuple[SimulatedMeta, Served]]:
    """Meta's side, and who serves the business number.

    Raises:
        SimulationError: The Graph API's port is in use.
    """
    if isinstance(setup.bot, RunningServers):
        async with _meta_for(setup.bot) as meta:
            echo(f"A simulated WhatsApp for {', '.join(setup.bot.webhook_urls)}.")
            yield meta, setup.bot
        return
    async with SimulatedMeta(timing=TIMING) as meta:
        echo(f"Starting {setup.bot.name} -t whatsapp, with a simulated WhatsApp.")
        bot = BotProcess(
            setup.bot,
            account=meta.account,
            graph_url=meta.graph_url,
            port=setup.port,
            echo=(lambda line: echo(f"    | {line}")) if setup.verbose else None,
        )
        async with bot:
            yield meta, bot


@asynccontextmanager
async def _meta_for(servers: RunningServers) -> AsyncIterator[SimulatedMeta]:
    """Meta's side where servers look for it."""
    meta = SimulatedMeta(servers.account, timing=TIMING)
    try:
        await meta.start(servers.graph_port)
    except OSError as error:
        raise SimulationError(
            f"The Graph API cannot be served at port {servers.graph_port} ({error.strerror}): "
            "end the simulation that uses it, or change WHATSAPP_GRAPH_URL for all."
        ) from error
    try:
        yield meta
    finally:
        await meta.close()
