"""What a command says to, and asks, whoever sits at the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import typer

from pipecat_whatsapp.errors import ConfigError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Dialogue:
    """Talks at the terminal.

    Parameters:
        agrees: Whether every question that needs consent is answered with yes.
    """

    agrees: bool = False

    def say(self, topic: str, what: str) -> None:
        """Tell what was done."""
        typer.echo(f"{typer.style(f'{topic:<15}', bold=True)} {what}")

    def secret(self, what: str, option: str) -> str:
        """Ask for something that shall not be seen."""
        secret: str = _prompt(f"{what} (hidden)", option, hide_input=True)
        return secret.strip()

    def choose(self, what: str, option: str, found: Sequence[tuple[str, _T]]) -> _T:
        """Let one of several things be chosen; the only one is chosen by itself.

        Args:
            what: What they are.
            option: How to choose without being asked.
            found: Each in words, and itself.
        """
        if len(found) == 1:
            return found[0][1]
        for number, (words, _) in enumerate(found, start=1):
            typer.echo(f"  {number}  {words}")
        chosen = 0
        while not 1 <= chosen <= len(found):
            chosen = _prompt(f"Which {what}, 1 to {len(found)}?", option, type=int)
        return found[chosen - 1][1]

    def demand(self, question: str) -> None:
        """Go on only with consent.

        Raises:
            ConfigError: There is none.
        """
        if self.agrees:
            return
        try:
            agreed = typer.confirm(question)
        except typer.Abort:
            typer.echo(err=True)
            agreed = False
        if not agreed:
            raise ConfigError(
                f"It goes no further, because there was no yes to {question!r}: "
                "run it again with --yes to agree."
            )


def _prompt(question: str, option: str, **options: Any) -> Any:
    try:
        return typer.prompt(question, **options)
    except typer.Abort:
        # The question has no answer that would have ended its line.
        typer.echo(err=True)
        raise ConfigError(f"Without an answer it does not go on: give {option}.") from None
