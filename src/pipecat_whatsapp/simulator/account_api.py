"""The Graph API about tokens, numbers and subscriptions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pipecat_whatsapp.simulator.payloads import Json, known
from pipecat_whatsapp.simulator.question import Question
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account
from pipecat_whatsapp.simulator.subscriptions import KNOWN_FIELDS, Subscriptions
from pipecat_whatsapp.simulator.tokens import Tokens
from pipecat_whatsapp.simulator.webhooks import SubscriptionError

OBJECT = "whatsapp_business_account"
NOT_VERIFIED = 2200
MAX_OVERRIDE = 200

APP_NAME = "Simulated app"
VERIFIED_NAME = "Simulated business"

_DONE: Json = {"success": True}

Verify = Callable[[str, str], Awaitable[None]]


class AccountApi:
    """Answers requests about the account. Each method does what one request asks for.

    All of them raise `RefusalError` where Meta refuses.

    Args:
        account: The business.
        tokens: Its tokens.
        subscriptions: Where its webhooks go; changed by requests.
        verify: Verifies an address with a token; raises `SubscriptionError`.
    """

    def __init__(
        self, account: Account, tokens: Tokens, subscriptions: Subscriptions, verify: Verify
    ) -> None:
        self._account = account
        self._tokens = tokens
        self._subscriptions = subscriptions
        self._verify = verify

    async def debug_token(self, question: Question) -> Json:
        """`GET /debug_token`."""
        value = question.query.get("input_token")
        if not value:
            raise RefusalError("input_token is missing")
        return self._tokens.describe(value)

    async def app(self, question: Question) -> Json:
        """`GET /<APP_ID>`."""
        return _selected(_app(self._account), question, ("id", "name", "link"))

    async def number(self, question: Question) -> Json:
        """`GET /<PNID>`."""
        return _selected(self._number(), question, _NUMBER_FIELDS)

    async def numbers(self, question: Question) -> Json:
        """`GET /<WABA>/phone_numbers`."""
        return _page([_selected(self._number(), question, _NUMBER_FIELDS)])

    async def configure_number(self, question: Question) -> Json:
        """`POST /<PNID>`: overrides where the webhooks about the number go."""
        configuration = _parameters(question).get("webhook_configuration")
        if not isinstance(configuration, dict):
            raise RefusalError("webhook_configuration is missing")
        if not self._subscriptions.has_account:
            raise RefusalError("The app is not subscribed to the WhatsApp Business Account")
        self._subscriptions.number_override = await self._override(configuration)
        return _DONE

    async def subscribed_apps(self, _: Question) -> Json:
        """`GET /<WABA>/subscribed_apps`."""
        app = known(
            whatsapp_business_api_data=_app(self._account),
            override_callback_uri=self._subscriptions.account_override,
        )
        return {"data": [app] if self._subscriptions.has_account else []}

    async def subscribe_to_account(self, question: Question) -> Json:
        """`POST /<WABA>/subscribed_apps`; without an override, an earlier one ends."""
        override = await self._override(_parameters(question))
        self._subscriptions.has_account = True
        self._subscriptions.account_override = override
        return _DONE

    async def unsubscribe_from_account(self, _: Question) -> Json:
        """`DELETE /<WABA>/subscribed_apps`."""
        self._subscriptions.has_account = False
        self._subscriptions.account_override = None
        return _DONE

    async def subscriptions(self, _: Question) -> Json:
        """`GET /<APP_ID>/subscriptions`."""
        fields = sorted(self._subscriptions.fields)
        subscription = known(
            object=OBJECT,
            callback_url=self._subscriptions.callback_url,
            active=True,
            fields=[{"name": field, "version": "v26.0"} for field in fields],
        )
        return {"data": [subscription] if fields else []}

    async def subscribe(self, question: Question) -> Json:
        """`POST /<APP_ID>/subscriptions`; its fields take the place of the earlier ones."""
        parameters = _parameters(question)
        if parameters.get("object") != OBJECT:
            raise RefusalError(f"object must be {OBJECT}")
        fields = _fields(parameters.get("fields"))
        callback_url = _url(parameters.get("callback_url"), "callback_url")
        await self._check_address(callback_url, parameters.get("verify_token"))
        self._subscriptions.subscribe(callback_url, fields)
        return _DONE

    async def _override(self, parameters: Json) -> str | None:
        given = parameters.get("override_callback_uri")
        if not given:
            return None
        url = _url(given, "override_callback_uri")
        if len(url) > MAX_OVERRIDE:
            raise RefusalError(f"override_callback_uri has more than {MAX_OVERRIDE} characters")
        await self._check_address(url, parameters.get("verify_token"))
        return url

    async def _check_address(self, url: str, verify_token: object) -> None:
        if not isinstance(verify_token, str) or not verify_token:
            raise RefusalError("verify_token is missing")
        try:
            await self._verify(url, verify_token)
        except SubscriptionError as error:
            details = f"Callback verification failed: {error}"
            raise RefusalError(details, code=NOT_VERIFIED) from error

    def _number(self) -> Json:
        digits, subscriptions = self._account.display_phone_number, self._subscriptions
        return {
            "id": self._account.phone_number_id,
            "verified_name": VERIFIED_NAME,
            # As people read it, and not as webhooks have it.
            "display_phone_number": f"+{digits[:2]} {digits[2:4]} {digits[4:]}",
            "code_verification_status": "VERIFIED",
            "quality_rating": "GREEN",
            "platform_type": "CLOUD_API",
            "throughput": {"level": "STANDARD"},
            "webhook_configuration": known(
                phone_number=subscriptions.number_override,
                whatsapp_business_account=subscriptions.account_override,
                application=subscriptions.callback_url,
            ),
        }


_NUMBER_FIELDS = (
    "verified_name",
    "code_verification_status",
    "display_phone_number",
    "quality_rating",
    "platform_type",
    "throughput",
    "webhook_configuration",
)


def _app(account: Account) -> Json:
    link = f"https://www.facebook.com/games/?app_id={account.app_id}"
    return {"id": account.app_id, "name": APP_NAME, "link": link}


def _page(rows: list[Json]) -> Json:
    return {"data": rows, "paging": {"cursors": {"before": "QVFI", "after": "QVFJ"}}}


def _selected(row: Json, question: Question, default: Iterable[str]) -> Json:
    """The fields of a row that `fields` names; the id comes always."""
    given = question.query.get("fields")
    names = given.split(",") if given else default
    unknown = [name for name in names if name not in row]
    if unknown:
        raise RefusalError(f"Tried accessing nonexisting field ({unknown[0]})")
    return {**{name: row[name] for name in names}, "id": row["id"]}


def _parameters(question: Question) -> dict[str, Any]:
    """What a request gives, be it in the address, as a form or as JSON."""
    return {**question.query, **question.form, **(question.body or {})}


def _url(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        raise RefusalError(f"{name} must be a URL")
    return value


def _fields(value: object) -> list[str]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise RefusalError("fields is missing")
    unknown = [name for name in names if str(name) not in KNOWN_FIELDS]
    if unknown:
        raise RefusalError(f"There is no field {unknown[0]}")
    return names
