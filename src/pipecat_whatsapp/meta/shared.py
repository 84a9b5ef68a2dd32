"""What the calls, messages and statuses of one change have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipecat_whatsapp.meta.events import MetaErrorInfo, Raw, User
from pipecat_whatsapp.meta.reading import child, errors, items, phone, text, timestamp, token


@dataclass(frozen=True)
class SharedValue:
    """What the calls, messages and statuses of one change share.

    Parameters:
        field: The webhook field, such as "calls".
        phone_number_id: The business number's id.
        business_phone: The business number in digits.
        errors: Errors of the whole value.
        contacts: The contacts, by phone number and by user id.
        only_contact: The one contact of the one part, which needs no matching.
    """

    field: str
    phone_number_id: str | None
    business_phone: str | None
    errors: tuple[MetaErrorInfo, ...]
    contacts: dict[str, User]
    only_contact: User | None

    @classmethod
    def read(cls, field: str, value: Raw, *, parts: int) -> SharedValue:
        """Read what is shared.

        Args:
            field: The webhook field.
            value: What came with it.
            parts: How many calls, messages and statuses there are.
        """
        metadata = child(value, "metadata")
        contacts = [_contact(item) for item in items(value, "contacts")]
        return cls(
            field=field,
            phone_number_id=token(metadata, "phone_number_id"),
            business_phone=phone(metadata, "display_phone_number"),
            errors=errors(value),
            contacts={
                key: contact
                for contact in contacts
                for key in (contact.phone, contact.user_id)
                if key is not None
            },
            only_contact=contacts[0] if len(contacts) == parts == 1 else None,
        )

    def about(self, item: Raw) -> dict[str, Any]:
        """The fields that every event has."""
        return {
            "phone_number_id": self.phone_number_id,
            "timestamp": timestamp(item, "timestamp"),
            "raw": item,
        }

    def user(self, item: Raw, side: str, phone_key: str) -> User:
        """The user on one side ("from", "to", "recipient") of a call, message or status."""
        number = phone(item, phone_key)
        user_id = token(item, f"{side}_user_id")
        known = (
            self.only_contact
            or self.contacts.get(user_id or "")
            or self.contacts.get(number or "")
            or User()
        )
        return User(
            phone=number or known.phone,
            user_id=user_id or known.user_id,
            parent_user_id=token(item, f"{side}_parent_user_id")
            # Early documents of Meta's turned this name round.
            or token(item, f"parent_{side}_user_id")
            or known.parent_user_id,
            name=known.name,
            username=known.username,
        )


def _contact(item: Any) -> User:
    profile = child(item, "profile")
    return User(
        phone=phone(item, "wa_id"),
        user_id=token(item, "user_id"),
        parent_user_id=token(item, "parent_user_id"),
        name=text(profile, "name"),
        username=text(profile, "username"),
    )
