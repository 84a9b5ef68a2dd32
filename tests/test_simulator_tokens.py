from __future__ import annotations

import pytest

from pipecat_whatsapp.simulator.settings import Account
from pipecat_whatsapp.simulator.tokens import Token, Tokens
from simulated_account import Clock, refused

ACCOUNT = Account()
APP_TOKEN = f"{ACCOUNT.app_id}|{ACCOUNT.app_secret}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(ACCOUNT, clock)


def test_the_tokens_there_are_from_the_start(tokens: Tokens) -> None:
    token = tokens.authenticate(f"Bearer {ACCOUNT.token}")
    assert token.type == "SYSTEM_USER"
    assert set(token.scopes) == {"whatsapp_business_messaging", "whatsapp_business_management"}
    assert tokens.authenticate(f"Bearer {APP_TOKEN}").type == "APP"


@pytest.mark.parametrize(
    "authorization",
    ["", ACCOUNT.token, f"Basic {ACCOUNT.token}", "Bearer ", "Bearer x", f"bearer{ACCOUNT.token}"],
)
def test_no_token(tokens: Tokens, authorization: str) -> None:
    assert refused(lambda: tokens.authenticate(authorization), 190).status == 401


def test_a_token_that_expires(tokens: Tokens, clock: Clock) -> None:
    tokens.add(Token("short", expires_at=int(clock()) + 60))
    clock.advance(59)
    tokens.authenticate("Bearer short")
    assert tokens.describe("short")["data"]["is_valid"] is True
    clock.advance(1)
    refusal = refused(lambda: tokens.authenticate("Bearer short"), 190)
    assert (refusal.status, refusal.subcode) == (401, 463)
    data = tokens.describe("short")["data"]
    assert (data["is_valid"], data["error"]["subcode"]) == (False, 463)


def test_a_revoked_token(tokens: Tokens) -> None:
    tokens.revoke(ACCOUNT.token)
    refused(lambda: tokens.authenticate(f"Bearer {ACCOUNT.token}"), 190)
    assert tokens.describe(ACCOUNT.token)["data"]["is_valid"] is False


def test_a_token_described(tokens: Tokens) -> None:
    tokens.add(Token("mine", scopes=("whatsapp_business_messaging",)))
    data = tokens.describe("mine")["data"]
    assert data["app_id"] == ACCOUNT.app_id
    assert data["expires_at"] == 0
    assert data["scopes"] == ["whatsapp_business_messaging"]
    assert data["granular_scopes"] == [
        {"scope": "whatsapp_business_messaging", "target_ids": [ACCOUNT.waba_id]}
    ]
    assert "granular_scopes" not in tokens.describe(APP_TOKEN)["data"]


def test_a_token_does_not_show_itself() -> None:
    assert "mine" not in repr(Token("mine"))
