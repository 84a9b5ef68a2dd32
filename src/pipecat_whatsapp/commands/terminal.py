"""What all commands share: how they run, and how they fail."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import typer

from pipecat_whatsapp.errors import WhatsAppError

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's work to its end; an error of this package becomes its one sentence."""
    try:
        return asyncio.run(work)
    except WhatsAppError as error:
        fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None


def fail(why: str) -> NoReturn:
    """Say why the command cannot go on, and end it."""
    typer.echo(why, err=True)
    raise typer.Exit(1)


def quieten() -> None:
    """Leave the terminal to what the command has to say."""
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="WARNING", format="{message}")
