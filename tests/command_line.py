"""What this package's command line makes of arguments, without running anything."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from pipecat_whatsapp.cli import app

COMMAND = "pipecat-whatsapp"


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """The parameters of the command's function. Files that are named must be there."""
    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name=COMMAND)
    names = iter(words)
    while hasattr(command, "commands"):
        name = next(names)
        assert name in command.commands, f"{COMMAND} has no {name}"
        command = command.commands[name]
    values: dict[str, Any] = command.make_context(name, list(names), parent=context).params
    return values


def commands_in(script: str) -> Iterator[list[str]]:
    """The arguments of this package's command in lines for a shell."""
    for line in script.replace("\\\n", " ").splitlines():
        if COMMAND in line:
            words = shlex.split(line, comments=True)
            if words[:1] == [COMMAND]:
                yield words[1:]
