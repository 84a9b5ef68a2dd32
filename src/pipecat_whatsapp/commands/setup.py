"""`setup`: from a token and an app secret to a number that can be called."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from pipecat_whatsapp.commands import environment, terminal
from pipecat_whatsapp.commands.dialogue import Dialogue
from pipecat_whatsapp.errors import ConfigError

if TYPE_CHECKING:
    from pipecat_whatsapp.commands.door import Webhook
    from pipecat_whatsapp.commands.setup_steps import Business
    from pipecat_whatsapp.commands.tunnel import Tunnel
    from pipecat_whatsapp.meta.graph import GraphClient

URL_PATIENCE = 5.0
TUNNEL_PATIENCE = 60.0
"""Seconds that an address that was given, or that of a fresh tunnel, may take to lead here."""


def setup(
    token: Annotated[
        str | None, typer.Option(help="The system user's access token; asked for by default.")
    ] = None,
    app_secret: Annotated[
        str | None, typer.Option(help="The app's secret; asked for by default.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="The public https address; by default cloudflared or ngrok gives one."),
    ] = None,
    port: Annotated[int, typer.Option(help="The bot's port on this machine.")] = 7860,
    waba: environment.Waba = None,
    phone_number_id: environment.PhoneNumberId = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Replace what is set otherwise without being asked.")
    ] = False,
    env_file: environment.NewEnvFile = environment.ENV_FILE,
) -> None:
    """Set up a WhatsApp number for calls: Meta's side, and .env. Safe to repeat."""
    order = _Order(token, app_secret, url, port, waba, phone_number_id, env_file)
    terminal.run(_set_up(order, Dialogue(agrees=yes)))


@dataclass(frozen=True)
class _Order:
    """What was given on the command line."""

    token: str | None = field(repr=False)
    app_secret: str | None = field(repr=False)
    url: str | None
    port: int
    waba: str | None
    phone_number_id: str | None
    env_file: Path


@dataclass(frozen=True)
class _Address:
    """A public address, how long it may take to open, and the tunnel if it is ours."""

    url: str
    patience: float
    tunnel: Tunnel | None = None


async def _set_up(order: _Order, dialogue: Dialogue) -> None:
    from pipecat_whatsapp.commands.door import Webhook

    environ = environment.load(order.env_file)
    token, app_secret, verification_token = _secrets(order, environ, dialogue)
    async with environment.open_graph(environ, token) as graph:
        business = await _find_business(graph, order, environ, app_secret, dialogue)
        found = {
            environment.TOKEN: token,
            environment.PHONE_NUMBER_ID: _served_numbers(environ, business.number.id),
            environment.APP_SECRET: app_secret,
            environment.VERIFICATION_TOKEN: verification_token,
        }
        _write_env_file(order.env_file, found, dialogue)
        async with _public_address(order) as address:
            webhook = Webhook(address.url, order.port, verification_token, address.patience)
            await _connect(graph, business, webhook, dialogue)
            dialogue.say("Next", f"python bot.py -t whatsapp --port {order.port}")
            dialogue.say("", "pipecat-whatsapp doctor")
            if address.tunnel is not None:
                await _keep_open(address.tunnel, dialogue)


def _secrets(order: _Order, environ: Mapping[str, str], dialogue: Dialogue) -> tuple[str, str, str]:
    """The token, the app secret and the verification token: given, known, asked for, or new."""
    token = order.token or environ.get(environment.TOKEN) or dialogue.secret("Token", "--token")
    app_secret = (
        order.app_secret
        or next(iter(environment.values(environ, environment.APP_SECRET)), None)
        or dialogue.secret("App secret", "--app-secret")
    )
    verification_token = environ.get(environment.VERIFICATION_TOKEN) or secrets.token_urlsafe(24)
    return token, app_secret, verification_token


async def _find_business(
    graph: GraphClient,
    order: _Order,
    environ: Mapping[str, str],
    app_secret: str,
    dialogue: Dialogue,
) -> Business:
    from pipecat_whatsapp.commands import setup_steps as steps

    info = await steps.identify(graph, app_secret, dialogue)
    known = environment.values(environ, environment.PHONE_NUMBER_ID)
    waba_id, number = await steps.find_number(
        graph,
        info,
        dialogue,
        waba_id=order.waba,
        wanted=[order.phone_number_id] if order.phone_number_id else known,
    )
    return steps.Business(info.app_id or "", app_secret, waba_id, number)


def _served_numbers(environ: Mapping[str, str], number_id: str) -> str:
    """Where several numbers are served, those and this one; else this one alone."""
    known = environment.values(environ, environment.PHONE_NUMBER_ID)
    return ",".join(dict.fromkeys([*known, number_id])) if len(known) > 1 else number_id


def _write_env_file(env_file: Path, variables: Mapping[str, str], dialogue: Dialogue) -> None:
    from pipecat_whatsapp.commands import env_file as file

    written = file.write(env_file, variables, dialogue)
    dialogue.say(
        env_file.name, f"has {', '.join(written)} now" if written else "has it all already"
    )


@asynccontextmanager
async def _public_address(order: _Order) -> AsyncIterator[_Address]:
    from pipecat_whatsapp.commands.tunnel import open_tunnel
    from pipecat_whatsapp.doctor.webhook import fault_of

    if order.url is not None:
        if (fault := fault_of(order.url)) is not None:
            raise ConfigError(f"{order.url} {fault}: give Meta an https address.")
        yield _Address(_with_path(order.url), URL_PATIENCE)
        return
    async with open_tunnel(order.port) as tunnel:
        yield _Address(_with_path(tunnel.url), TUNNEL_PATIENCE, tunnel)


def _with_path(url: str) -> str:
    from pipecat_whatsapp.server import PATH

    return url.rstrip("/") + PATH if urlsplit(url).path in ("", "/") else url


async def _connect(
    graph: GraphClient, business: Business, webhook: Webhook, dialogue: Dialogue
) -> None:
    from pipecat_whatsapp.commands import door
    from pipecat_whatsapp.commands import setup_steps as steps

    dialogue.say("Address", webhook.url)
    async with door.answered(webhook, dialogue):
        await steps.subscribe_app(graph, business, webhook, dialogue)
    await steps.subscribe_account(graph, business, webhook, dialogue)
    await steps.switch_calling_on(graph, business, dialogue)


async def _keep_open(tunnel: Tunnel, dialogue: Dialogue) -> None:
    dialogue.say("Tunnel", f"{tunnel.name} stays open until Ctrl-C")
    await tunnel.process.wait()
    raise ConfigError(f"{tunnel.name} has ended, and the tunnel with it: run setup again.")
