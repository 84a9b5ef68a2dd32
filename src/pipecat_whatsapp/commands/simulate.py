"""`simulate`, `demo` and `ring`: a bot, and a simulated WhatsApp whose users call it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from pipecat_whatsapp.commands import environment, terminal
from pipecat_whatsapp.errors import ConfigError, WhatsAppError

if TYPE_CHECKING:
    from pipecat_whatsapp.simulator.session import CallOrder
    from pipecat_whatsapp.simulator.stage import PagePlace, RunningServers, Setup


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
Stay = Annotated[
    bool, typer.Option("--stay", help="Keep running, to be called by browser and by `ring`.")
]
PagePort = Annotated[
    int, typer.Option("--page-port", help="The phone page's port; 0 takes a free one.")
]
PageHost = Annotated[
    str,
    typer.Option(
        "--page-host",
        metavar="ADDRESS",
        help="The phone page's address. Beyond loopback it needs a token, and TLS before it: "
        "browsers give their microphone to nobody else.",
    ),
]
PageToken = Annotated[
    str | None,
    typer.Option(
        "--page-token",
        metavar="TOKEN",
        envvar="WHATSAPP_PAGE_TOKEN",
        help="What a browser has to show: 16 characters or more.",
    ),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Do not open the phone page.")]
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
    page_port: PagePort = 0,
    page_host: PageHost = "127.0.0.1",
    page_token: PageToken = None,
    no_browser: NoBrowser = False,
    verbose: Verbose = False,
    env_file: environment.EnvFile = environment.ENV_FILE,
) -> None:
    """Talk to a bot over a simulated WhatsApp: no account, no network.

    You call it in the browser, or it calls you; with --call, --press, --record or --outbound there
    is one call by itself.
    """
    from pipecat_whatsapp.simulator.demo import QUESTION
    from pipecat_whatsapp.simulator.network import NetworkConditions
    from pipecat_whatsapp.simulator.session import CallOrder
    from pipecat_whatsapp.simulator.stage import PagePlace, Setup

    conditions = NetworkConditions(loss=loss, delay=delay / 1000, jitter=jitter / 1000)
    setup = Setup(_served(bot, at or [], env_file), port, conditions, seed, verbose)
    order = None
    if question or record or outbound or keys:
        order = CallOrder(question or QUESTION, record, outbound, keys)
    if order is not None and not stay:
        _call(setup, order)
    else:
        place = PagePlace(page_host, page_port, page_token or None)
        _host(setup, order, place, browser=not no_browser)


def demo(
    record: Record = Path("demo-recording.wav"),
    outbound: Outbound = False,
    stay: Stay = False,
    page_port: PagePort = 0,
    page_host: PageHost = "127.0.0.1",
    page_token: PageToken = None,
    no_browser: NoBrowser = False,
    verbose: Verbose = False,
) -> None:
    """Call a demo bot that says back what it hears, or let it call."""
    from pipecat_whatsapp.simulator.demo import BOT, QUESTION
    from pipecat_whatsapp.simulator.session import CallOrder
    from pipecat_whatsapp.simulator.stage import PagePlace, Setup

    setup, order = Setup(BOT, verbose=verbose), CallOrder(QUESTION, record, outbound)
    if stay:
        place = PagePlace(page_host, page_port, page_token or None)
        _host(setup, order, place, browser=not no_browser)
    else:
        _call(setup, order)


def ring(question: Question = None, record: Record = None) -> None:
    """Call the bot of a simulation that stays."""
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

    account = Account(
        token=environment.required(environ, environment.TOKEN),
        phone_number_id=environment.first(environ, environment.PHONE_NUMBER_ID),
        app_secret=environment.first(environ, environment.APP_SECRET),
        verification_token=environment.required(environ, environment.VERIFICATION_TOKEN),
    )
    return RunningServers(tuple(urls), account, _graph_port(environ))


def _graph_port(environ: Mapping[str, str]) -> int:
    port = None
    # It may be no address at all.
    with suppress(ValueError):
        address = urlsplit(environ.get(environment.GRAPH_URL, ""))
        port = address.port if address.hostname == "127.0.0.1" else None
    if not port:
        raise ConfigError(
            f"{environment.GRAPH_URL} does not say where servers find a simulated WhatsApp: "
            "write http://127.0.0.1:9000 into their .env, say, and start them again."
        )
    return port


def _call(setup: Setup, order: CallOrder) -> None:
    from pipecat_whatsapp.simulator.simulate import run

    terminal.run(run(setup, order, typer.echo))


def _host(setup: Setup, order: CallOrder | None, place: PagePlace, *, browser: bool) -> None:
    from pipecat_whatsapp.simulator.simulate import host

    def show(url: str) -> None:
        if browser and _has_screen():
            # It may last as long as the browser does.
            threading.Thread(target=typer.launch, args=(url,), daemon=True).start()

    terminal.run(host(setup, order, typer.echo, place=place, show=show))


def _has_screen() -> bool:
    """Whether somebody sits before this machine's screen, as far as one can tell."""
    has_display = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    return sys.stdout.isatty() and has_display
