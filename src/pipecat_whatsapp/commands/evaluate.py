"""`evaluate`: has `pipecat eval` speak with a bot over simulated calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipecat_whatsapp.commands import terminal


def evaluate(
    bot: Annotated[
        Path, typer.Argument(help="The bot's file, such as bot.py.", exists=True, dir_okay=False)
    ],
    port: Annotated[int, typer.Option(help="Where `pipecat eval` finds the bot.")] = 7860,
    loss: Annotated[float, typer.Option(min=0, max=1, help="Share of packets lost.")] = 0.0,
    delay: Annotated[float, typer.Option(min=0, help="Delay of every packet, ms.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0, help="Extra random delay, ms.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of losses and delays.")] = 0,
) -> None:
    """Let `pipecat eval` talk with a bot over simulated calls."""
    from pipecat_whatsapp.simulator.evaluation.server import run
    from pipecat_whatsapp.simulator.network import NetworkConditions

    conditions = NetworkConditions(loss=loss, delay=delay / 1000, jitter=jitter / 1000)
    terminal.run(run(bot, typer.echo, port=port, conditions=conditions, seed=seed))
