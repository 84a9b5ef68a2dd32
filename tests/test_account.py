"""Tokens, numbers and subscriptions, as the Graph API shows them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipecat_whatsapp.errors import (
    ConfigError,
    GraphRequestError,
    GraphUnreachableError,
    InvalidRequestError,
    TokenError,
)
from pipecat_whatsapp.meta.account import (
    AccountApi,
    PhoneNumber,
    SubscribedApp,
    Subscription,
    TokenInfo,
)
from pipecat_whatsapp.meta.graph import GraphClient
from scripted_graph import NUMBER, TOKEN, ScriptedGraph, answer, error

WABA = "100000000000001"
APP = "700000000000007"
SECRET = "0123456789abcdef0123456789abcdef"
HOOK = "https://bot.example.com/whatsapp"
DONE = answer({"success": True})


@pytest.fixture
def account(graph: GraphClient) -> AccountApi:
    return graph.account


# The token

SCOPES = ["whatsapp_business_management", "whatsapp_business_messaging"]
INSPECTED = {
    "app_id": APP,
    "type": "SYSTEM_USER",
    "application": "Bot",
    "is_valid": True,
    "expires_at": 1790000000,
    "scopes": SCOPES,
    "granular_scopes": [
        {"scope": SCOPES[0], "target_ids": [WABA, 7]},
        {"scope": SCOPES[1]},
        "broken",
    ],
}


async def test_the_app_inspects_our_token(scripted: ScriptedGraph, account: AccountApi) -> None:
    scripted.steps = [answer({"data": INSPECTED})]
    assert await account.inspect_token(APP, SECRET) == TokenInfo(
        app_id=APP,
        type="SYSTEM_USER",
        is_valid=True,
        expires_at=1790000000,
        scopes=tuple(SCOPES),
        targets={SCOPES[0]: (WABA, "7"), SCOPES[1]: ()},
    )
    ((method, path, token, _),) = scripted.heard
    assert (method, token) == ("GET", f"{APP}|{SECRET}")
    assert path == f"/v25.0/debug_token?input_token={TOKEN}"


async def test_without_an_app_the_token_inspects_itself(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    scripted.steps = [answer({"data": INSPECTED})]
    await account.inspect_token()
    assert scripted.tokens == [TOKEN]


async def test_a_provided_token_is_inspected_as_it_is_now(scripted: ScriptedGraph) -> None:
    scripted.steps = [answer({"data": INSPECTED})]
    async with GraphClient(token=lambda: "fresh", url=scripted.url) as graph:
        await graph.account.inspect_token(APP, SECRET)
    assert scripted.heard[0][1].endswith("?input_token=fresh")


async def test_zero_means_that_a_token_never_expires(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    scripted.steps = [answer({"data": INSPECTED | {"expires_at": 0}})]
    assert (await account.inspect_token()).expires_at is None


async def test_an_invalid_token_comes_with_metas_reason(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    problem = {"code": 190, "message": "The session has expired"}
    scripted.steps = [answer({"data": {"error": problem, "is_valid": False, "scopes": []}})]
    info = await account.inspect_token(APP, SECRET)
    assert (info.is_valid, info.scopes, info.problem) == (False, (), "The session has expired")


async def test_an_app_that_is_refused_does_not_show_its_secret(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    scripted.steps = [error(400, 190, f"Cannot parse {APP}|{SECRET} with {SECRET}")]
    with pytest.raises(TokenError) as refused:
        await account.inspect_token(APP, SECRET)
    assert "s-e-c-r-e-t" not in str(refused.value)


# Numbers

LISTED = {
    "id": NUMBER,
    "display_phone_number": "+1 555-000-1111",
    "verified_name": "Example Ltd",
    "quality_rating": "GREEN",
    "platform_type": "CLOUD_API",
    "webhook_configuration": {"application": HOOK},
}
READ = PhoneNumber(NUMBER, "+1 555-000-1111", "Example Ltd", "GREEN", "CLOUD_API", HOOK)


async def test_one_number(scripted: ScriptedGraph, account: AccountApi) -> None:
    scripted.steps = [answer(LISTED)]
    assert await account.phone_number(NUMBER) == READ
    path, _, query = scripted.heard[0][1].partition("?fields=")
    assert path == f"/v25.0/{NUMBER}"
    assert set(query.split(",")) == LISTED.keys()


@pytest.mark.parametrize(
    ("levels", "nearest"),
    [
        (("application", "whatsapp_business_account", "phone_number"), "phone_number"),
        (("application", "whatsapp_business_account"), "whatsapp_business_account"),
        (("application",), "application"),
    ],
)
async def test_webhooks_go_to_the_nearest_address(
    scripted: ScriptedGraph, account: AccountApi, levels: tuple[str, ...], nearest: str
) -> None:
    urls = {level: f"https://{level}.example.com" for level in levels}
    scripted.steps = [answer(LISTED | {"webhook_configuration": urls})]
    assert (await account.phone_number(NUMBER)).webhook_url == urls[nearest]


async def test_a_number_may_have_nothing_but_its_id(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    scripted.steps = [answer({"id": NUMBER})]
    assert await account.phone_number(NUMBER) == PhoneNumber(NUMBER)


async def test_numbers_are_listed_over_all_pages(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    cursors = {"cursors": {"before": "A", "after": "B"}}
    scripted.steps = [
        answer({"data": [LISTED, {}], "paging": {**cursors, "next": "https://elsewhere"}}),
        answer({"data": [{"id": "2"}], "paging": cursors}),
    ]
    assert await account.phone_numbers(WABA) == (READ, PhoneNumber("2"))
    paths = [path for _, path, _, _ in scripted.heard]
    assert all(path.startswith(f"/v25.0/{WABA}/phone_numbers?fields=") for path in paths)
    assert [path.endswith("&after=B") for path in paths] == [False, True]


async def test_a_list_without_an_end_is_not_followed_for_ever(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    paging = {"cursors": {"after": "again"}, "next": "https://elsewhere"}
    scripted.steps = [answer({"data": [LISTED], "paging": paging})]
    await account.phone_numbers(WABA)
    assert len(scripted.heard) == 50


# Webhooks


async def test_apps_of_an_account(scripted: ScriptedGraph, account: AccountApi) -> None:
    app = {"id": APP, "link": "https://example.com", "name": "Bot"}
    listed = [
        {"whatsapp_business_api_data": app, "override_callback_uri": HOOK},
        {"whatsapp_business_api_data": {"id": "8"}},
        {},
        None,
    ]
    scripted.steps = [answer({"data": listed})]
    assert await account.subscribed_apps(WABA) == (
        SubscribedApp(APP, "Bot", HOOK),
        SubscribedApp("8"),
    )
    assert scripted.heard[0][:2] == ("GET", f"/v25.0/{WABA}/subscribed_apps")


async def test_an_app_is_subscribed_to_an_account(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    await account.subscribe_app_to_waba(WABA)
    await account.subscribe_app_to_waba(WABA, override_callback_uri=HOOK, verify_token="sesame")
    override = {"override_callback_uri": HOOK, "verify_token": "sesame"}
    assert scripted.bodies == [None, override]
    heads = {(method, path) for method, path, _, _ in scripted.heard}
    assert heads == {("POST", f"/v25.0/{WABA}/subscribed_apps")}


async def test_a_numbers_webhooks_are_sent_elsewhere_and_back(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    await account.set_phone_number_webhook(NUMBER, HOOK, "sesame")
    await account.set_phone_number_webhook(NUMBER, "", "")
    override = {"override_callback_uri": HOOK, "verify_token": "sesame"}
    assert scripted.bodies == [
        {"webhook_configuration": override},
        {"webhook_configuration": {"override_callback_uri": ""}},
    ]
    assert scripted.heard[0][:2] == ("POST", f"/v25.0/{NUMBER}")


async def test_an_app_shows_its_subscriptions(scripted: ScriptedGraph, account: AccountApi) -> None:
    listed = [
        {
            "object": "whatsapp_business_account",
            "callback_url": HOOK,
            "active": True,
            "fields": [{"name": "calls", "version": "v25.0"}, "messages", {}],
        },
        {"object": "page", "active": False},
        {},
    ]
    scripted.steps = [answer({"data": listed})]
    assert await account.app_subscriptions(APP, SECRET) == (
        Subscription("whatsapp_business_account", HOOK, True, ("calls", "messages")),
        Subscription("page", None, False, ()),
    )
    assert scripted.heard[0][:3] == ("GET", f"/v25.0/{APP}/subscriptions", f"{APP}|{SECRET}")


async def test_an_app_subscribes_to_webhooks(scripted: ScriptedGraph, account: AccountApi) -> None:
    await account.subscribe_app(APP, SECRET, HOOK, "sesame", ["calls", "messages"])
    assert scripted.heard == [
        (
            "POST",
            f"/v25.0/{APP}/subscriptions",
            f"{APP}|{SECRET}",
            {
                "object": "whatsapp_business_account",
                "callback_url": HOOK,
                "verify_token": "sesame",
                "fields": "calls,messages",
            },
        )
    ]


async def test_a_webhook_that_meta_cannot_verify_is_told_as_such(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    scripted.steps = [error(400, 2200, "Callback verification failed")]
    with pytest.raises(InvalidRequestError, match="verification token"):
        await account.subscribe_app(APP, SECRET, HOOK, "sesame", ["calls"])


Ask = Callable[[AccountApi], Awaitable[Any]]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda api: api.subscribe_app(APP, SECRET, HOOK, "sesame", []), "no webhook field"),
        (lambda api: api.set_phone_number_webhook(NUMBER, HOOK, ""), "verification token is empty"),
        (lambda api: api.set_phone_number_webhook(NUMBER, "h" * 201, "x"), "200 are the most"),
        (lambda api: api.subscribe_app_to_waba(WABA, override_callback_uri=HOOK), "is empty"),
    ],
)
async def test_what_meta_would_refuse_is_not_sent(
    scripted: ScriptedGraph, account: AccountApi, ask: Ask, words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        await ask(account)
    assert scripted.heard == []


@pytest.mark.parametrize(
    ("ask", "name"),
    [
        (lambda api: api.inspect_token("my app", SECRET), "app id"),
        (lambda api: api.app_subscriptions("my app", SECRET), "app id"),
        (lambda api: api.phone_numbers("my account"), "WhatsApp Business Account id"),
        (lambda api: api.phone_number("+1 555"), "phone number id"),
    ],
)
async def test_a_wrong_id_is_named(
    scripted: ScriptedGraph, account: AccountApi, ask: Ask, name: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        await ask(account)
    assert scripted.heard == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda api: api.inspect_token(),
        lambda api: api.phone_number(NUMBER),
        lambda api: api.phone_numbers(WABA),
        lambda api: api.subscribed_apps(WABA),
        lambda api: api.app_subscriptions(APP, SECRET),
    ],
)
async def test_an_unreadable_answer_is_not_taken_for_nothing(
    scripted: ScriptedGraph, account: AccountApi, ask: Ask
) -> None:
    scripted.steps = [answer("<html>")]
    with pytest.raises(GraphUnreachableError, match="cannot be read"):
        await ask(account)


async def test_set_up_is_tried_again(scripted: ScriptedGraph, account: AccountApi) -> None:
    scripted.steps = [error(400, 80007), DONE]
    await account.subscribe_app_to_waba(WABA)
    assert len(scripted.heard) == 2


async def test_neither_token_of_a_question_comes_back_in_meta_s_words(
    scripted: ScriptedGraph, account: AccountApi
) -> None:
    scripted.steps = [error(400, 100, f"Bad {TOKEN} for {APP}|s-e-c-r-e-t")]
    with pytest.raises(GraphRequestError) as caught:
        await account.inspect_token(APP, "s-e-c-r-e-t")
    assert TOKEN not in str(caught.value)
    assert SECRET not in str(caught.value)
