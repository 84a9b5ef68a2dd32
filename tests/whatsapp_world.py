"""A simulated Meta and a bot's webhooks, and the environment of a command that meets both."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from bots import PlainBot
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.server import PATH, create_app
from pipecat_whatsapp.simulator.graph import Account, SimulatedMeta
from terminal import Outcome, run

CLI = ("-m", "pipecat_whatsapp.cli")


def variables(account: Account, graph_url: str) -> dict[str, str]:
    """What a bot of the simulated business has in its environment."""
    return {
        "WHATSAPP_TOKEN": account.token,
        "WHATSAPP_PHONE_NUMBER_ID": account.phone_number_id,
        "WHATSAPP_APP_SECRET": account.app_secret,
        "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN": account.verification_token,
        "WHATSAPP_GRAPH_URL": graph_url,
    }


@dataclass
class World:
    """Meta, and the place where commands run.

    Parameters:
        meta: Meta's side.
        folder: Where the `.env` of commands is; there is none from the start.
        environ: The variables of commands.
    """

    meta: SimulatedMeta
    folder: Path
    environ: dict[str, str]
    bot_url: str = ""
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def env_file(self) -> Path:
        """The `.env` that commands read and write."""
        return self.folder / ".env"

    async def start_bot(self, port: int = 0, **settings: object) -> str:
        """Serve a bot's webhooks; returns their address.

        Args:
            port: Where; 0 takes a free one.
            **settings: Fields of the bot's config that differ from the environment.
        """

        environ = variables(self.meta.account, self.meta.graph_url)
        adapter = WebhookAdapter(WhatsAppConfig.from_env(environ, **settings), PlainBot())
        port = await self._serve(create_app(adapter), port)
        self.bot_url = f"http://127.0.0.1:{port}{PATH}"
        return self.bot_url

    async def serve(self, status: int, text: str = "") -> str:
        """Serve something that is no bot; returns its address."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status, text=text)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        return f"http://127.0.0.1:{await self._serve(app, 0)}{PATH}"

    async def command(self, *arguments: object) -> Outcome:
        """Run a command to its end."""
        is_there = self.env_file.exists() or arguments[0] == "setup"
        env_file = self.env_file if is_there else os.devnull
        return await run(*CLI, *arguments, "--env-file", env_file, environment=self.environ)

    async def _serve(self, app: web.Application, port: int) -> int:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        address: tuple[str, int] = runner.addresses[0]
        return address[1]

    async def close(self) -> None:
        """Stop what was served."""
        await self._stack.aclose()


@asynccontextmanager
async def whatsapp_world(folder: Path, account: Account | None = None) -> AsyncIterator[World]:
    """Meta, with a business that has set up nothing yet."""
    async with SimulatedMeta(account) as meta:
        world = World(meta, folder, variables(meta.account, meta.graph_url))
        try:
            yield world
        finally:
            await world.close()
