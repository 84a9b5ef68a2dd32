"""The webhooks of the field `messages`, with Meta's traps: what does not apply is left out."""

from __future__ import annotations

from pipecat_whatsapp.meta.events import MetaErrorInfo, User
from pipecat_whatsapp.simulator.payloads import Json, addressed, contact, known, webhook_error
from pipecat_whatsapp.simulator.permissions import Permission
from pipecat_whatsapp.simulator.settings import Account


def text(account: Account, message_id: str, user: User, body: str, *, timestamp: int) -> Json:
    """The value that brings a user's text (Meta: messages webhook).

    Args:
        account: The business.
        message_id: Its id.
        user: Who wrote.
        body: The text.
        timestamp: Unix seconds.
    """
    message = _message(message_id, user, timestamp) | {"type": "text", "text": {"body": body}}
    return addressed(account, {"contacts": [contact(user)], "messages": [message]})


def user_changed(
    account: Account, message_id: str, before: User, after: User, *, timestamp: int
) -> Json:
    """The value that tells that a user changed number, or user id only (Meta: system messages).

    Unlike other messages it comes without contacts.

    Args:
        account: The business.
        message_id: Its id.
        before: Who the user was.
        after: Who the user is from now on.
        timestamp: Unix seconds.
    """
    new_number = after.phone != before.phone
    old, new = (before.phone, after.phone) if new_number else (before.user_id, after.user_id)
    system = known(
        body=f"User {before.name or before.username} changed from {old} to {new}",
        type="user_changed_number" if new_number else "user_changed_user_id",
        wa_id=after.phone,
        user_id=after.user_id,
        parent_user_id=after.parent_user_id,
        previous_user_id=before.user_id if after.user_id != before.user_id else None,
    )
    message = _message(message_id, before, timestamp) | {"type": "system", "system": system}
    return addressed(account, {"messages": [message]})


def status(
    account: Account,
    message_id: str,
    user: User,
    status: str,
    *,
    timestamp: int,
    error: MetaErrorInfo | None = None,
) -> Json:
    """The value that tells what became of the business's message (Meta: messages webhook).

    Args:
        account: The business.
        message_id: Its id.
        user: Whom it was for.
        status: "sent", "delivered" or "failed".
        timestamp: Unix seconds.
        error: Why it failed.
    """
    fields = known(
        id=message_id,
        status=status,
        timestamp=str(timestamp),
        recipient_id=user.phone,
        recipient_user_id=user.user_id,
        recipient_parent_user_id=user.parent_user_id,
        errors=[webhook_error(error)] if error else None,
    )
    return addressed(account, {"statuses": [fields]})


def permission_reply(
    account: Account,
    message_id: str,
    user: User,
    permission: Permission,
    *,
    timestamp: int,
    automatic: bool,
    context_id: str | None,
) -> Json:
    """The value that tells whether a user may be called now (Meta: user call permissions).

    Args:
        account: The business.
        message_id: Its own id.
        user: Who may, or may not, be called.
        permission: What holds from now on.
        timestamp: Unix seconds.
        automatic: Whether WhatsApp decided, not the user.
        context_id: The request or the call that led to it, if any.
    """
    expires_at = permission.expires_at
    accepted = permission.status != "no_permission"
    reply = known(
        response="accept" if accepted else "reject",
        is_permanent=permission.status == "permanent" if accepted else None,
        expiration_timestamp=None if expires_at is None else str(expires_at),
        response_source="automatic" if automatic else "user_action",
    )
    context = {"from": account.display_phone_number, "id": context_id}
    message = {
        **({"context": context} if context_id else {}),
        **_message(message_id, user, timestamp),
        "type": "interactive",
        "interactive": {"type": "call_permission_reply", "call_permission_reply": reply},
    }
    return addressed(account, {"contacts": [contact(user)], "messages": [message]})


def _message(message_id: str, user: User, timestamp: int) -> Json:
    fields = {
        "from": user.phone,
        "from_user_id": user.user_id,
        "from_parent_user_id": user.parent_user_id,
        "id": message_id,
        "timestamp": str(timestamp),
    }
    return known(**fields)
