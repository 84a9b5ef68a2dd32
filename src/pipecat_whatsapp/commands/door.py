"""Makes sure that Meta's verification of a webhook's address is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from pipecat_whatsapp.commands.dialogue import Dialogue
from pipecat_whatsapp.doctor.webhook import Visit, verify
from pipecat_whatsapp.errors import ConfigError, WebhookError
from pipecat_whatsapp.meta.webhook import verify_subscription
from pipecat_whatsapp.server import PATH

_PAUSE = 1.0


@asynccontextmanager
async def answered(
    url: str, port: int, verification_token: str, dialogue: Dialogue, *, patience: float
) -> AsyncIterator[None]:
    """While this lasts, a webhook's address answers Meta's verification.

    The bot does it if it runs; else it is done here, on the port on which the bot will be.

    Args:
        url: The public address.
        port: The bot's port on this machine.
        verification_token: What Meta shows to the address.
        dialogue: Told who answers.
        patience: Seconds that the way from the address to this machine may take to open.

    Raises:
        ConfigError: The address does not lead here, or somebody else answers.
    """
    found = await verify(url, verification_token)
    if found.visit is Visit.VERIFIED:
        dialogue.say("Bot", f"answers at {url}")
        yield
        return
    _check_token(found.visit, url)
    bot_url = f"http://127.0.0.1:{port}{PATH}"
    here = await verify(bot_url, verification_token)
    _check_token(here.visit, bot_url)
    if here.visit is Visit.VERIFIED:
        dialogue.say("Bot", f"answers on port {port}")
        await _wait_until_reachable(url, port, verification_token, patience)
        yield
    elif here.visit is Visit.UNREACHABLE:
        async with _serve(port, verification_token):
            dialogue.say("Bot", f"does not run, so its place on port {port} is taken for a moment")
            await _wait_until_reachable(url, port, verification_token, patience)
            yield
    else:
        raise ConfigError(
            f"Something else than a bot listens on port {port} ({here.told}): "
            "stop it, or name the bot's port with --port."
        )


def _check_token(visit: Visit, url: str) -> None:
    if visit is Visit.REFUSED:
        raise ConfigError(
            f"The bot at {url} runs with another verification token: start it again, so that it "
            "reads .env, and run setup once more."
        )


async def _wait_until_reachable(
    url: str, port: int, verification_token: str, patience: float
) -> None:
    deadline = time.monotonic() + patience
    while (found := await verify(url, verification_token)).visit is not Visit.VERIFIED:
        if time.monotonic() > deadline:
            raise ConfigError(
                f"{url} does not lead to port {port} of this machine ({found.told}): "
                "check the tunnel or the reverse proxy."
            )
        await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def _serve(port: int, verification_token: str) -> AsyncIterator[None]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.Response(text=verify_subscription(request.query, verification_token))
        except WebhookError as error:
            return web.Response(text=str(error), status=error.status)

    app = web.Application()
    app.router.add_get(PATH, answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await _listen(runner, port)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError as error:
        raise ConfigError(f"Port {port} cannot be used: {error.strerror}.") from error
