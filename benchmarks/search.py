"""Which numbers of calls to try: a search for the largest that is held, or a given list."""

from __future__ import annotations

from collections.abc import Sequence

MAX_CALLS = 200


class Bisection:
    """Looks for the largest number of calls that is held.

    Args:
        start: The first number to try.
        precision: When the largest number held and the smallest that is not are so close, relative
            to the former, the search is over.
    """

    def __init__(self, start: int, precision: float) -> None:
        self._held = 0
        self._too_many = MAX_CALLS + 1
        self._start = start
        self._precision = precision

    def next(self) -> int | None:
        """How many calls to try; None at the end."""
        if not self._held:
            return None if self._too_many == 1 else min(self._start, self._too_many // 2)
        if self._too_many > MAX_CALLS:
            more = self._held * 3 // 2 + 1
            return more if more <= MAX_CALLS else None
        gap = self._too_many - self._held
        close = gap <= max(1, int(self._held * self._precision))
        return None if close else self._held + gap // 2

    def note(self, calls: int, *, is_held: bool) -> None:
        """Take the result of a try in."""
        if is_held:
            self._held = calls
        else:
            self._too_many = calls


class Given:
    """Goes through a given list of numbers of calls."""

    def __init__(self, calls: Sequence[int]) -> None:
        self._calls = list(calls)

    def next(self) -> int | None:
        """How many calls to try; None at the end."""
        return self._calls[0] if self._calls else None

    def note(self, calls: int, *, is_held: bool) -> None:
        """Go on to the next, whatever became of this one."""
        self._calls.pop(0)
