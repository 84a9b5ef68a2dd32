"""What Meta keeps of a business besides its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipecat_whatsapp.simulator import account_payloads
from pipecat_whatsapp.simulator.address import Address
from pipecat_whatsapp.simulator.calling_settings import CallingSettings
from pipecat_whatsapp.simulator.conversations import Conversations, Handset, Notify
from pipecat_whatsapp.simulator.media import MediaStore
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.permissions import (
    BUSINESS_NUMBER,
    TEST_NUMBER,
    WEEK,
    Permissions,
)
from pipecat_whatsapp.simulator.settings import Account
from pipecat_whatsapp.simulator.subscriptions import Subscriptions
from pipecat_whatsapp.simulator.tokens import Tokens
from pipecat_whatsapp.simulator.webhooks import Delivery

BUTTON_HIDDEN = "RESTRICTED_USER_INITIATED_CALLING_CALL_BUTTON_HIDDEN"


class Business:
    """A business with one number, as Meta knows it.

    Args:
        account: Its ids and secrets.
        subscriptions: Where its webhooks go.
        find: Gives the phone that an address means, if there is one.
        notify: Sends webhooks.
        host: Where files can be downloaded.
        clock: Unix seconds.
        enabled: Whether calling is on from the start.

    Attributes:
        subscriptions: Where its webhooks go.
        permissions: Whom it may call.
        settings: The calling settings of its number.
        tokens: Its access tokens.
        media: Its files.
        conversations: What it and the users write to each other.
    """

    def __init__(
        self,
        account: Account,
        *,
        subscriptions: Subscriptions,
        find: Callable[[Address], Handset | None],
        notify: Notify,
        host: Callable[[], str],
        clock: Callable[[], float],
        enabled: bool,
    ) -> None:
        is_test = account.allowed_recipients is not None
        rules = TEST_NUMBER if is_test else BUSINESS_NUMBER
        self.subscriptions = subscriptions
        self.permissions = Permissions(clock=clock, rules=rules)
        self.tokens = Tokens(account, clock)
        self.media = MediaStore(host, clock)
        self.settings = CallingSettings(
            enabled=enabled,
            calls_users=account.may_call_users,
            test_number=is_test,
            clock=clock,
            announcements=self.media.announcements,
            app_id=account.app_id,
            is_subscribed=lambda: subscriptions.is_subscribed("calls"),
            on_update=self._tell_settings,
        )
        self.conversations = Conversations(
            account, self.permissions, find=find, notify=notify, clock=clock
        )
        self._account = account
        self._notify = notify
        self._clock = clock

    def set_up(self, webhook_url: str) -> None:
        """Do at once what a business has to do before its first call."""
        self.subscriptions.set_up(webhook_url)
        self.settings.enable()

    def warn(self, violation_type: str) -> asyncio.Future[Delivery]:
        """Warn the business, as after complaints of users (Meta: account_update webhook).

        Args:
            violation_type: Such as "USER_INITIATED_CALLS_LOW_PICKUP_RATE".

        Returns:
            The delivery of the webhook. Need not be awaited.
        """
        value = account_payloads.violation(self._account, violation_type)
        return self._notify("account_update", value)

    def restrict(
        self, restriction_type: str, *, reason: str = "LOW_CALLING_QUALITY"
    ) -> asyncio.Future[Delivery]:
        """Forbid the business something for 7 days (Meta: account_update webhook).

        Args:
            restriction_type: "RESTRICTED_BUSINESS_INITIATED_CALLING" or
                "RESTRICTED_USER_INITIATED_CALLING".
            reason: What its settings give as the reason.

        Returns:
            The delivery of the webhook. Need not be awaited.
        """
        expires_at = int(self._clock()) + WEEK
        self.settings.restrict(restriction_type, reason, expires_at)
        value = account_payloads.restriction(self._account, restriction_type, expires_at)
        return self._notify("account_update", value)

    def hide_call_button(self) -> asyncio.Future[Delivery]:
        """Hide the call button, as after calls that nobody took, until the business shows it.

        Returns:
            The delivery of the webhook. Need not be awaited.
        """
        value = account_payloads.restriction(self._account, BUTTON_HIDDEN, None)
        return self._notify("account_update", value)

    def _tell_settings(self, calling: Json) -> None:
        value = account_payloads.settings_update(
            self._account, calling, timestamp=int(self._clock())
        )
        self._notify("account_settings_update", value)
