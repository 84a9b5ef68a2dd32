"""`simulate`, `demo` and `ring`: a bot, and a simulated WhatsApp that calls it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipecat_whatsapp.commands import terminal

if TYPE_CHECKING:
    from pipecat_whatsapp.simulator.session import CallOrder, Setup


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
        Path, typer.Argument(help="The bot's file, such as bot.py.", exists=True, dir_okay=False)
    ],
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
) -> None:
    """Call a bot from a simulated WhatsApp, or let it call: no account, no network."""
    from pipecat_whatsapp.simulator.demo import QUESTION
    from pipecat_whatsapp.simulator.network import NetworkConditions
    from pipecat_whatsapp.simulator.session import CallOrder, Setup

    conditions = NetworkConditions(loss=loss, delay=delay / 1000, jitter=jitter / 1000)
    order = CallOrder(question or QUESTION, record, outbound, keys)
    _simulate(Setup(bot, port, conditions, seed, verbose), order, stay=stay)


def demo(
    record: Record = Path("demo-recording.wav"),
    outbound: Outbound = False,
    stay: Stay = False,
    verbose: Verbose = False,
) -> None:
    """Call a demo bot that says back what it hears, or let it call."""
    from pipecat_whatsapp.simulator.demo import BOT, QUESTION
    from pipecat_whatsapp.simulator.session import CallOrder, Setup

    _simulate(Setup(BOT, verbose=verbose), CallOrder(QUESTION, record, outbound), stay=stay)


def ring(question: Question = None, record: Record = None) -> None:
    """Call the bot of a simulation that runs with --stay."""
    from pipecat_whatsapp.simulator.control import request_call
    from pipecat_whatsapp.simulator.demo import QUESTION

    failure = terminal.run(request_call(question or QUESTION, record, typer.echo))
    if failure is not None:
        terminal.fail(failure)


def _simulate(setup: Setup, order: CallOrder, *, stay: bool) -> None:
    from pipecat_whatsapp.simulator.session import run

    terminal.run(run(setup, order, typer.echo, stay=stay))
