"""The variables that a bot runs with: the environment, and the `.env` file over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipecat_whatsapp.errors import ConfigError

if TYPE_CHECKING:
    from pipecat_whatsapp.meta.graph import GraphClient

TOKEN = "WHATSAPP_TOKEN"  # noqa: S105 - the variable's name
PHONE_NUMBER_ID = "WHATSAPP_PHONE_NUMBER_ID"
APP_SECRET = "WHATSAPP_APP_SECRET"  # noqa: S105 - the variable's name
VERIFICATION_TOKEN = "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN"  # noqa: S105 - the variable's name
GRAPH_URL = "WHATSAPP_GRAPH_URL"
GRAPH_VERSION = "WHATSAPP_GRAPH_VERSION"

BOT_URL = "http://127.0.0.1:7860/whatsapp"
"""Where a bot of pipecat's runner listens unless told otherwise."""

ENV_FILE = Path(".env")
"""Where variables are kept unless told otherwise; it need not be there."""


def _existing(env_file: Path) -> Path:
    if env_file != ENV_FILE and not env_file.exists():
        raise typer.BadParameter(f"{env_file} does not exist.")
    return env_file


_option = partial(
    typer.Option, "--env-file", metavar="FILE", help="Variables in a file.", dir_okay=False
)
EnvFile = Annotated[Path, _option(callback=_existing)]
NewEnvFile = Annotated[Path, _option()]
PhoneNumberId = Annotated[
    str | None,
    typer.Option(
        "--phone-number-id",
        metavar="ID",
        help="Which business number, where the environment names several.",
    ),
]

BotUrl = Annotated[
    str, typer.Option("--bot-url", metavar="URL", help="Where the bot listens on this machine.")
]
Waba = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="The WhatsApp Business Account, where the token does not name it.",
    ),
]


def load(env_file: Path) -> Mapping[str, str]:
    """The environment as a bot sees it: as in pipecat's runner, the file wins.

    Raises:
        ConfigError: The file cannot be read.
    """
    from dotenv import load_dotenv

    try:
        load_dotenv(env_file, override=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{env_file} cannot be read ({error}): repair or remove it.") from error
    return os.environ


def required(environ: Mapping[str, str], name: str) -> str:
    """A variable's value.

    Raises:
        ConfigError: It is missing or empty.
    """
    if not values(environ, name):
        raise ConfigError(
            f"{name} is missing in the environment and in .env: "
            "`pipecat-whatsapp setup` finds and writes it."
        )
    return environ[name].strip()


def first(environ: Mapping[str, str], name: str) -> str:
    """A variable's value, the first of several.

    Raises:
        ConfigError: It is missing or empty.
    """
    required(environ, name)
    return values(environ, name)[0]


def values(environ: Mapping[str, str], name: str) -> list[str]:
    """The values of a variable that may hold several, separated by commas."""
    return [part.strip() for part in environ.get(name, "").split(",") if part.strip()]


def phone_number_id(environ: Mapping[str, str], chosen: str | None) -> str:
    """The business number's id that was chosen, or that is the only one.

    Raises:
        ConfigError: There is none, or several and no choice.
    """
    if chosen:
        return chosen
    required(environ, PHONE_NUMBER_ID)
    ids = values(environ, PHONE_NUMBER_ID)
    if len(ids) != 1:
        raise ConfigError(
            f"{PHONE_NUMBER_ID} names {len(ids)} numbers: choose one with --phone-number-id."
        )
    return ids[0]


def open_graph(environ: Mapping[str, str], token: str | None = None) -> GraphClient:
    """A client of the Graph API that the environment points to.

    Args:
        environ: The variables.
        token: The access token; that of the environment by default.

    Raises:
        ConfigError: The token is missing, or a variable cannot be used.
    """
    from pipecat_whatsapp.meta.graph import (
        DEFAULT_GRAPH_URL,
        DEFAULT_GRAPH_VERSION,
        GraphClient,
    )

    return GraphClient(
        token=token or required(environ, TOKEN),
        url=environ.get(GRAPH_URL) or DEFAULT_GRAPH_URL,
        version=environ.get(GRAPH_VERSION) or DEFAULT_GRAPH_VERSION,
    )
