"""`pipecat-whatsapp simulate`: places a call, or stays for the calls of browsers and terminals."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.control import ControlServer
from pipecat_whatsapp.simulator.page import guard
from pipecat_whatsapp.simulator.session import (
    BotError,
    CallOrder,
    Simulation,
    read_question,
    simulation,
)
from pipecat_whatsapp.simulator.stage import PagePlace, Setup
from pipecat_whatsapp.simulator.story import Echo

ROBIN = User(phone="4915550007777", user_id="DE.900000000000000007", name="Robin Example")
"""Who calls by command where people call by browser: two calls of one user exclude each other."""


async def run(setup: Setup, order: CallOrder, echo: Echo) -> None:
    """Simulate one call.

    Args:
        setup: What to simulate.
        order: The call.
        echo: Takes each line of the story.

    Raises:
        SimulationError: The bot did not start, was not heard, or ended.
        NotCalledError: The bot shall call, and the phone never rang.
        DialError: The bot shall call, and did not take the order.
    """
    _cancel_on_sigterm()
    read_question(order.question)
    async with simulation(setup, echo) as running:
        await _place(running, order, echo)


async def host(
    setup: Setup,
    order: CallOrder | None,
    echo: Echo,
    *,
    place: PagePlace,
    show: Callable[[str], None],
) -> None:
    """Simulate the calls of browsers and of other terminals, until interrupted.

    Args:
        setup: What to simulate.
        order: A call to place at once, beside those; None for none.
        echo: Takes each line of the stories.
        place: Where the phone page is served.
        show: Opens the page at an address, for a browser that needs no token.

    Raises:
        SimulatorError: The page cannot be served there; or as with `run`.
    """
    _cancel_on_sigterm()
    guard.check(place.host, place.token)
    if order is not None:
        read_question(order.question)
    async with simulation(setup, echo) as running, running.serve_page(place, echo) as page:
        echo("Talk to it in the browser:\n")
        if place.token is None:
            echo(f"  {page.url}/\n")
            show(f"{page.url}/")
        else:
            echo(f"  {page.url}/?token=YOUR_TOKEN\n")
        async with ControlServer(partial(_call_by_command, running)):
            if order is not None:
                await _place(running, replace(order, user=ROBIN), echo)
            echo("Have it called from another terminal:\n")
            echo(f"  {_command()} ring [--call question.wav] [--record answer.wav]\n")
            echo("Ctrl-C ends both.")
            # To be interrupted is the usual end of it.
            with suppress(asyncio.CancelledError):
                await running.unless_bot_dies(asyncio.Event().wait())


async def _place(running: Simulation, order: CallOrder, echo: Echo) -> None:
    summary = await running.unless_bot_dies(running.call(order, echo))
    if summary.failure is not None:
        raise BotError(summary.failure)


async def _call_by_command(
    running: Simulation, question: Path, record: Path | None, echo: Echo
) -> str | None:
    """Place a call for another terminal. Returns why it failed, or None."""
    try:
        return (await running.call(CallOrder(question, record, user=ROBIN), echo)).failure
    except SimulatorError as error:
        return str(error)


def _command() -> str:
    """This command as another terminal can type it, whose environment may not be active."""
    name = "pipecat-whatsapp"
    return name if shutil.which(name) else str(Path(sys.executable).with_name(name))


def _cancel_on_sigterm() -> None:
    """Let SIGTERM end everything as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    with suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
