"""Something for each user, found by phone number and by user ids alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pipecat_whatsapp.meta.events import User

Row = TypeVar("Row")


class UserTable(Generic[Row]):
    """A row for each user, made when it is first asked for.

    Args:
        new: Makes a row.
    """

    def __init__(self, new: Callable[[], Row]) -> None:
        self._new = new
        self._rows: dict[str, Row] = {}

    def __getitem__(self, user: User) -> Row:
        names = [name for name in (user.user_id, user.parent_user_id, user.phone) if name]
        known = next((name for name in names if name in self._rows), None)
        row = self._new() if known is None else self._rows[known]
        self._rows |= dict.fromkeys(names, row)
        return row
