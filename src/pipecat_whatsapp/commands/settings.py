"""`settings show` and `settings set`: the calling settings of a number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipecat_whatsapp.commands import environment, terminal

if TYPE_CHECKING:
    from pipecat_whatsapp.meta.calling_settings import CallingSettings

settings = typer.Typer(
    help="Show and change the calling settings of the business number.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


@settings.command()
def show(
    phone_number_id: environment.PhoneNumberId = None,
    env_file: environment.EnvFile = environment.ENV_FILE,
) -> None:
    """Show the calling settings."""
    terminal.run(_show(phone_number_id, env_file))


@settings.command(name="set")
def change(
    changes: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE...", help="Such as status=ENABLED; `show` has the keys."),
    ],
    phone_number_id: environment.PhoneNumberId = None,
    env_file: environment.EnvFile = environment.ENV_FILE,
) -> None:
    """Change calling settings, and print what changed."""
    terminal.run(_change(changes, phone_number_id, env_file))


async def _show(phone_number_id: str | None, env_file: Path) -> None:
    environ = environment.load(env_file)
    chosen = environment.phone_number_id(environ, phone_number_id)
    async with environment.open_graph(environ) as graph:
        found = await graph.settings.read(chosen)
    _print_table(found)


async def _change(changes: list[str], phone_number_id: str | None, env_file: Path) -> None:
    from pipecat_whatsapp.commands.setting_changes import changed, difference

    environ = environment.load(env_file)
    chosen = environment.phone_number_id(environ, phone_number_id)
    async with environment.open_graph(environ) as graph:
        before = await graph.settings.read(chosen)
        wanted = difference(before, changed(before, changes))
        if not wanted:
            typer.echo("Nothing changed: the settings are like that already.")
            return
        await graph.settings.write(chosen, **wanted)
        after = await graph.settings.read(chosen)
    _print_changes(before, after)


def _print_table(found: CallingSettings) -> None:
    from rich.console import Console
    from rich.table import Table

    from pipecat_whatsapp.commands.setting_changes import words_of

    table = Table("setting", "value")
    for key, words in words_of(found).items():
        table.add_row(key, words)
    for restriction in found.restrictions:
        table.add_row("restricted by Meta", restriction.type, style="red")
    Console().print(table)


def _print_changes(before: CallingSettings, after: CallingSettings) -> None:
    from pipecat_whatsapp.commands.setting_changes import words_of

    old, new = words_of(before), words_of(after)
    for key in new:
        if new[key] != old[key]:
            typer.echo(f"{key}: {old[key] or '(none)'} -> {new[key] or '(none)'}")
