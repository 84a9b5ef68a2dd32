"""The `pipecat-whatsapp` command, also mounted as `pipecat whatsapp`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

try:
    import typer
except ModuleNotFoundError:
    sys.exit("This command needs more: pip install 'pipecat-whatsapp[simulator]'.")

# All else is imported where it is used: `pipecat --help` loads this module too.
if TYPE_CHECKING:
    from pipecat_whatsapp.simulator.session import Setup

app = typer.Typer(
    help="Put a pipecat voice bot on WhatsApp calls.", no_args_is_help=True, add_completion=False
)

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
Stay = Annotated[bool, typer.Option("--stay", help="Keep running, to be called again.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what the bot prints.")]


@app.callback()
def main() -> None:
    """Put a pipecat voice bot on WhatsApp calls."""


@app.command()
def simulate(
    bot: Annotated[
        Path, typer.Argument(help="The bot's file, such as bot.py.", exists=True, dir_okay=False)
    ],
    question: Question = None,
    record: Record = None,
    port: Annotated[int, typer.Option(help="The bot's port; 0 takes a free one.")] = 0,
    loss: Annotated[float, typer.Option(min=0, max=1, help="Share of packets lost.")] = 0.0,
    delay: Annotated[float, typer.Option(min=0, help="Delay of every packet, ms.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0, help="Extra random delay, ms.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of losses and delays.")] = 0,
    stay: Stay = False,
    verbose: Verbose = False,
) -> None:
    """Call a bot from a simulated WhatsApp: no account, no network."""
    from pipecat_whatsapp.simulator.network import NetworkConditions
    from pipecat_whatsapp.simulator.session import Setup

    conditions = NetworkConditions(loss=loss, delay=delay / 1000, jitter=jitter / 1000)
    _simulate(Setup(bot, port, conditions, seed, verbose), question, record, stay=stay)


@app.command()
def demo(
    record: Record = Path("demo-recording.wav"),
    stay: Stay = False,
    verbose: Verbose = False,
) -> None:
    """Call a demo bot that says back what it hears."""
    from pipecat_whatsapp.simulator.demo import BOT
    from pipecat_whatsapp.simulator.session import Setup

    _simulate(Setup(BOT, verbose=verbose), None, record, stay=stay)


@app.command()
def call(question: Question = None, record: Record = None) -> None:
    """Call the bot of a simulation that runs with --stay."""
    from pipecat_whatsapp.simulator.control import NoSimulationError, request_call
    from pipecat_whatsapp.simulator.demo import QUESTION

    try:
        failure = _run(request_call(question or QUESTION, record, typer.echo))
    except NoSimulationError as error:
        _fail(str(error))
    if failure is not None:
        _fail(failure)


def _simulate(setup: Setup, question: Path | None, record: Path | None, *, stay: bool) -> None:
    from pipecat_whatsapp.simulator.demo import QUESTION
    from pipecat_whatsapp.simulator.session import CallOrder, SimulationError, run

    _quieten()
    try:
        _run(run(setup, CallOrder(question or QUESTION, record), typer.echo, stay=stay))
    except SimulationError as error:
        _fail(str(error))


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None


def _quieten() -> None:
    """Leave the terminal to the call's story."""
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="WARNING", format="{message}")


def _fail(why: str) -> None:
    typer.echo(why, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
