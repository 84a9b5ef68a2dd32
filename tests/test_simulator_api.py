from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import date, time
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from pipecat_whatsapp.errors import (
    CallingUnavailableError,
    GraphRequestError,
    RateLimitError,
    TokenError,
    UncallableError,
)
from pipecat_whatsapp.meta.calling_settings import (
    CallHours,
    Holiday,
    OpeningSpan,
    SipServer,
    SipSettings,
    VoicemailSettings,
)
from pipecat_whatsapp.meta.events import SettingsUpdate, User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.permissions import PermissionStatus
from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.telephony import NotCallableError
from pipecat_whatsapp.simulator.tokens import Token
from simulated_account import WEEK, World, a_world
from simulated_business import ADA, OFFER, Reply, connect_body, post

OGG = b"OggS and so on"
SIP = SipSettings("ENABLED", servers=(SipServer("sip.example.com", 5061),))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


async def send(world: World, **fields: Any) -> Reply:
    body = {"messaging_product": "whatsapp", "to": ADA.phone, **fields}
    return await post(world.meta, body, path=f"/v26.0/{world.number}/messages")


# Who asks, and for what


async def test_a_wrong_token(world: World) -> None:
    path = f"/v26.0/{world.number}/settings"
    reply = await post(world.meta, b"", method="GET", path=path, token="guessed")
    assert (reply.status, reply.code) == (401, 190)


async def test_an_expired_token(world: World) -> None:
    world.meta.business.tokens.add(Token(world.meta.account.token, expires_at=int(world.clock())))
    with pytest.raises(TokenError):
        await world.graph.settings.read(world.number)
    assert (await post(world.meta, connect_body())).code == 190


async def test_a_token_with_half_of_the_permissions(world: World) -> None:
    world.meta.business.tokens.add(Token("half", scopes=("whatsapp_business_messaging",)))
    async with GraphClient(token="half", url=world.meta.graph_url, retry_pauses=()) as graph:
        await graph.permissions.read(world.number, ADA)
        with pytest.raises(GraphRequestError) as caught:
            await graph.settings.read(world.number)
    assert (caught.value.code, caught.value.status) == (200, 403)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v26.0/{number}/messages"),
        ("DELETE", "/v26.0/{number}/settings"),
        ("GET", "/v26.0/{number}/telepathy"),
        ("GET", "/v26.0/1234567890"),
        ("GET", "/v26.0/1234567890/settings"),
    ],
)
async def test_no_such_object(world: World, method: str, path: str) -> None:
    path = path.format(number=world.number)
    reply = await post(world.meta, b"", method=method, path=path)
    assert (reply.status, reply.code) == (400, 100)
    assert reply.body["error"]["error_subcode"] == 33


@pytest.mark.parametrize("path", ["/", "/settings", "/{number}/settings", "/v26.0/a/b/c"])
async def test_no_such_path(world: World, path: str) -> None:
    reply = await post(world.meta, b"", method="GET", path=path.format(number=world.number))
    assert (reply.status, reply.code) == (400, 2500)


# Messages


async def test_the_answer_to_a_message(world: World) -> None:
    await world.meta.business.conversations.send_text(ADA, "Hello")
    reply = await send(world, to=f"+{ADA.phone}", type="text", text={"body": "Hi"})
    assert reply.status == 200
    [message] = world.phone.messages
    assert reply.body == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": f"+{ADA.phone}", "wa_id": ADA.phone, "user_id": ADA.user_id}],
        "messages": [{"id": message.id}],
    }
    reply = await send(world, to=None, recipient=ADA.user_id, text={"body": "Hi"})
    assert reply.body["contacts"] == [{"input": ADA.user_id, "user_id": ADA.user_id}]


@pytest.mark.parametrize(
    "fields",
    [{"to": None}, {"to": "Ada"}, {"type": "fax"}, {"text": {"body": ""}}],
)
async def test_a_message_of_a_wrong_form(world: World, fields: dict[str, Any]) -> None:
    await world.meta.business.conversations.send_text(ADA, "Hello")
    reply = await send(world, **({"type": "text", "text": {"body": "Hi"}} | fields))
    assert (reply.status, reply.code) == (400, 100)
    assert world.phone.messages == []


async def test_a_message_that_is_no_json(world: World) -> None:
    path = f"/v26.0/{world.number}/messages"
    assert "not a JSON object" in (await post(world.meta, b"[]", path=path)).details
    long = b'{"text": "' + b"x" * 70_000 + b'"}'
    assert (await post(world.meta, long, path=path)).status == 413


async def test_a_test_number_writes_only_to_its_list() -> None:
    account = Account(allowed_recipients=frozenset({str(ADA.phone)}))
    async with a_world(account) as world:
        messages = world.graph.messages
        await messages.send_template(world.number, ADA, "hello_world", "en_US")
        with pytest.raises(UncallableError) as caught:
            await messages.send_template(
                world.number, User(phone="4915550003333"), "hello_world", "en_US"
            )
        assert caught.value.code == 131030


async def test_a_test_number_may_ask_more_often() -> None:
    account = Account(allowed_recipients=frozenset({str(ADA.phone)}))
    async with a_world(account) as world:
        await world.meta.business.conversations.send_text(ADA, "Hello")
        for _ in range(25):
            await world.graph.messages.request_call_permission(world.number, ADA)
        assert len(world.phone.prompts) == 25


async def test_a_number_whose_country_cannot_call_may_not_ask() -> None:
    async with a_world(Account(display_phone_number="15550001111")) as world:
        await world.meta.business.conversations.send_text(ADA, "Hello")
        with pytest.raises(CallingUnavailableError) as caught:
            await world.graph.messages.request_call_permission(world.number, ADA)
        assert caught.value.code == 138013
        await world.graph.messages.send_call_button(world.number, ADA, "Call us")


# Call permissions


@pytest.mark.parametrize("form", ["guide", "reference"])
async def test_call_permissions(world: World, form: str) -> None:
    world.meta.api.permissions.form = form
    read = world.graph.permissions.read
    assert (await read(world.number, ADA)).status is PermissionStatus.NONE
    world.meta.permissions.grant(ADA)
    by_id = await read(world.number, User(user_id=ADA.user_id))
    assert by_id == await read(world.number, ADA)
    assert (by_id.status, by_id.can_call) == (PermissionStatus.TEMPORARY, True)
    assert by_id.expires_at == int(world.clock()) + WEEK


async def test_call_permissions_are_read_too_often(world: World) -> None:
    world.meta.api.permissions.reads_per_second = 1
    await world.graph.permissions.read(world.number, ADA)
    with pytest.raises(RateLimitError) as caught:
        await world.graph.permissions.read(world.number, ADA)
    assert (caught.value.code, caught.value.status) == (613, 429)


# Settings


async def test_settings_come_back_as_they_were_written(world: World) -> None:
    hours = CallHours(
        "ENABLED",
        "Europe/Berlin",
        (OpeningSpan("MONDAY", time(9), time(12)), OpeningSpan("MONDAY", time(13), time(17, 30))),
        (Holiday(date(2999, 12, 25), time(0), time(23, 59)),),
    )
    await world.graph.settings.write(
        world.number,
        call_icon_visibility="DISABLE_ALL",
        restrict_to_user_countries=["DE"],
        call_hours=hours,
        callback_permission_status="ENABLED",
        srtp_key_exchange_protocol="DTLS",
        additional_codecs=["PCMA"],
    )
    settings = await world.graph.settings.read(world.number)
    assert settings.status == "ENABLED"
    assert settings.call_icon_visibility == "DISABLE_ALL"
    assert settings.restrict_to_user_countries == ("DE",)
    assert settings.call_hours == hours
    assert settings.callback_permission_status == "ENABLED"
    assert settings.additional_codecs == ("PCMA",)
    await world.graph.settings.write(
        world.number, call_hours=CallHours("ENABLED", "UTC", hours.weekly_operating_hours)
    )
    assert (await world.graph.settings.read(world.number)).call_hours.holiday_schedule == ()


@pytest.mark.parametrize("body", [{}, {"calling": []}, {"calling": {"status": "On"}}])
async def test_settings_of_a_wrong_form(world: World, body: dict[str, Any]) -> None:
    reply = await post(world.meta, body, path=f"/v26.0/{world.number}/settings")
    assert (reply.status, reply.code) == (400, 100)


async def test_a_small_messaging_limit(world: World) -> None:
    await world.graph.settings.write(world.number, status="DISABLED")
    world.meta.business.settings.messaging_limit = 250
    with pytest.raises(CallingUnavailableError) as caught:
        await world.graph.settings.write(world.number, status="ENABLED")
    assert caught.value.code == 138015


async def test_changed_settings_are_told(world: World) -> None:
    await world.graph.settings.write(world.number, call_icon_visibility="DISABLE_ALL")
    await world.meta.wait_delivery("account_settings_update")
    [event] = world.events
    assert isinstance(event, SettingsUpdate)
    assert event.calling["call_icon_visibility"] == "DISABLE_ALL"
    assert event.phone_number_id == world.number


async def test_while_calling_is_off_nobody_calls(world: World) -> None:
    world.meta.permissions.grant(ADA)
    await world.graph.settings.write(world.number, status="DISABLED")
    reply = await post(world.meta, connect_body())
    assert (reply.status, reply.code) == (401, 138000)
    with pytest.raises(NotCallableError):
        world.meta.ring(world.phone, OFFER, ADA)


async def test_sip_mode(world: World) -> None:
    await world.graph.settings.write(world.number, sip=SIP)
    assert (await post(world.meta, connect_body())).code == 131055
    [server] = (await world.graph.settings.read(world.number)).sip.servers
    assert server.sip_user_password is None
    told = await world.graph.settings.read(world.number, include_sip_credentials=True)
    [server] = told.sip.servers
    assert (server.hostname, server.port) == ("sip.example.com", 5061)
    assert server.sip_user_password
    assert server.sip_user_password not in repr(server)


async def test_voicemail_needs_an_announcement_that_was_uploaded(world: World) -> None:
    upload = world.graph.media.upload
    plain = await upload(world.number, OGG, "audio/ogg")
    with pytest.raises(GraphRequestError):
        await world.graph.settings.write(
            world.number, voicemail=VoicemailSettings("ENABLED", ("REJECT",), plain)
        )
    greeting = await upload(world.number, OGG, "audio/ogg", use_case="call_voicemail_announcement")
    wanted = VoicemailSettings("ENABLED", ("REJECT", "TIMEOUT"), greeting, 20)
    await world.graph.settings.write(world.number, voicemail=wanted)
    assert (await world.graph.settings.read(world.number)).voicemail == wanted


# Files


async def test_a_file_is_downloaded_even_when_its_address_has_expired(world: World) -> None:
    file = world.meta.business.media.put(OGG, "audio/ogg; codecs=opus")
    media = SimpleNamespace(media_id=file.id, url=file.url, sha256=file.sha256)
    assert await world.graph.media.download(media) == OGG
    world.clock.advance(301)
    assert await world.graph.media.download(media) == OGG
    asked = [request.action for request in world.meta.requests]
    assert asked == ["", "", file.id, ""]


async def test_a_download_needs_a_token(world: World) -> None:
    file = world.meta.business.media.put(OGG, "audio/ogg")
    async with aiohttp.ClientSession() as client, client.get(file.url) as response:
        assert response.status == 401
    headers = {"Authorization": f"Bearer {world.meta.account.token}"}
    async with aiohttp.ClientSession() as client, client.get(file.url, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "audio/ogg")
        assert await response.read() == OGG


async def test_what_was_uploaded_can_be_downloaded(world: World) -> None:
    media_id = await world.graph.media.upload(world.number, OGG, "audio/ogg")
    media = SimpleNamespace(media_id=media_id, url=None, sha256=None)
    assert await world.graph.media.download(media) == OGG


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"messaging_product": "sms"}, "messaging_product"),
        ({"file": None}, "file is missing"),
        ({"use_case": "greeting"}, "no use case greeting"),
    ],
)
async def test_an_upload_of_a_wrong_form(
    world: World, changes: dict[str, str | None], details: str
) -> None:
    fields: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "file": base64.b64encode(OGG).decode(),
        **changes,
    }
    form = aiohttp.FormData()
    for name, value in fields.items():
        if value is not None:
            more = {"filename": "file", "content_type": "audio/ogg"} if name == "file" else {}
            form.add_field(name, value, **more)
    form.add_field("note", b"", filename="note")
    headers = {"Authorization": f"Bearer {world.meta.account.token}"}
    url = f"{world.meta.graph_url}/v26.0/{world.number}/media"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, data=form, headers=headers) as response,
    ):
        reply = Reply(response.status, await response.json())
    assert (reply.status, reply.code) == (400, 100)
    assert details in reply.details


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "application/x-www-form-urlencoded; charset=none"]
)
async def test_a_form_that_cannot_be_read_is_an_empty_one(world: World, content_type: str) -> None:
    headers = {"Authorization": f"Bearer {world.meta.account.token}", "Content-Type": content_type}
    url = f"{world.meta.graph_url}/v26.0/{world.number}/media"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, data=b"file", headers=headers) as response,
    ):
        reply = Reply(response.status, await response.json())
    assert (reply.status, reply.code) == (400, 100)
    assert "messaging_product" in reply.details
