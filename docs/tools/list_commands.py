"""Writes the page of the commands, from what the command line itself says of them.

`make docs` runs it. The page is kept, since it is read without the site, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pipecat_whatsapp.cli import app

PAGE = Path(__file__).parent.parent / "reference" / "commands.md"

BEGINNING = """\
# Commands

What `pipecat-whatsapp COMMAND --help` says. Where pipecat's own command line is installed, each
command is there as `pipecat whatsapp COMMAND`, too. Options may stand before and after arguments.
"""


def page() -> str:
    """The text of the page."""
    group = typer.main.get_command(app)
    sections = [_section(name, command) for name, command in _commands(group)]
    return "\n".join([BEGINNING, *sections])


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Names and commands; a group's own name stands before those in it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def _section(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join(["pipecat-whatsapp", name, *map(_place, arguments), "[OPTIONS]"])
    lines = [f"## {name}", "", "```text", usage, "```", "", _sentences(command.help)]
    if command.params:
        lines += ["", "| argument or option | default | |", "|---|---|---|"]
        lines += [_row(_place(each).strip("[]"), each) for each in arguments]
        lines += [_row(_option(each), each) for each in options]
    return "\n".join([*lines, ""])


def _row(name: str, parameter: Any) -> str:
    words = _sentences(parameter.help).replace("|", "\\|")
    return f"| `{name}` | {_default(parameter)} | {words} |"


def _place(argument: Any) -> str:
    """An argument as usage lines have it."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(option: Any) -> str:
    names = ", ".join(option.opts)
    if option.is_flag:
        return names
    return f"{names} {option.metavar or option.name.upper()}"


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or value in ("", ()):
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _sentences(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
