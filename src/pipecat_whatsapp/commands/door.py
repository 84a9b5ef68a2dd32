"""Makes sure that Meta's verification of a webhook's address is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from pipecat_whatsapp.commands.dialogue import Dialogue
from pipecat_whatsapp.doctor.stun import network_reason
from pipecat_whatsapp.doctor.webhook import Visit, verify
from pipecat_whatsapp.errors import ConfigError, WebhookError
from pipecat_whatsapp.meta.webhook import verify_subscription
from pipecat_whatsapp.server import PATH

_PAUSE = 1.0


@dataclass(frozen=True)
class Webhook:
    """Where webhooks shall go.

    Parameters:
        url: The public address.
        port: The bot's port on this machine.
        verification_token: What Meta shows to the address.
        patience: Seconds that the way from the address to this machine may take to open.
    """

    url: str
    port: int
    verification_token: str = field(repr=False)
    patience: float

    @property
    def bot_url(self) -> str:
        """Where the bot listens on this machine."""
        return f"http://127.0.0.1:{self.port}{PATH}"


@asynccontextmanager
async def answered(webhook: Webhook, dialogue: Dialogue) -> AsyncIterator[None]:
    """While this lasts, a webhook's address answers Meta's verification.

    The bot does it if it runs; else it is done here, on the port on which the bot will be.

    Args:
        webhook: Where webhooks shall go.
        dialogue: Told who answers.

    Raises:
        ConfigError: The address does not lead here, or somebody else answers.
    """
    found = await verify(webhook.url, webhook.verification_token)
    if found.visit is Visit.VERIFIED:
        dialogue.say("Bot", f"answers at {webhook.url}")
        yield
        return
    _check_token(found.visit, webhook.url)
    here = await verify(webhook.bot_url, webhook.verification_token)
    _check_token(here.visit, webhook.bot_url)
    if here.visit is Visit.VERIFIED:
        dialogue.say("Bot", f"answers on port {webhook.port}")
        await _wait_until_reachable(webhook)
        yield
    elif here.visit is Visit.UNREACHABLE:
        async with _serve(webhook):
            dialogue.say("Bot", f"does not run: its port {webhook.port} is used for a moment")
            await _wait_until_reachable(webhook)
            yield
    else:
        raise ConfigError(
            f"Something else than a bot listens on port {webhook.port} ({here.told}): "
            "stop it, or name the bot's port with --port."
        )


def _check_token(visit: Visit, url: str) -> None:
    if visit is Visit.REFUSED:
        raise ConfigError(
            f"The bot at {url} runs with another verification token: start it again, so that it "
            "reads .env, and run setup once more."
        )


async def _wait_until_reachable(webhook: Webhook) -> None:
    deadline = time.monotonic() + webhook.patience
    while True:
        found = await verify(webhook.url, webhook.verification_token)
        if found.visit is Visit.VERIFIED:
            return
        if time.monotonic() > deadline:
            raise ConfigError(
                f"{webhook.url} does not lead to port {webhook.port} of this machine "
                f"({found.told}): check the tunnel or the reverse proxy."
            )
        await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def _serve(webhook: Webhook) -> AsyncIterator[None]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.Response(text=verify_subscription(request.query, webhook.verification_token))
        except WebhookError as error:
            return web.Response(text=str(error), status=error.status)

    app = web.Application()
    app.router.add_get(PATH, answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await _listen(runner, webhook.port)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError as error:
        raise ConfigError(
            f"Port {port} cannot be used ({network_reason(error)}): stop what uses it, or name the "
            "bot's port with --port."
        ) from error
