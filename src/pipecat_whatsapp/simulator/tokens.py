"""Access tokens: what each may do, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account

MESSAGING = "whatsapp_business_messaging"
MANAGEMENT = "whatsapp_business_management"

BAD_TOKEN = 190
EXPIRED = 463
NEEDS_APP_TOKEN = 15
NO_RIGHT = 200


@dataclass(frozen=True)
class Token:
    """An access token.

    Parameters:
        value: What the bearer shows.
        type: "SYSTEM_USER", "USER" or "APP".
        scopes: What it may do.
        expires_at: When it ends, Unix seconds; 0 for never.
        issued_at: When it was made, Unix seconds.
    """

    value: str = field(repr=False)
    type: str = "SYSTEM_USER"
    scopes: tuple[str, ...] = (MANAGEMENT, MESSAGING)
    expires_at: int = 0
    issued_at: int = 1_790_000_000


class Tokens:
    """The tokens of one app: from the start that of the account, and the app's own.

    Args:
        account: Whose they are.
        clock: Unix seconds.
    """

    def __init__(self, account: Account, clock: Callable[[], float] = time.time) -> None:
        self._account = account
        self._clock = clock
        self._tokens: dict[str, Token] = {}
        self.add(Token(account.token))
        self.add(Token(f"{account.app_id}|{account.app_secret}", type="APP", scopes=()))

    def add(self, token: Token) -> None:
        """Make a token valid, in place of one with the same value."""
        self._tokens[token.value] = token

    def revoke(self, value: str) -> None:
        """Make a token invalid."""
        self._tokens.pop(value, None)

    def authenticate(self, authorization: str) -> Token:
        """The token of an `Authorization` header.

        Raises:
            RefusalError: 190 (HTTP 401): it is missing, wrong or expired.
        """
        scheme, _, value = authorization.partition(" ")
        token = self._tokens.get(value)
        if scheme != "Bearer" or token is None:
            raise RefusalError("The bearer token is missing or wrong", code=BAD_TOKEN, status=401)
        if self._has_expired(token):
            details = "The session of the token has expired"
            raise RefusalError(details, code=BAD_TOKEN, status=401, subcode=EXPIRED)
        return token

    def describe(self, value: str) -> Json:
        """What `GET /debug_token` answers about a token, be it valid or not."""
        token = self._tokens.get(value)
        if token is None:
            error = {"code": BAD_TOKEN, "message": "Malformed access token"}
            return {"data": {"error": error, "is_valid": False, "scopes": []}}
        data: Json = {
            "app_id": self._account.app_id,
            "type": token.type,
            "application": "Simulated app",
            "expires_at": token.expires_at,
            "is_valid": not self._has_expired(token),
            "issued_at": token.issued_at,
            "scopes": list(token.scopes),
        }
        if token.type != "APP":
            data["user_id"] = "400000000000004"
            data["granular_scopes"] = [
                {"scope": scope, "target_ids": [self._account.waba_id]} for scope in token.scopes
            ]
        if self._has_expired(token):
            message = "Error validating access token: the session has expired"
            data["error"] = {"code": BAD_TOKEN, "message": message, "subcode": EXPIRED}
        return {"data": data}

    def _has_expired(self, token: Token) -> bool:
        return 0 < token.expires_at <= self._clock()
