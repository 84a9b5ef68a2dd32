"""`call`: has the running bot call somebody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipecat_whatsapp.commands import environment, terminal

if TYPE_CHECKING:
    from pipecat_whatsapp.calls.dial_client import DialAnswer


def call(
    number: Annotated[str, typer.Argument(help="A phone number, or a user id such as DE.123.")],
    ask: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Ask the user for permission first, with these words."),
    ] = None,
    url: Annotated[str, typer.Option(help="Where the bot listens.")] = environment.BOT_URL,
    phone_number_id: environment.PhoneNumberId = None,
    env_file: environment.EnvFile = environment.ENV_FILE,
) -> None:
    """Have the running bot call somebody."""
    answer = terminal.run(_call(number, ask, url, phone_number_id, env_file))
    typer.echo(str(answer))
    if answer.outcome != "answered":
        raise typer.Exit(1)


async def _call(
    number: str, ask: str | None, url: str, phone_number_id: str | None, env_file: Path
) -> DialAnswer:
    from pipecat_whatsapp.calls.dial_client import order_call
    from pipecat_whatsapp.meta.address import read_user

    user = read_user(number)
    environ = environment.load(env_file)
    return await order_call(
        url,
        environment.first(environ, environment.APP_SECRET),
        user.phone or user.user_id or "",
        phone_number_id=phone_number_id,
        ask_permission=ask,
    )
