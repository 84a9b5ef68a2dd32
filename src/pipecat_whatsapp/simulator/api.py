"""The Graph API: who may ask for what, and who answers it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from pipecat_whatsapp.simulator.account_api import AccountApi, Verify
from pipecat_whatsapp.simulator.address import check_allowed, read_address
from pipecat_whatsapp.simulator.business import Business
from pipecat_whatsapp.simulator.media import DOWNLOAD_PATH
from pipecat_whatsapp.simulator.messages import read_message
from pipecat_whatsapp.simulator.payloads import Json, known
from pipecat_whatsapp.simulator.permissions_api import PermissionsApi
from pipecat_whatsapp.simulator.question import MAX_BODY, MAX_UPLOAD, Download, Question
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account
from pipecat_whatsapp.simulator.tokens import (
    MANAGEMENT,
    MESSAGING,
    NEEDS_APP_TOKEN,
    NO_RIGHT,
    Token,
)

UNKNOWN_PATH = 2500
NO_OBJECT = 33

_APP = "an app token"
_ANY = "any token"
_PATH = re.compile(r"/v\d+\.\d+/([^/]+)/?([^/]*)")

Handler = Callable[[Question], Awaitable[Json]]
"""Does what one kind of request asks for."""


class Api:
    """Answers every request, by itself or by what it is given.

    Args:
        account: The business's ids.
        business: What Meta keeps of it.
        act_on_call: Answers requests about calls.
        verify: Verifies a webhook's address with a token.
        clock: Unix seconds.

    Attributes:
        permissions: Answers about call permissions, in a form that can be chosen.
    """

    def __init__(
        self,
        account: Account,
        business: Business,
        *,
        act_on_call: Handler,
        verify: Verify,
        clock: Callable[[], float],
    ) -> None:
        self.permissions = PermissionsApi(business.permissions, clock)
        self._account = account
        self._business = business
        account_api = AccountApi(account, business.tokens, business.subscriptions, verify)
        self._routes = self._make_routes(account_api, act_on_call)

    async def answer(self, question: Question) -> Json | Download:
        """Do what a request asks for.

        Returns:
            The JSON of the answer, or a file.

        Raises:
            RefusalError: Meta refuses the request.
        """
        token = self._business.tokens.authenticate(question.authorization)
        if question.path == DOWNLOAD_PATH:
            return Download(*self._business.media.download(question.query))
        right, handle = self._route(question)
        _check_right(token, right)
        if question.too_long:
            details = f"The body has more than {MAX_BODY} bytes of JSON, or {MAX_UPLOAD} of a form"
            raise RefusalError(details, status=413)
        return await handle(question)

    def _make_routes(
        self, account_api: AccountApi, act_on_call: Handler
    ) -> dict[tuple[str, str, str], tuple[str, Handler]]:
        number, waba = self._account.phone_number_id, self._account.waba_id
        app = self._account.app_id
        return {
            ("GET", "debug_token", ""): (_ANY, account_api.debug_token),
            ("GET", app, ""): (_ANY, account_api.app),
            ("GET", app, "subscriptions"): (_APP, account_api.subscriptions),
            ("POST", app, "subscriptions"): (_APP, account_api.subscribe),
            ("GET", waba, "phone_numbers"): (MANAGEMENT, account_api.numbers),
            ("GET", waba, "subscribed_apps"): (MANAGEMENT, account_api.subscribed_apps),
            ("POST", waba, "subscribed_apps"): (MANAGEMENT, account_api.subscribe_to_account),
            ("DELETE", waba, "subscribed_apps"): (
                MANAGEMENT,
                account_api.unsubscribe_from_account,
            ),
            ("GET", number, ""): (MANAGEMENT, account_api.number),
            ("POST", number, ""): (MANAGEMENT, account_api.configure_number),
            ("POST", number, "calls"): (MESSAGING, act_on_call),
            ("GET", number, "settings"): (MANAGEMENT, self._read_settings),
            ("POST", number, "settings"): (MANAGEMENT, self._write_settings),
            ("GET", number, "call_permissions"): (MESSAGING, self._read_permissions),
            ("POST", number, "messages"): (MESSAGING, self._send_message),
            ("POST", number, "media"): (MESSAGING, self._upload),
        }

    def _route(self, question: Question) -> tuple[str, Handler]:
        match = _PATH.fullmatch(question.path)
        if match is None:
            raise RefusalError(f"Unknown path {question.path}", code=UNKNOWN_PATH)
        route = self._routes.get((question.method, match[1], match[2]))
        if route is not None:
            return route
        if question.method == "GET" and not match[2] and match[1] in self._business.media:
            return MESSAGING, self._describe_file
        raise RefusalError("No such object, or no right to use it so", subcode=NO_OBJECT)

    async def _read_permissions(self, question: Question) -> Json:
        return self.permissions.read(question.query)

    async def _send_message(self, question: Question) -> Json:
        body = question.json_object()
        address = read_address(body)
        message = read_message(body, self._business.conversations.templates)
        check_allowed(address, self._account)
        if message.asks_permission:
            self._business.settings.check_asking()
        user, sent = self._business.conversations.send(address, message)
        contact = known(input=address.given, wa_id=address.phone, user_id=user.user_id)
        return {
            "messaging_product": "whatsapp",
            "contacts": [contact],
            "messages": [{"id": sent.id}],
        }

    async def _read_settings(self, question: Question) -> Json:
        asked = question.query.get("include_sip_credentials") == "true"
        return {"calling": self._business.settings.read(with_credentials=asked)}

    async def _write_settings(self, question: Question) -> Json:
        calling = question.json_object().get("calling")
        if not isinstance(calling, dict):
            raise RefusalError("calling is missing")
        self._business.settings.write(calling)
        return {"success": True}

    async def _upload(self, question: Question) -> Json:
        form = question.form
        if form.get("messaging_product") != "whatsapp":
            raise RefusalError('messaging_product must be "whatsapp"')
        file, use_case = form.get("file"), form.get("use_case")
        if not isinstance(file, web.FileField):
            raise RefusalError("file is missing")
        if not isinstance(use_case, str | None):
            raise RefusalError("use_case must be a text")
        mime_type = str(form.get("type", file.content_type))
        return {"id": self._business.media.upload(file.file.read(), mime_type, use_case)}

    async def _describe_file(self, question: Question) -> Json:
        return self._business.media.describe(question.path.rpartition("/")[2])


def _check_right(token: Token, right: str) -> None:
    if right == _APP and token.type != "APP":
        raise RefusalError("This needs the access token of the app", code=NEEDS_APP_TOKEN)
    if right not in (_APP, _ANY, *token.scopes):
        raise RefusalError(f"The token has no right {right}", code=NO_RIGHT, status=403)
