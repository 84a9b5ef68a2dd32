"""What users and the business write to each other, and what users say about being called."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pipecat_whatsapp.meta.events import MetaErrorInfo, User
from pipecat_whatsapp.simulator import message_payloads
from pipecat_whatsapp.simulator.address import Address
from pipecat_whatsapp.simulator.messages import HELLO_WORLD, Message, Template
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.permission_prompt import (
    PermissionPrompt,
    PermissionPrompts,
    Reply,
)
from pipecat_whatsapp.simulator.permissions import DAY, Annoyance, Permission, Permissions
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account
from pipecat_whatsapp.simulator.user_table import UserTable
from pipecat_whatsapp.simulator.webhooks import Delivery

WINDOW = DAY
"""Seconds after a user's last message or call in which the business may write freely."""

WINDOW_CLOSED = 131047
UNDELIVERABLE = 131026

_UNDELIVERABLE = MetaErrorInfo(
    code=UNDELIVERABLE,
    title="Message undeliverable",
    message="Message undeliverable",
    details="The receiver is not on WhatsApp, or the client is too old",
)

_RECONSIDER = "You missed several calls of this business. May it go on calling you?"


class Handset(Protocol):
    """A user's phone, as far as messages concern it. Callbacks must return at once."""

    @property
    def user(self) -> User:
        """Whose it is."""

    def on_message(self, message: Message) -> None:
        """A message has come."""

    def on_permission_request(self, prompt: PermissionPrompt) -> None:
        """The user is asked whether the business may call; a message of it has come before."""


class Notify(Protocol):
    """Who sends webhooks."""

    def __call__(self, field: str, value: Json) -> asyncio.Future[Delivery]:
        """Send a change of a webhook field in the background."""


@dataclass
class _Conversation:
    """What is kept of one user."""

    prompts: PermissionPrompts
    open_until: float = 0.0


class Conversations:
    """All that is said between one business number and its users.

    Args:
        account: The business.
        permissions: Whom it may call.
        find: Gives the phone that an address means, if there is one.
        notify: Sends webhooks.
        clock: Unix seconds.

    Attributes:
        templates: The approved templates, by name and language; add to them at will.
        old_clients: Users whose WhatsApp is too old for call buttons and permission requests
            (below 2.24.14), by `User.key`: these fail with 131026.
    """

    def __init__(
        self,
        account: Account,
        permissions: Permissions,
        *,
        find: Callable[[Address], Handset | None],
        notify: Notify,
        clock: Callable[[], float],
    ) -> None:
        self.templates: dict[tuple[str, str], Template] = {}
        self.old_clients: set[str] = set()
        self.add_template(HELLO_WORLD)
        self._account = account
        self._permissions = permissions
        self._find = find
        self._notify = notify
        self._clock = clock
        self._conversations = UserTable(self._new_conversation)
        permissions.on_annoyance = self._on_annoyance

    def add_template(self, template: Template) -> None:
        """Approve a template."""
        self.templates[template.name, template.language] = template

    def send(self, address: Address, message: Message) -> tuple[User, Message]:
        """Take a message of the business; statuses about it go out in the background.

        Args:
            address: Whom it is for.
            message: A checked message, still without an id.

        Returns:
            Who gets it, and the message as Meta took it.

        Raises:
            RefusalError: The user may not be written to, or not be asked, now.
        """
        phone = self._find(address)
        user = phone.user if phone else address.user
        if message.template is None and not self.is_open(user):
            details = "More than 24 hours have passed since the user last wrote or called"
            raise RefusalError(details, code=WINDOW_CLOSED)
        if message.asks_permission:
            self._permissions.check_request(user)
            # From here on nothing refuses it.
            self._permissions.note_request(user)
        message = replace(message, id=_new_message_id())
        self._transmit(phone, user, message)
        return user, message

    def send_text(self, user: User, text: str) -> asyncio.Future[Delivery]:
        """Let a user write to the business, which may answer freely for 24 hours.

        Returns:
            The delivery of the webhook. Need not be awaited.
        """
        self.open_window(user)
        value = message_payloads.text(
            self._account, _new_message_id(), user, text, timestamp=int(self._clock())
        )
        return self._notify("messages", value)

    def change_user(self, before: User, after: User) -> asyncio.Future[Delivery]:
        """Tell the business that a user changed number, or user id only.

        To Meta a new number with its new id is somebody else, who has allowed nothing yet.

        Returns:
            The delivery of the webhook. Need not be awaited.
        """
        value = message_payloads.user_changed(
            self._account, _new_message_id(), before, after, timestamp=int(self._clock())
        )
        return self._notify("messages", value)

    def open_window(self, user: User) -> None:
        """Let the business write freely for 24 hours: the user wrote, called or picked up."""
        self._conversations[user].open_until = self._clock() + WINDOW

    def is_open(self, user: User) -> bool:
        """Whether the business may write freely (Meta: customer service window)."""
        return self._clock() < self._conversations[user].open_until

    def toggle(self, user: User, *, allowed: bool) -> asyncio.Future[Delivery]:
        """Let a user allow calls for ever, or forbid them, in the business's profile.

        Returns:
            The delivery of the webhook, which has no context. Need not be awaited.
        """
        return self.take_reply(Reply(user, allowed, permanent=allowed))

    def grant_call_back(self, user: User, call_id: str) -> asyncio.Future[Delivery] | None:
        """Give the permission that comes with a user's call (Meta: callback permission).

        Returns:
            The delivery of the webhook; None when the user may be called for ever anyway.
        """
        if self._permissions.state(user).status == "permanent":
            return None
        return self.take_reply(Reply(user, allowed=True, automatic=True, context_id=call_id))

    def take_reply(self, reply: Reply) -> asyncio.Future[Delivery]:
        """Make a decision about calls hold, and tell the business."""
        permission = Permission()
        if reply.allowed:
            permission = self._permissions.grant(reply.user, permanent=reply.permanent)
        else:
            self._permissions.revoke(reply.user)
        value = message_payloads.permission_reply(
            self._account,
            _new_message_id(),
            reply.user,
            permission,
            timestamp=int(self._clock()),
            automatic=reply.automatic,
            context_id=reply.context_id,
        )
        return self._notify("messages", value)

    def _transmit(self, phone: Handset | None, user: User, message: Message) -> None:
        special = message.asks_permission or message.call_button
        if phone is None or (special and user.key in self.old_clients):
            self._tell_status(user, message, "failed", _UNDELIVERABLE)
            return
        self._tell_status(user, message, "sent")
        phone.on_message(message)
        if message.asks_permission:
            self._ask(phone, message.text, message.id)
        self._tell_status(user, message, "delivered")

    def _tell_status(
        self, user: User, message: Message, status: str, error: MetaErrorInfo | None = None
    ) -> None:
        now = int(self._clock())
        value = message_payloads.status(
            self._account, message.id, user, status, timestamp=now, error=error
        )
        self._notify("messages", value)

    def _ask(self, phone: Handset, text: str, message_id: str | None) -> None:
        prompts = self._conversations[phone.user].prompts
        phone.on_permission_request(prompts.ask(phone.user, text, message_id))

    def _on_annoyance(self, user: User, annoyance: Annoyance) -> None:
        if annoyance is Annoyance.REVOKED:
            self.take_reply(Reply(user, allowed=False, automatic=True))
            return
        phone = self._find(Address(user.phone, user.user_id, ""))
        if phone is not None:
            self._ask(phone, _RECONSIDER, None)

    def _new_conversation(self) -> _Conversation:
        return _Conversation(PermissionPrompts(self._clock, self.take_reply))


def _new_message_id() -> str:
    return "wamid." + base64.b64encode(secrets.token_bytes(28)).decode()
