from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from pipecat_whatsapp.simulator.graph import CallState, SimulatedMeta, UserCall
from pipecat_whatsapp.simulator.question import MAX_BODY
from pipecat_whatsapp.simulator.tokens import MANAGEMENT, Token
from simulated_business import (
    ADA,
    ANSWER,
    BUSINESS_OFFER,
    OFFER,
    Phone,
    connect_body,
    post,
    request_body,
    serve_business,
)


@pytest.fixture
async def meta() -> AsyncIterator[SimulatedMeta]:
    async with serve_business() as business, SimulatedMeta() as meta:
        await meta.subscribe(business.url)
        yield meta


@pytest.fixture
async def call(meta: SimulatedMeta) -> UserCall:
    return meta.ring(Phone(), OFFER, ADA)


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"messaging_product": None}, "messaging_product"),
        ({"messaging_product": "sms"}, "messaging_product"),
        ({"action": None}, "action"),
        ({"action": "media_update"}, "action"),
        ({"call_id": None}, "call_id"),
        ({"call_id": 7}, "call_id"),
        ({"call_id": "wacid.unknown"}, "call_id"),
        ({"session": None}, "session"),
        ({"session": "v=0"}, "session"),
        ({"session": {"sdp_type": "offer", "sdp": ANSWER}}, "sdp_type"),
        ({"session": {"sdp": ANSWER}}, "sdp_type"),
        ({"session": {"sdp_type": "answer"}}, "sdp"),
        ({"session": {"sdp_type": "answer", "sdp": ANSWER.replace("\r", "")}}, "CRLF"),
        ({"biz_opaque_callback_data": "x" * 513}, "biz_opaque_callback_data"),
        ({"biz_opaque_callback_data": 5}, "biz_opaque_callback_data"),
    ],
)
@pytest.mark.parametrize("action", ["pre_accept", "accept"])
async def test_bad_bodies(
    meta: SimulatedMeta, call: UserCall, action: str, changes: dict[str, Any], details: str
) -> None:
    body = request_body(call, action, ANSWER) | changes
    reply = await post(meta, {name: value for name, value in body.items() if value is not None})
    assert (reply.status, reply.code) == (400, 100)
    assert details in reply.details
    assert reply.body["error"]["type"] == "OAuthException"
    assert reply.body["error"]["error_data"]["messaging_product"] == "whatsapp"
    assert call.state is CallState.RINGING
    assert (meta.requests[0].status, meta.requests[0].error_code) == (400, 100)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 50_000, b'{"a": NaN}', b'{"a": -Infinity}']
)
async def test_no_json_object(meta: SimulatedMeta, raw: bytes) -> None:
    reply = await post(meta, raw)
    assert (reply.status, reply.code) == (400, 100)
    assert meta.requests[0].body == {}


async def test_json_must_say_that_it_is_json(meta: SimulatedMeta, call: UserCall) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.post(
            f"{meta.graph_url}/v26.0/{meta.account.phone_number_id}/calls",
            data=json.dumps(request_body(call, "reject")),
            headers={"Authorization": f"Bearer {meta.account.token}"},
        ) as response,
    ):
        assert response.status == 400
    assert call.state is CallState.RINGING


async def test_a_body_that_is_too_long(meta: SimulatedMeta, call: UserCall) -> None:
    reply = await post(meta, request_body(call, "accept", "v" * MAX_BODY))
    assert (reply.status, reply.code) == (413, 100)


@pytest.mark.parametrize("token", ["", "EAA-other"])
async def test_wrong_token(meta: SimulatedMeta, call: UserCall, token: str) -> None:
    reply = await post(meta, request_body(call, "reject"), token=token)
    assert (reply.status, reply.code) == (401, 190)
    assert call.state is CallState.RINGING


async def test_a_token_without_the_right(meta: SimulatedMeta, call: UserCall) -> None:
    meta.business.tokens.add(Token("EAA-poor", scopes=(MANAGEMENT,)))
    reply = await post(meta, request_body(call, "reject"), token="EAA-poor")
    assert (reply.status, reply.code) == (403, 200)
    assert call.state is CallState.RINGING


async def test_no_token(meta: SimulatedMeta) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{meta.graph_url}/v26.0/{meta.account.phone_number_id}/calls") as response,
    ):
        assert response.status == 401
        assert (await response.json())["error"]["code"] == 190


async def test_wrong_number(meta: SimulatedMeta, call: UserCall) -> None:
    reply = await post(meta, request_body(call, "reject"), number="200000000000003")
    assert (reply.status, reply.code) == (400, 100)
    assert reply.body["error"]["error_subcode"] == 33
    assert meta.requests[0].phone_number_id == "200000000000003"


async def test_wrong_method(meta: SimulatedMeta) -> None:
    reply = await post(meta, b"", method="GET")
    assert (reply.status, reply.code) == (400, 100)


@pytest.mark.parametrize("path", ["/", "/calls", "/200000000000002/calls", "/v26/1/calls"])
async def test_wrong_path(meta: SimulatedMeta, call: UserCall, path: str) -> None:
    reply = await post(meta, request_body(call, "reject"), path=path)
    assert reply.status == 400
    assert reply.code in (100, 2500)
    assert meta.requests[0].phone_number_id is None
    assert call.state is CallState.RINGING


@pytest.mark.parametrize("version", ["v17.0", "v26.0"])
async def test_any_version(meta: SimulatedMeta, call: UserCall, version: str) -> None:
    path = f"/{version}/{meta.account.phone_number_id}/calls"
    reply = await post(meta, request_body(call, "reject"), path=path)
    assert reply.status == 200
    assert reply.body == {"messaging_product": "whatsapp", "success": True}


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"to": None}, "to or recipient"),
        ({"to": ""}, "to or recipient"),
        ({"to": 4915550002222}, "to is not"),
        ({"to": "ada"}, "to is not"),
        ({"to": None, "recipient": "4915550002222"}, "recipient is not"),
        ({"session": None}, "session"),
        ({"session": {"sdp_type": "answer", "sdp": BUSINESS_OFFER}}, "sdp_type"),
        ({"session": {"sdp_type": "offer"}}, "sdp"),
        ({"session": {"sdp_type": "offer", "sdp": "v=0\r\n"}}, "one m-line"),
        ({"biz_opaque_callback_data": "x" * 513}, "biz_opaque_callback_data"),
        ({"recording": "ENABLED"}, "recording.status"),
        ({"recording": {"purpose": "quality"}}, "recording.status"),
        ({"recording": {"status": "ENABLED", "purpose": "x" * 251}}, "recording.purpose"),
        (
            {"transcription": {"status": "ENABLED", "announcement_language": "de_DE"}},
            "transcription.announcement_language",
        ),
        (
            {"recording": {"status": "ENABLED", "announcement_language": ["en"]}},
            "recording.announcement_language",
        ),
    ],
)
async def test_bad_requests_to_call_a_user(
    meta: SimulatedMeta, changes: dict[str, Any], details: str
) -> None:
    phone = Phone()
    meta.register(phone)
    meta.permissions.grant(ADA)
    reply = await post(meta, connect_body(**changes))
    assert (reply.status, reply.code) == (400, 100)
    assert details in reply.details
    assert phone.told == []


@pytest.mark.parametrize(
    ("body", "captures"),
    [
        ({}, set()),
        ({"recording": {"status": "DISABLED"}}, set()),
        ({"recording": {"status": "ENABLED", "purpose": "x" * 250}}, {"recording"}),
        (
            {
                "recording": {"status": "ENABLED", "announcement_language": "es_ES"},
                "transcription": {"status": "ENABLED"},
            },
            {"recording", "transcription"},
        ),
    ],
)
async def test_what_is_to_be_recorded(
    meta: SimulatedMeta, call: UserCall, body: dict[str, Any], captures: set[str]
) -> None:
    reply = await post(meta, request_body(call, "accept", ANSWER) | body)
    assert reply.status == 200
    assert call.captures == captures


async def test_a_bad_recording_leaves_the_call_ringing(meta: SimulatedMeta, call: UserCall) -> None:
    body = request_body(call, "accept", ANSWER) | {"recording": {"status": "ON"}}
    assert (await post(meta, body)).code == 100
    assert call.state is CallState.RINGING
