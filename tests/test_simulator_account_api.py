from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from pipecat_whatsapp.errors import GraphRequestError, TokenError
from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.tokens import Token
from simulated_account import World, a_world
from simulated_business import ADA, OFFER, Business, post, serve_business

ACCOUNT = Account()
APP, SECRET, WABA = ACCOUNT.app_id, ACCOUNT.app_secret, ACCOUNT.waba_id
NUMBER, VERIFY = ACCOUNT.phone_number_id, ACCOUNT.verification_token
FIELDS = ("calls", "messages")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


@pytest.fixture
async def bare() -> AsyncIterator[World]:
    """A world in which nothing has been set up."""
    async with a_world(set_up=False) as world:
        yield world


@pytest.fixture
async def other() -> AsyncIterator[Business]:
    """A second webhook."""
    async with serve_business() as business:
        yield business


# Tokens


async def test_a_token_asks_about_itself(world: World) -> None:
    info = await world.graph.account.inspect_token()
    assert (info.app_id, info.type, info.is_valid) == (APP, "SYSTEM_USER", True)
    assert info.expires_at is None
    assert set(info.scopes) == {"whatsapp_business_messaging", "whatsapp_business_management"}
    assert info.targets["whatsapp_business_management"] == (WABA,)


async def test_the_app_asks_about_an_expired_token(world: World) -> None:
    token = Token(ACCOUNT.token, expires_at=int(world.clock()))
    world.meta.business.tokens.add(token)
    info = await world.graph.account.inspect_token(APP, SECRET)
    assert (info.is_valid, info.expires_at) == (False, token.expires_at)
    assert "expired" in info.problem
    with pytest.raises(TokenError) as caught:
        await world.graph.account.inspect_token()
    assert (caught.value.code, caught.value.status) == (190, 401)


async def test_a_wrong_app_secret(world: World) -> None:
    with pytest.raises(TokenError):
        await world.graph.account.inspect_token(APP, "guessed")


async def test_nothing_to_inspect(world: World) -> None:
    reply = await post(world.meta, b"", method="GET", path="/v26.0/debug_token")
    assert (reply.status, reply.code) == (400, 100)


# Numbers


async def test_the_number(world: World) -> None:
    number = await world.graph.account.phone_number(NUMBER)
    assert await world.graph.account.phone_numbers(WABA) == (number,)
    assert number.id == NUMBER
    assert number.display_phone_number == "+49 30 55501111"
    assert (number.quality_rating, number.platform_type) == ("GREEN", "CLOUD_API")
    assert number.webhook_url == world.business.url


async def test_a_number_of_somebody_else(world: World) -> None:
    with pytest.raises(GraphRequestError) as caught:
        await world.graph.account.phone_number("200000000000003")
    assert caught.value.code == 100
    with pytest.raises(GraphRequestError):
        await world.graph.account.phone_numbers("100000000000009")


async def test_only_the_fields_that_were_asked_for(world: World) -> None:
    path = f"/v26.0/{NUMBER}?fields=verified_name"
    reply = await post(world.meta, b"", method="GET", path=path)
    assert reply.body == {"verified_name": "Simulated business", "id": NUMBER}
    reply = await post(world.meta, b"", method="GET", path=f"/v26.0/{NUMBER}?fields=colour")
    assert "nonexisting field (colour)" in reply.details


async def test_the_app(world: World) -> None:
    reply = await post(world.meta, b"", method="GET", path=f"/v26.0/{APP}")
    assert (reply.body["id"], reply.body["name"]) == (APP, "Simulated app")


# Subscriptions


async def test_a_bare_account(bare: World) -> None:
    account = bare.graph.account
    assert await account.subscribed_apps(WABA) == ()
    assert await account.app_subscriptions(APP, SECRET) == ()
    assert (await account.phone_number(NUMBER)).webhook_url is None
    with pytest.raises(GraphRequestError) as caught:
        await bare.graph.settings.write(NUMBER, status="ENABLED")
    assert caught.value.code == 138018


async def test_setting_a_bare_account_up_until_a_call_comes_in(bare: World) -> None:
    account = bare.graph.account
    await account.subscribe_app(APP, SECRET, bare.business.url, VERIFY, FIELDS)
    await account.subscribe_app_to_waba(WABA)
    await bare.graph.settings.write(NUMBER, status="ENABLED")
    bare.meta.ring(bare.phone, OFFER, ADA)
    await bare.meta.wait_delivery("connect")
    assert bare.business.events == ["connect"]


async def test_what_the_app_is_subscribed_to(bare: World) -> None:
    account = bare.graph.account
    await account.subscribe_app(APP, SECRET, bare.business.url, VERIFY, FIELDS)
    [subscription] = await account.app_subscriptions(APP, SECRET)
    assert subscription.object == "whatsapp_business_account"
    assert subscription.callback_url == bare.business.url
    assert subscription.active
    assert set(subscription.fields) == set(FIELDS)
    await account.subscribe_app(APP, SECRET, bare.business.url, VERIFY, ["calls"])
    [subscription] = await account.app_subscriptions(APP, SECRET)
    assert subscription.fields == ("calls",)


async def test_a_subscription_may_come_as_a_form(bare: World) -> None:
    form = {
        "object": "whatsapp_business_account",
        "callback_url": bare.business.url,
        "verify_token": VERIFY,
        "fields": "calls",
        "access_token": "not looked at",
    }
    headers = {"Authorization": f"Bearer {APP}|{SECRET}"}
    url = f"{bare.meta.graph_url}/v26.0/{APP}/subscriptions"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, data=form, headers=headers) as response,
    ):
        assert response.status == 200
    assert bare.meta.business.subscriptions.fields == {"calls"}


async def test_an_address_is_verified_with_its_token(bare: World) -> None:
    account = bare.graph.account
    with pytest.raises(GraphRequestError) as caught:
        await account.subscribe_app(APP, SECRET, bare.business.url, "wrong", FIELDS)
    assert caught.value.code == 2200
    assert await account.app_subscriptions(APP, SECRET) == ()
    asked = bare.business.verifications[-1]
    assert (asked["hub.mode"], asked["hub.verify_token"]) == ("subscribe", "wrong")
    assert asked["hub.challenge"].isdigit()


async def test_an_address_that_echoes_no_challenge(bare: World) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="welcome")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    with pytest.raises(GraphRequestError) as caught:
        await bare.graph.account.subscribe_app(APP, SECRET, url, VERIFY, FIELDS)
    assert "challenge" in caught.value.meta_message
    await runner.cleanup()


async def test_a_dead_address(bare: World, other: Business) -> None:
    async with serve_business() as gone:
        url = gone.url
    with pytest.raises(GraphRequestError) as caught:
        await bare.graph.account.subscribe_app(APP, SECRET, url, VERIFY, FIELDS)
    assert caught.value.code == 2200


@pytest.mark.parametrize(
    "changes",
    [
        {"object": "page"},
        {"fields": []},
        {"fields": "calls,telepathy"},
        {"fields": [["calls"]]},
        {"callback_url": "bot.example"},
        {"callback_url": None},
        {"verify_token": ""},
    ],
)
async def test_a_subscription_of_a_wrong_form(bare: World, changes: dict[str, object]) -> None:
    body = {
        "object": "whatsapp_business_account",
        "callback_url": bare.business.url,
        "verify_token": VERIFY,
        "fields": ["calls"],
        **changes,
    }
    token, path = f"{APP}|{SECRET}", f"/v26.0/{APP}/subscriptions"
    reply = await post(bare.meta, body, token=token, path=path)
    assert (reply.status, reply.code) == (400, 100)
    assert not bare.meta.business.subscriptions.fields


async def test_subscriptions_need_the_token_of_the_app(world: World) -> None:
    path = f"/v26.0/{APP}/subscriptions"
    reply = await post(world.meta, b"", method="GET", path=path)
    assert (reply.status, reply.code) == (400, 15)


async def test_subscribing_to_the_account_and_leaving_it(bare: World) -> None:
    account = bare.graph.account
    await account.subscribe_app_to_waba(WABA)
    [app] = await account.subscribed_apps(WABA)
    assert (app.id, app.name, app.override_callback_uri) == (APP, "Simulated app", None)
    path = f"/v26.0/{WABA}/subscribed_apps"
    assert (await post(bare.meta, b"", method="DELETE", path=path)).body == {"success": True}
    assert await account.subscribed_apps(WABA) == ()


async def test_the_account_overrides_the_app_until_it_does_not(
    world: World, other: Business
) -> None:
    account = world.graph.account
    await account.subscribe_app_to_waba(WABA, override_callback_uri=other.url, verify_token=VERIFY)
    [app] = await account.subscribed_apps(WABA)
    assert app.override_callback_uri == other.url
    assert (await account.phone_number(NUMBER)).webhook_url == other.url
    await world.meta.ring(world.phone, OFFER, ADA).hang_up()
    assert (other.events, world.business.events) == (["connect", "terminate"], [])
    await account.subscribe_app_to_waba(WABA)
    await world.meta.ring(world.phone, OFFER, ADA).hang_up()
    assert other.events == world.business.events == ["connect", "terminate"]


async def test_the_number_overrides_both_until_it_does_not(world: World, other: Business) -> None:
    account = world.graph.account
    await account.set_phone_number_webhook(NUMBER, other.url, VERIFY)
    assert (await account.phone_number(NUMBER)).webhook_url == other.url
    world.meta.ring(world.phone, OFFER, ADA)
    await world.meta.wait_delivery("connect")
    assert (other.events, world.business.events) == (["connect"], [])
    await account.set_phone_number_webhook(NUMBER, "", VERIFY)
    assert (await account.phone_number(NUMBER)).webhook_url == world.business.url


async def test_an_override_is_verified_too(world: World, other: Business) -> None:
    account = world.graph.account
    for attempt in (
        account.set_phone_number_webhook(NUMBER, other.url, "wrong"),
        account.subscribe_app_to_waba(WABA, override_callback_uri=other.url, verify_token="wrong"),
    ):
        with pytest.raises(GraphRequestError) as caught:
            await attempt
        assert caught.value.code == 2200
    assert (await account.phone_number(NUMBER)).webhook_url == world.business.url


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, "webhook_configuration is missing"),
        ({"webhook_configuration": {"override_callback_uri": "x"}}, "must be a URL"),
        (
            {"webhook_configuration": {"override_callback_uri": "http://" + "x" * 194}},
            "more than 200",
        ),
        (
            {"webhook_configuration": {"override_callback_uri": "http://x.test"}},
            "verify_token is missing",
        ),
    ],
)
async def test_an_override_of_a_wrong_form(
    world: World, body: dict[str, object], details: str
) -> None:
    reply = await post(world.meta, body, path=f"/v26.0/{NUMBER}")
    assert (reply.status, reply.code) == (400, 100)
    assert details in reply.details


async def test_a_number_overrides_nothing_before_the_account_is_subscribed(
    bare: World, other: Business
) -> None:
    with pytest.raises(GraphRequestError) as caught:
        await bare.graph.account.set_phone_number_webhook(NUMBER, other.url, VERIFY)
    assert caught.value.code == 100


async def test_without_the_field_calls_a_call_rings_in_vain(world: World) -> None:
    account = world.graph.account
    await account.subscribe_app(APP, SECRET, world.business.url, VERIFY, ["messages"])
    call = world.meta.ring(world.phone, OFFER, ADA)
    assert (await call.hang_up()).attempt == 0
    await world.meta.business.conversations.send_text(ADA, "Nobody picks up?")
    [webhook] = world.business.webhooks
    assert [change["field"] for change in webhook.changes] == ["messages"]
