"""Whom a Graph request is for: a phone number or a business-scoped user id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account

NOT_ALLOWED = 131030

_PHONE = re.compile(r"\+?[0-9]{5,15}")
_USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")


@dataclass(frozen=True)
class Address:
    """Whom a request is for.

    Parameters:
        phone: The phone number in digits, which wins over the id.
        user_id: The business-scoped id, be it the parent's; None when there is a phone number.
        given: What the request said.
    """

    phone: str | None
    user_id: str | None
    given: str

    @property
    def user(self) -> User:
        """The user, as far as the request tells."""
        return User(phone=self.phone, user_id=self.user_id)

    def means(self, user: User) -> bool:
        """Whether this user is meant."""
        if self.phone:
            return user.phone == self.phone
        return self.user_id in (user.user_id, user.parent_user_id)


def read_address(
    fields: Mapping[str, object], phone: str = "to", user_id: str = "recipient"
) -> Address:
    """Read whom a request is for; the phone number wins (Meta: business-scoped user ids).

    Args:
        fields: What was sent.
        phone: Name of the field with the phone number.
        user_id: Name of the field with the user id.

    Raises:
        RefusalError: Neither is there, or it cannot be one.
    """
    number, recipient = fields.get(phone), fields.get(user_id)
    if number:
        if not isinstance(number, str) or not _PHONE.fullmatch(number):
            raise RefusalError(f"{phone} is not a phone number")
        return Address(number.lstrip("+"), None, number)
    if not isinstance(recipient, str) or not recipient:
        raise RefusalError(f"{phone} or {user_id} is missing")
    if not _USER_ID.fullmatch(recipient):
        raise RefusalError(f"{user_id} is not a user id")
    return Address(None, recipient, recipient)


def check_allowed(address: Address, account: Account) -> None:
    """Check that a number may write to a user, and call them: a test number's list is short.

    Raises:
        RefusalError: 131030: the user is not on it.
    """
    allowed = account.allowed_recipients
    if allowed is not None and address.phone not in allowed:
        raise RefusalError("The user is not on the test number's list", code=NOT_ALLOWED)
