"""The account: what the token may do, which numbers there are, and where webhooks go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from pipecat_whatsapp.meta.account_info import (
    PhoneNumber,
    SubscribedApp,
    Subscription,
    TokenInfo,
    read_phone_number,
    read_subscribed_app,
    read_subscription,
    read_token_info,
)
from pipecat_whatsapp.meta.answers import data, unreadable
from pipecat_whatsapp.meta.checks import check_length, checked_id, invalid
from pipecat_whatsapp.meta.events import Raw
from pipecat_whatsapp.meta.graph_requests import SendRequest
from pipecat_whatsapp.meta.reading import child, name_of, token

__all__ = ["AccountApi", "PhoneNumber", "SubscribedApp", "Subscription", "TokenInfo"]

OBJECT = "whatsapp_business_account"
"""What an app subscribes to."""

MAX_PAGES = 50
MAX_OVERRIDE_CHARS = 200
MAX_VERIFY_TOKEN_CHARS = 4096

_PHONE_NUMBER_FIELDS = (
    "id,display_phone_number,verified_name,quality_rating,platform_type,webhook_configuration"
)


class AccountApi:
    """Looks at an account, and sets its webhooks up.

    Every method raises

    - ConfigError: an id is not made of digits,
    - TokenError: the token is invalid, or may not do this,
    - GraphRequestError: Meta refused for another reason,
    - GraphUnreachableError: no answer came, or none that can be read.

    Args:
        request: Sends a request.
        current_token: Gives the token of requests.
    """

    def __init__(self, request: SendRequest, current_token: Callable[[], Awaitable[str]]) -> None:
        self._request = request
        self._current_token = current_token

    async def inspect_token(
        self, app_id: str | None = None, app_secret: str | None = None
    ) -> TokenInfo:
        """Ask what our token is worth.

        Source: Meta, Graph API, /debug_token.

        Args:
            app_id: The app that asks; without it, the token asks about itself.
            app_secret: The app's secret.
        """
        inspected = await self._current_token()
        answer = await self._request(
            "GET",
            "debug_token",
            params={"input_token": inspected},
            token=_app_token(app_id, app_secret) if app_id and app_secret else None,
            retry=True,
        )
        if not child(answer, "data"):
            raise unreadable("the question for the token")
        return read_token_info(child(answer, "data"))

    async def phone_numbers(self, waba_id: str) -> tuple[PhoneNumber, ...]:
        """The numbers of a WhatsApp Business Account.

        Source: Meta, WhatsApp Business Account, phone numbers.
        """
        path = f"{_waba(waba_id)}/phone_numbers"
        found = await self._list(path, {"fields": _PHONE_NUMBER_FIELDS})
        return tuple(read_phone_number(item) for item in found if token(item, "id"))

    async def phone_number(self, phone_number_id: str) -> PhoneNumber:
        """One number.

        Source: Meta, WhatsApp Business phone number.
        """
        answer = await self._request(
            "GET", _number(phone_number_id), params={"fields": _PHONE_NUMBER_FIELDS}, retry=True
        )
        if token(answer, "id") is None:
            raise unreadable("the question for the number")
        return read_phone_number(answer)

    async def subscribed_apps(self, waba_id: str) -> tuple[SubscribedApp, ...]:
        """The apps that get the webhooks of a WhatsApp Business Account.

        Source: Meta, WhatsApp Business Account, subscribed apps.
        """
        found = await self._list(f"{_waba(waba_id)}/subscribed_apps")
        return tuple(app for item in found if (app := read_subscribed_app(item)) is not None)

    async def subscribe_app_to_waba(
        self,
        waba_id: str,
        *,
        override_callback_uri: str | None = None,
        verify_token: str | None = None,
    ) -> None:
        """Let the token's app get the webhooks of a WhatsApp Business Account.

        Source: Meta, webhooks, overrides.

        Args:
            waba_id: The account.
            override_callback_uri: Where they shall go instead of the app's own address, in 200
                characters at most. Without it, an override that there was is removed.
            verify_token: What Meta shows to that address.
        """
        override = _override(override_callback_uri, verify_token) if override_callback_uri else None
        await self._request("POST", f"{_waba(waba_id)}/subscribed_apps", json=override, retry=True)

    async def set_phone_number_webhook(
        self, phone_number_id: str, uri: str, verify_token: str
    ) -> None:
        """Let the webhooks of one number go to an address of their own.

        Source: Meta, webhooks, overrides.

        Args:
            phone_number_id: The number.
            uri: Where they shall go, in 200 characters at most; empty to remove what was set.
            verify_token: What Meta shows to that address.
        """
        override = _override(uri, verify_token) if uri else {"override_callback_uri": ""}
        await self._request(
            "POST",
            _number(phone_number_id),
            json={"webhook_configuration": override},
            retry=True,
        )

    async def app_subscriptions(self, app_id: str, app_secret: str) -> tuple[Subscription, ...]:
        """What an app gets webhooks for.

        Source: Meta, Graph API, app subscriptions.
        """
        found = await self._list(
            f"{checked_id('app id', app_id)}/subscriptions", token=_app_token(app_id, app_secret)
        )
        return tuple(read_subscription(item) for item in found if name_of(item, "object"))

    async def subscribe_app(
        self,
        app_id: str,
        app_secret: str,
        callback_url: str,
        verify_token: str,
        fields: Iterable[str],
    ) -> None:
        """Let an app get webhooks. Meta calls the address at once, to verify it.

        Source: Meta, Graph API, app subscriptions.

        Args:
            app_id: The app.
            app_secret: Its secret.
            callback_url: Where they shall go.
            verify_token: What Meta shows to that address.
            fields: All that the app shall get, such as "calls" and "messages".
        """
        wanted = ",".join(fields)
        if not wanted:
            raise invalid("no webhook field is named", 'name "calls" at least')
        await self._request(
            "POST",
            f"{checked_id('app id', app_id)}/subscriptions",
            json={
                "object": OBJECT,
                "callback_url": callback_url,
                "verify_token": verify_token,
                "fields": wanted,
            },
            token=_app_token(app_id, app_secret),
            retry=True,
        )

    async def _list(
        self, path: str, params: Mapping[str, str] | None = None, *, token: str | None = None
    ) -> list[Any]:
        """Everything in a list that Meta gives page by page."""
        found: list[Any] = []
        query = dict(params or {})
        for _ in range(MAX_PAGES):
            answer = await self._request("GET", path, params=query, token=token, retry=True)
            found += data(answer, f"GET {path}")
            after = _next_page(answer)
            if after is None:
                break
            query["after"] = after
        return found


def _next_page(answer: Raw) -> str | None:
    paging = child(answer, "paging")
    return token(child(paging, "cursors"), "after") if paging.get("next") else None


def _override(uri: str, verify_token: str | None) -> dict[str, str]:
    check_length("webhook's address", uri, MAX_OVERRIDE_CHARS)
    check_length("verification token", verify_token or "", MAX_VERIFY_TOKEN_CHARS, least=1)
    return {"override_callback_uri": uri, "verify_token": verify_token or ""}


def _app_token(app_id: str, app_secret: str) -> str:
    return f"{checked_id('app id', app_id)}|{app_secret}"


def _waba(waba_id: str) -> str:
    return checked_id("WhatsApp Business Account id", waba_id)


def _number(phone_number_id: str) -> str:
    return checked_id("phone number id", phone_number_id)
