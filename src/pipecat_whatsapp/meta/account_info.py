"""What the Graph API tells about an account: tokens, numbers, apps, subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipecat_whatsapp.meta.events import Raw
from pipecat_whatsapp.meta.reading import as_object, child, items, name_of, text, timestamp, token

MAX_URL_CHARS = 4096


@dataclass(frozen=True)
class TokenInfo:
    """What Meta knows of an access token.

    Parameters:
        app_id: The app that it belongs to.
        type: "USER", "SYSTEM_USER", "APP", ...
        is_valid: Whether it works.
        expires_at: When it stops working, Unix seconds; None for never.
        scopes: The permissions that it has.
        targets: By permission, the ids of the accounts that it is limited to; none for all.
        problem: Why it does not work, in Meta's words.
    """

    app_id: str | None
    type: str | None
    is_valid: bool
    expires_at: int | None
    scopes: tuple[str, ...]
    targets: Mapping[str, tuple[str, ...]]
    problem: str = ""


@dataclass(frozen=True)
class PhoneNumber:
    """A business number.

    Parameters:
        id: Its id.
        display_phone_number: The number as people write it.
        verified_name: The business's name.
        quality_rating: "GREEN", "YELLOW", "RED" or "UNKNOWN".
        platform_type: "CLOUD_API" for a number that this package can serve.
        webhook_url: Where its webhooks go, be it by the number's, the account's or the app's word.
    """

    id: str
    display_phone_number: str | None = None
    verified_name: str | None = None
    quality_rating: str | None = None
    platform_type: str | None = None
    webhook_url: str | None = None


@dataclass(frozen=True)
class SubscribedApp:
    """An app that gets the webhooks of a WhatsApp Business Account.

    Parameters:
        id: Its id.
        name: Its name.
        override_callback_uri: Where they go instead of the app's own address.
    """

    id: str
    name: str | None = None
    override_callback_uri: str | None = None


@dataclass(frozen=True)
class Subscription:
    """What an app gets webhooks for.

    Parameters:
        object: Such as "whatsapp_business_account".
        callback_url: Where they go.
        active: Whether they are sent.
        fields: Such as "calls" and "messages".
    """

    object: str
    callback_url: str | None
    active: bool
    fields: tuple[str, ...]


def read_token_info(info: Raw) -> TokenInfo:
    """Read what /debug_token answers."""
    granular = [as_object(item) for item in items(info, "granular_scopes")]
    return TokenInfo(
        app_id=token(info, "app_id"),
        type=name_of(info, "type"),
        is_valid=info.get("is_valid") is True,
        expires_at=timestamp(info, "expires_at") or None,
        scopes=tuple(scope for scope in items(info, "scopes") if isinstance(scope, str)),
        targets={
            scope: tuple(str(target) for target in items(item, "target_ids"))
            for item in granular
            if (scope := name_of(item, "scope")) is not None
        },
        problem=text(child(info, "error"), "message") or "",
    )


def read_phone_number(item: Any) -> PhoneNumber:
    """Read a number, as lists and its own page have it."""
    webhooks = child(item, "webhook_configuration")
    # The nearest wins.
    urls = (
        token(webhooks, level, MAX_URL_CHARS)
        for level in ("phone_number", "whatsapp_business_account", "application")
    )
    return PhoneNumber(
        id=token(item, "id") or "",
        display_phone_number=text(item, "display_phone_number"),
        verified_name=text(item, "verified_name"),
        quality_rating=name_of(item, "quality_rating"),
        platform_type=name_of(item, "platform_type"),
        webhook_url=next((url for url in urls if url), None),
    )


def read_subscribed_app(item: Any) -> SubscribedApp | None:
    """Read an app; None for one without an id."""
    app = child(item, "whatsapp_business_api_data") or as_object(item)
    app_id = token(app, "id")
    if app_id is None:
        return None
    return SubscribedApp(
        id=app_id,
        name=text(app, "name"),
        override_callback_uri=token(item, "override_callback_uri", MAX_URL_CHARS),
    )


def read_subscription(item: Any) -> Subscription:
    """Read what an app gets webhooks for."""
    fields = (
        field if isinstance(field, str) else name_of(field, "name")
        for field in items(as_object(item), "fields")
    )
    return Subscription(
        object=name_of(item, "object") or "",
        callback_url=token(item, "callback_url", MAX_URL_CHARS),
        active=as_object(item).get("active") is not False,
        fields=tuple(field for field in fields if field),
    )
