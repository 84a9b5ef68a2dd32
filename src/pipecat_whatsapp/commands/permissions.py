"""`permissions`: whether a user may be called, and how often."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipecat_whatsapp.commands import environment, terminal

if TYPE_CHECKING:
    from rich.table import Table

    from pipecat_whatsapp.meta.events import User
    from pipecat_whatsapp.meta.permissions import ActionLimit, CallPermissions

STATUSES = {
    "no_permission": "has not allowed calls",
    "temporary": "has allowed calls until {until}",
    "permanent": "has allowed calls for good",
}

PERIODS = {"PT24H": "24 hours", "P7D": "7 days"}
"""In words, the time spans (ISO 8601) that Meta has limits for."""


def permissions(
    number: Annotated[str, typer.Argument(help="A phone number, or a user id such as DE.123.")],
    phone_number_id: environment.PhoneNumberId = None,
    env_file: environment.EnvFile = environment.ENV_FILE,
) -> None:
    """Show whether a user may be called and asked, and how often."""
    terminal.run(_permissions(number, phone_number_id, env_file))


async def _permissions(number: str, phone_number_id: str | None, env_file: Path) -> None:
    from rich.console import Console

    from pipecat_whatsapp.meta.address import read_user

    user = read_user(number)
    environ = environment.load(env_file)
    chosen = environment.phone_number_id(environ, phone_number_id)
    async with environment.open_graph(environ) as graph:
        found = await graph.permissions.read(chosen, user)
    console = Console()
    console.print(_sentence(user, found), soft_wrap=True)
    console.print(_table(found))


def _sentence(user: User, found: CallPermissions) -> str:
    until = _time(found.expires_at) if found.expires_at else "some day"
    return f"{user} {STATUSES[found.status.value].format(until=until)}."


def _table(found: CallPermissions) -> Table:
    from rich.table import Table

    table = Table("", "now", "in", "so far", "allowed", "again from")
    for action, allowed, limits in (
        ("call", found.can_call, found.call_limits),
        ("ask for permission", found.can_request, found.request_limits),
    ):
        now = "yes" if allowed else "no"
        rows = [_row(limit) for limit in limits] or [("", "", "", "")]
        for first, row in zip(((action, now), *[("", "")] * len(rows)), rows, strict=False):
            table.add_row(*first, *row)
    return table


def _row(limit: ActionLimit) -> tuple[str, str, str, str]:
    again = _time(limit.resets_at) if limit.resets_at else ""
    return (
        PERIODS.get(limit.period, limit.period),
        str(limit.current_usage),
        str(limit.max_allowed),
        again,
    )


def _time(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp).astimezone():%Y-%m-%d %H:%M %Z}"
