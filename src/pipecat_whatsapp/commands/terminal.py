"""What all commands share: how they run, and how they fail."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import typer

from pipecat_whatsapp.errors import WhatsAppError

ENDING = [number for number in signal.Signals if number.name in ("SIGTERM", "SIGHUP")]

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's work to its end; an error of this package becomes its one sentence.

    As with Ctrl-C, other signals that end a program let the work clean up first.
    """
    received = [signal.SIGINT]
    _quieten()
    try:
        return asyncio.run(_until_ended(work, received))
    except WhatsAppError as error:
        fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(128 + received[-1]) from None


async def _until_ended(work: Coroutine[Any, Any, _T], received: list[signal.Signals]) -> _T:
    loop, working = asyncio.get_running_loop(), asyncio.ensure_future(work)

    def end(number: signal.Signals) -> None:
        received.append(number)
        working.cancel()

    for number in ENDING:
        # Who started us may have it ignored, as nohup does.
        if signal.getsignal(number) is signal.SIG_DFL:
            # Windows has no such handlers.
            with suppress(NotImplementedError):
                loop.add_signal_handler(number, end, number)
    return await working


def fail(why: str) -> NoReturn:
    """Say why the command cannot go on, and end it."""
    typer.echo(why, err=True)
    raise typer.Exit(1)


def _quieten() -> None:
    """Leave the terminal to what the command has to say."""
    from loguru import logger

    logger.remove()
    # A traceback must not show the values of variables: tokens and secrets are among them.
    logger.add(sys.stderr, level="WARNING", format="{message}", diagnose=False)
