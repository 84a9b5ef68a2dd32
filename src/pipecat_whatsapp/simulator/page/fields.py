"""Reads the fields of a JSON object that nobody vouches for."""

from __future__ import annotations

import json
from collections.abc import Collection

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.simulator.payloads import Json

LONGEST_LINE = 256
"""Characters of a name, a username or an id."""


class OrderError(SimulatorError):
    """What a tab sent is no order; one sentence says why."""


class Fields:
    """A JSON object. Each method reads a field, and raises `OrderError` where it is none.

    Args:
        given: The object.
    """

    def __init__(self, given: Json) -> None:
        self._given = given

    @classmethod
    def parse(cls, text: str) -> Fields:
        """Read an object.

        Raises:
            OrderError: It is none.
        """
        try:
            given = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OrderError("What the page sent is no JSON.") from error
        if not isinstance(given, dict):
            raise OrderError("What the page sent is no JSON object.")
        return cls(given)

    def text(self, name: str, most: int, *, least: int = 1) -> str:
        """A text of so many characters."""
        text = self._given.get(name)
        if not isinstance(text, str) or not least <= len(text) <= most:
            raise OrderError(f"{name} must be a text of {least} to {most} characters.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise OrderError(f"{name} holds half a character.") from error
        return text

    def line(self, name: str) -> str | None:
        """A text of one line; None where there is nothing to read."""
        if self._given.get(name) is None:
            return None
        text = self.text(name, LONGEST_LINE, least=0)
        # It goes to the terminal, too.
        shown = "".join(letter if letter.isprintable() else " " for letter in text)
        return shown.strip() or None

    def choice(self, name: str, choices: Collection[str]) -> str:
        """One of several texts."""
        given = self._given.get(name)
        if not isinstance(given, str) or given not in choices:
            raise OrderError(f"{name} must be one of {' '.join(choices)}.")
        return given

    def flag(self, name: str) -> bool:
        """True or false."""
        given = self._given.get(name)
        if not isinstance(given, bool):
            raise OrderError(f"{name} must be true or false.")
        return given

    def number(self, name: str, most: int) -> float:
        """A number from 0 on."""
        given = self._given.get(name)
        if isinstance(given, bool) or not isinstance(given, int | float):
            given = float("nan")
        # NaN is not between any two numbers.
        if not 0 <= given <= most:
            raise OrderError(f"{name} must be a number from 0 to {most}.")
        return float(given)

    def count(self, name: str) -> int:
        """A whole number."""
        given = self._given.get(name)
        if not isinstance(given, int) or isinstance(given, bool):
            raise OrderError(f"{name} must be a whole number.")
        return given
