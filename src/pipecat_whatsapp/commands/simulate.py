"""`simulate`, `demo` and `ring`: a bot, and a simulated WhatsApp that calls it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from pipecat_whatsapp.commands import environment, terminal
from pipecat_whatsapp.errors import ConfigError, WhatsAppError

if TYPE_CHECKING:
    from pipecat_whatsapp.simulator.session import CallOrder
    from pipecat_whatsapp.simulator.stage import RunningServers, Setup


def _known_keys(keys: str) -> str:
    if not set(keys) <= set("0123456789*#"):
        raise typer.BadParameter("a telephone has the keys 0 to 9, * and #.")
    return keys


Question = Annotated[
    Path | None,
    typer.Option(
        "--call",
        metavar="WAV",
        help="What the caller says; a shipped question by default.",
        exists=True,
        dir_okay=False,
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(metavar="WAV", help="Write what the caller hears.", dir_okay=False),
]
Keys = Annotated[
    str,
    typer.Option(
        "--press",
        metavar="KEYS",
        help="Keys that the user presses after the question, such as 12#.",
        callback=_known_keys,
    ),
]
Outbound = Annotated[
    bool, typer.Option("--outbound", help="The bot asks for permission, and calls the user.")
]
Stay = Annotated[bool, typer.Option("--stay", help="Keep running, to be called again.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what the bot prints.")]


def simulate(
    bot: Annotated[
        Path | None,
        typer.Argument(help="The bot's file, such as bot.py.", exists=True, dir_okay=False),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Call a server that runs already instead, where it takes webhooks; of several, "
            "each webhook goes to the next. The environment is theirs, with WHATSAPP_GRAPH_URL "
            "on this machine.",
        ),
    ] = None,
    question: Question = None,
    keys: Keys = "",
    record: Record = None,
    outbound: Outbound = False,
    port: Annotated[int, typer.Option(help="The bot's port; 0 takes a free one.")] = 0,
    loss: Annotated[float, typer.Option(min=0, max=1, help="Share of packets lost.")] = 0.0,
    delay: Annotated[float, typer.Option(min=0, help="Delay of every packet, ms.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0, help="Extra random delay, ms.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of losses and delays.")] = 0,
    stay: Stay = False,
    verbose: Verbose = False,
    env_file: environment.EnvFile = Path(".env"),
) -> None:
    """Call a bot from a simulated WhatsApp, or let it call: no account, no network."""
    from pipecat_whatsapp.simulator.demo import QUESTION
    from pipecat_whatsapp.simulator.network import NetworkConditions
    from pipecat_whatsapp.simulator.session import CallOrder
    from pipecat_whatsapp.simulator.stage import Setup

    conditions = NetworkConditions(loss=loss, delay=delay / 1000, jitter=jitter / 1000)
    order = CallOrder(question or QUESTION, record, outbound, keys)
    served = _served(bot, at or [], env_file)
    _simulate(Setup(served, port, conditions, seed, verbose), order, stay=stay)


def demo(
    record: Record = Path("demo-recording.wav"),
    outbound: Outbound = False,
    stay: Stay = False,
    verbose: Verbose = False,
) -> None:
    """Call a demo bot that says back what it hears, or let it call."""
    from pipecat_whatsapp.simulator.demo import BOT, QUESTION
    from pipecat_whatsapp.simulator.session import CallOrder
    from pipecat_whatsapp.simulator.stage import Setup

    _simulate(Setup(BOT, verbose=verbose), CallOrder(QUESTION, record, outbound), stay=stay)


def ring(question: Question = None, record: Record = None) -> None:
    """Call the bot of a simulation that runs with --stay."""
    from pipecat_whatsapp.simulator.control import request_call
    from pipecat_whatsapp.simulator.demo import QUESTION

    failure = terminal.run(request_call(question or QUESTION, record, typer.echo))
    if failure is not None:
        terminal.fail(failure)


def _served(bot: Path | None, urls: list[str], env_file: Path) -> Path | RunningServers:
    """Who shall be called: a bot that is to be started, or servers that run."""
    if (bot is None) is not bool(urls):
        raise typer.BadParameter("name either a bot's file, or a server with --at.")
    if bot is not None:
        return bot
    try:
        return _running_servers(urls, environment.load(env_file))
    except WhatsAppError as error:
        terminal.fail(str(error))


def _running_servers(urls: list[str], environ: Mapping[str, str]) -> RunningServers:
    """Servers with these variables, whose account at Meta is simulated."""
    from pipecat_whatsapp.simulator.settings import Account
    from pipecat_whatsapp.simulator.stage import RunningServers

    def first(name: str) -> str:
        environment.required(environ, name)
        return environment.values(environ, name)[0]

    account = Account(
        token=environment.required(environ, environment.TOKEN),
        phone_number_id=first(environment.PHONE_NUMBER_ID),
        app_secret=first(environment.APP_SECRET),
        verification_token=environment.required(environ, environment.VERIFICATION_TOKEN),
    )
    return RunningServers(tuple(urls), account, _graph_port(environ))


def _graph_port(environ: Mapping[str, str]) -> int:
    address = urlsplit(environ.get(environment.GRAPH_URL, ""))
    if address.hostname != "127.0.0.1" or not address.port:
        raise ConfigError(
            f"{environment.GRAPH_URL} does not say where servers find a simulated WhatsApp: "
            "write http://127.0.0.1:9000 into their .env, say, and start them again."
        )
    return address.port


def _simulate(setup: Setup, order: CallOrder, *, stay: bool) -> None:
    from pipecat_whatsapp.simulator.session import run

    terminal.run(run(setup, order, typer.echo, stay=stay))
