"""Where `pipecat eval` finds a bot that is called by simulated phones."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.serving.bot_module import BotModule, load_bot
from pipecat_whatsapp.simulator.evaluation.conversation import Conversation
from pipecat_whatsapp.simulator.evaluation.inside import Insight, attaching
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.hosting import config_of, hosted
from pipecat_whatsapp.simulator.network import Network, NetworkConditions
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.story import Echo

PATHS = ("/", "/ws")
"""`pipecat eval run` of pipecat 1.8, and of later ones, go here by themselves."""


class PortError(SimulatorError):
    """The port that `pipecat eval` looks at is in use."""


class EvaluationServer:
    """Calls a bot for each connection of `pipecat eval`.

    Args:
        meta: Meta's side; the bot must serve its business number.
        insight: Observes the bot's adapter.
        echo: Takes what somebody at the terminal should know.
        conditions: The line between phone and bot.
        seed: The seed of the line's mishaps; each call has the same.
    """

    def __init__(
        self,
        meta: SimulatedMeta,
        insight: Insight,
        echo: Echo,
        *,
        conditions: NetworkConditions | None = None,
        seed: int = 0,
    ) -> None:
        self._meta = meta
        self._insight = insight
        self._echo = echo
        self._conditions = conditions
        self._seed = seed

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback; port 0 takes a free one.

        Yields:
            The address for `pipecat eval run --bot-url`.

        Raises:
            PortError: The port is in use.
        """
        app = web.Application()
        for path in PATHS:
            app.router.add_get(path, self._converse)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await _listen(runner, port)
            yield f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"
        finally:
            await runner.cleanup()

    async def _converse(self, request: web.Request) -> web.StreamResponse:
        # A browser names the page that connects; no page has anything to do here.
        if "Origin" in request.headers:
            raise web.HTTPForbidden
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        wants_sound = request.query.get("capture_bot_audio") == "true"
        async with Phone(self._meta, network=Network(self._conditions, self._seed)) as phone:
            call = await phone.dial()
            # Nothing has been awaited since it rang: its webhook is still to be sent.
            inside = self._insight.look_into(call.id)
            conversation = Conversation(socket, call, inside, self._echo)
            await conversation.hold(wants_sound=wants_sound)
        return socket


@asynccontextmanager
async def evaluated(
    module: BotModule,
    echo: Echo,
    *,
    port: int = 0,
    conditions: NetworkConditions | None = None,
    seed: int = 0,
) -> AsyncIterator[str]:
    """A bot in this process, ready for `pipecat eval`.

    Args:
        module: The bot, with its hooks.
        echo: Takes what somebody at the terminal should know.
        port: Where `pipecat eval` finds it, on loopback; 0 takes a free one.
        conditions: The line between phone and bot.
        seed: The seed of the line's mishaps.

    Yields:
        The address for `pipecat eval run --bot-url`.

    Raises:
        PortError: The port is in use.
    """
    insight = Insight()
    with attaching():
        async with SimulatedMeta() as meta:
            adapter = module.adapter(config_of(meta), observers=[insight])
            server = EvaluationServer(meta, insight, echo, conditions=conditions, seed=seed)
            async with hosted(meta, adapter), server.serving(port) as url:
                module.run_beside(adapter)
                yield url


async def run(
    bot: Path, echo: Echo, *, port: int, conditions: NetworkConditions, seed: int
) -> None:
    """Load a bot, and serve it to `pipecat eval` until cancelled.

    Args:
        bot: The bot's file.
        echo: Takes what somebody at the terminal should know.
        port: Where `pipecat eval` finds it, on loopback.
        conditions: The line between phone and bot.
        seed: The seed of the line's mishaps.

    Raises:
        ConfigError: The bot cannot be loaded.
        PortError: The port is in use.
    """
    module = load_bot(bot)
    async with evaluated(module, echo, port=port, conditions=conditions, seed=seed) as url:
        echo(f"Each connection to {url} is a call to {bot.name}:")
        echo(f"\n  pipecat eval run scenario.yaml --bot-url {url}\n")
        echo("Ctrl-C ends it.")
        await asyncio.Event().wait()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError as error:
        raise PortError(
            f"Port {port} cannot be had ({os.strerror(error.errno or 0)}): "
            "end what uses it, or give another one."
        ) from error
