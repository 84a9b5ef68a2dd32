from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from pipecat_whatsapp.simulator.graph import CallState, MetaCall, SimulatedMeta
from pipecat_whatsapp.simulator.requests import MAX_BODY
from simulated_business import ADA, ANSWER, OFFER, Phone, post, request_body, serve_business


@pytest.fixture
async def meta() -> AsyncIterator[SimulatedMeta]:
    async with serve_business() as business, SimulatedMeta() as meta:
        await meta.subscribe(business.url)
        yield meta


@pytest.fixture
async def call(meta: SimulatedMeta) -> MetaCall:
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
    meta: SimulatedMeta, call: MetaCall, action: str, changes: dict[str, Any], details: str
) -> None:
    body = request_body(call, action, ANSWER) | changes
    reply = await post(meta, {name: value for name, value in body.items() if value is not None})
    assert (reply.status, reply.code) == (400, 100)
    assert details in reply.details
    assert reply.body["error"]["type"] == "OAuthException"
    assert reply.body["error"]["error_data"]["messaging_product"] == "whatsapp"
    assert call.state is CallState.RINGING
    assert (meta.requests[0].status, meta.requests[0].error_code) == (400, 100)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 50_000])
async def test_no_json_object(meta: SimulatedMeta, raw: bytes) -> None:
    reply = await post(meta, raw)
    assert (reply.status, reply.code) == (400, 100)
    assert meta.requests[0].body == {}


async def test_json_must_say_that_it_is_json(meta: SimulatedMeta, call: MetaCall) -> None:
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


async def test_a_body_that_is_too_long(meta: SimulatedMeta, call: MetaCall) -> None:
    reply = await post(meta, request_body(call, "accept", "v" * MAX_BODY))
    assert (reply.status, reply.code) == (413, 100)


@pytest.mark.parametrize("token", ["", "EAA-other"])
async def test_wrong_token(meta: SimulatedMeta, call: MetaCall, token: str) -> None:
    reply = await post(meta, request_body(call, "reject"), token=token)
    assert (reply.status, reply.code) == (401, 190)
    assert call.state is CallState.RINGING


async def test_no_token(meta: SimulatedMeta) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{meta.graph_url}/v26.0/{meta.account.phone_number_id}/calls") as response,
    ):
        assert response.status == 401
        assert (await response.json())["error"]["code"] == 190


async def test_wrong_number(meta: SimulatedMeta, call: MetaCall) -> None:
    reply = await post(meta, request_body(call, "reject"), number="200000000000003")
    assert (reply.status, reply.code) == (400, 100)
    assert reply.body["error"]["error_subcode"] == 33
    assert meta.requests[0].phone_number_id == "200000000000003"


async def test_wrong_method(meta: SimulatedMeta) -> None:
    reply = await post(meta, b"", method="GET")
    assert (reply.status, reply.code) == (400, 100)


@pytest.mark.parametrize("path", ["/", "/calls", "/200000000000002/calls", "/v26/1/calls"])
async def test_wrong_path(meta: SimulatedMeta, call: MetaCall, path: str) -> None:
    reply = await post(meta, request_body(call, "reject"), path=path)
    assert (reply.status, reply.code) == (400, 2500)
    assert meta.requests[0].phone_number_id is None


@pytest.mark.parametrize("version", ["v17.0", "v26.0"])
async def test_any_version(meta: SimulatedMeta, call: MetaCall, version: str) -> None:
    path = f"/{version}/{meta.account.phone_number_id}/calls"
    reply = await post(meta, request_body(call, "reject"), path=path)
    assert reply.status == 200
    assert reply.body == {"messaging_product": "whatsapp", "success": True}


async def test_calling_a_user_needs_permission(meta: SimulatedMeta) -> None:
    body = {"messaging_product": "whatsapp", "action": "connect", "to": "4915550002222"}
    reply = await post(meta, body)
    assert (reply.status, reply.code) == (401, 138006)
