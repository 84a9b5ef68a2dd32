"""`call`: has the running bot call somebody."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pipecat_whatsapp.commands import environment, terminal
from pipecat_whatsapp.errors import WhatsAppError

PATIENCE = 600.0
"""Seconds until the attempt is decided: a permission may be asked for, and it rings for a while."""


class DialError(WhatsAppError):
    """The bot did not take the order to call."""


def call(
    number: Annotated[str, typer.Argument(help="A phone number, or a user id such as DE.123.")],
    ask: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Ask the user for permission first, with these words."),
    ] = None,
    url: Annotated[str, typer.Option(help="Where the bot listens.")] = environment.BOT_URL,
    phone_number_id: environment.PhoneNumberId = None,
    env_file: environment.EnvFile = Path(".env"),
) -> None:
    """Have the running bot call somebody."""
    answer = terminal.run(_call(number, ask, url, phone_number_id, env_file))
    outcome, detail = answer.get("outcome", "unknown"), answer.get("detail")
    typer.echo(f"{outcome}: {detail}" if detail else outcome)
    if outcome != "answered":
        raise typer.Exit(1)


async def _call(
    number: str, ask: str | None, url: str, phone_number_id: str | None, env_file: Path
) -> dict[str, Any]:
    from pipecat_whatsapp.meta.address import read_user

    user = read_user(number)
    environ = environment.load(env_file)
    environment.required(environ, environment.APP_SECRET)
    secret = environment.values(environ, environment.APP_SECRET)[0]
    order = {
        "to": user.phone or user.user_id,
        "phone_number_id": phone_number_id,
        "ask_permission": ask,
        "timestamp": int(time.time()),
        "nonce": secrets.token_hex(16),
    }
    return await _dial(f"{url.rstrip('/')}/calls", json.dumps(order).encode(), secret)


async def _dial(url: str, body: bytes, secret: str) -> dict[str, Any]:
    """Order a call at the bot's dial door, signed as Meta signs webhooks.

    Raises:
        DialError: The bot did not take it.
    """
    import aiohttp

    signature = hmac.digest(secret.encode(), body, "sha256").hex()
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as client,
            client.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            status, answer = response.status, await response.read()
    except aiohttp.ClientConnectorError as error:
        raise DialError(
            f"No bot answers at {url}: start it (python bot.py -t whatsapp), or name its address "
            "with --url."
        ) from error
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise DialError(
            f"The bot did not tell what became of the call ({type(error).__name__}): "
            "look into its log."
        ) from error
    if status != 200:
        raise DialError(_refusal(url, status, answer))
    return _outcome(answer)


def _outcome(answer: bytes) -> dict[str, Any]:
    try:
        read = json.loads(answer)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise DialError("The answer is not that of a bot: name the bot's address with --url.")
    return read


def _refusal(url: str, status: int, answer: bytes) -> str:
    if status == 401:
        return (
            "The bot refused the order, because it runs with another app secret: "
            "run this where its .env is."
        )
    if status in (404, 405):
        return f"Nothing takes orders to call at {url}: name the bot's address with --url."
    told = " ".join(answer.decode(errors="replace").split())[:300]
    return f"The bot refused the order (HTTP {status}): {told or 'look into its log.'}"
