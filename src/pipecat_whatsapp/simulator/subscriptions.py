"""Who gets which webhooks: the app's subscription, and the addresses that override its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

FIELDS = frozenset({"calls", "messages", "account_update", "account_settings_update"})
"""The webhook fields that the simulator sends."""

KNOWN_FIELDS = FIELDS | {
    "account_alerts",
    "account_review_update",
    "business_capability_update",
    "message_template_quality_update",
    "message_template_status_update",
    "phone_number_name_update",
    "phone_number_quality_update",
    "security",
    "template_category_update",
    "user_preferences",
}
"""The webhook fields that an app may subscribe to."""

_OVERRIDABLE = FIELDS - {"account_update"}


@dataclass
class Subscriptions:
    """The subscription of one app, to one WhatsApp Business Account with one number.

    A webhook needs three things: the app is subscribed to its field, the app is subscribed to the
    account, and there is an address (Meta: webhooks, overrides).

    Parameters:
        callback_url: The app's own address; None until it has subscribed with one.
        fields: The fields that the app is subscribed to.
        has_account: Whether the app is subscribed to the WhatsApp Business Account.
        account_override: Where they go instead for this account, if anywhere; those about the
            account itself never do.
        number_override: Where they go instead of both for the number, if anywhere.
    """

    callback_url: str | None = None
    fields: set[str] = field(default_factory=set)
    has_account: bool = False
    account_override: str | None = None
    number_override: str | None = None

    def subscribe(self, callback_url: str | None, fields: Collection[str] = FIELDS) -> None:
        """Subscribe the app to fields, instead of those it was subscribed to."""
        self.callback_url = callback_url
        self.fields = set(fields)

    def set_up(self, callback_url: str | None) -> None:
        """Subscribe the app to everything, and have no overrides."""
        self.subscribe(callback_url)
        self.has_account = True
        self.account_override = self.number_override = None

    def is_subscribed(self, field: str) -> bool:
        """Whether the app is to get a field, if only it has an address."""
        return self.has_account and field in self.fields

    @property
    def has_address(self) -> bool:
        """Whether any webhook can go anywhere."""
        return any((self.callback_url, self.account_override, self.number_override))

    def webhook_url(self, field: str) -> str | None:
        """Where the webhooks of a field go; None for nowhere."""
        if not self.is_subscribed(field):
            return None
        override = self.number_override or self.account_override
        return (override if field in _OVERRIDABLE else None) or self.callback_url
