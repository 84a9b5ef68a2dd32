"""Calls that another process asks for: who gets in, and what they are told."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI

from asgi import served
from bots import PlainBot
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.dial_door import MAX_REQUEST_BYTES, DialDoor, DialRequest
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.errors import WebhookError
from pipecat_whatsapp.runner import whatsapp_router
from pipecat_whatsapp.simulator.payloads import signature
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

NOW = 1_790_000_000


class Caller:
    """Another process, which asks for calls.

    Parameters:
        url: Where it asks.
        secret: What it signs with.
    """

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self._secret = secret

    async def ask(self, to: str, **more: Any) -> tuple[int, Any]:
        """Ask for a call as is due."""
        return await self.send(request(to, **more))

    async def send(self, body: bytes, **headers: str) -> tuple[int, Any]:
        """Send any bytes, signed unless `signature` says something else."""
        signed = headers.get("signature", signature(body, self._secret))
        given = {"X-Hub-Signature-256": signed} if signed else {}
        data = io.BytesIO(body)
        async with aiohttp.request("POST", self.url, data=data, headers=given) as answer:
            told = await answer.text()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(told) if is_json else told


def request(to: str = "4915550002222", at: float | None = None, **more: Any) -> bytes:
    timestamp = int(time.time() if at is None else at)
    return json.dumps(
        {"to": to, "timestamp": timestamp, "nonce": secrets.token_hex(8), **more}
    ).encode()


# Over HTTP


@pytest.fixture(params=["aiohttp", "fastapi"])
async def caller(
    request: pytest.FixtureRequest, whatsapp: WhatsApp, phone: Phone
) -> AsyncIterator[Caller]:
    """Somebody who knows the app secret, at the door of either server."""
    whatsapp.meta.permissions.grant(phone.user)
    secret = whatsapp.meta.account.app_secret
    if request.param == "aiohttp":
        await whatsapp.serve(PlainBot())
        yield Caller(whatsapp.webhook_url + "/calls", secret)
        return
    app = FastAPI()
    app.include_router(whatsapp_router(lambda: WebhookAdapter(whatsapp.config(), PlainBot())))
    async with served(app) as url:
        await whatsapp.meta.subscribe(url)
        yield Caller(url + "/calls", secret)
        # Such a server waits for a call that still rings.
        await phone.close()


async def test_a_call_is_placed_and_its_outcome_told(phone: Phone, caller: Caller) -> None:
    asking = asyncio.create_task(caller.ask("+49 1555 0002222"))
    call = await phone.rings()
    assert not asking.done()
    await call.pick_up()
    told = {"outcome": "answered", "detail": "", "call_id": call.id}
    assert await asking == (200, told)


async def test_a_call_that_is_declined_is_told_so(phone: Phone, caller: Caller) -> None:
    asking = asyncio.create_task(caller.ask("DE.900000000000000001"))
    call = await phone.rings()
    await call.decline()
    assert await asking == (200, {"outcome": "declined", "detail": "", "call_id": call.id})


async def test_a_call_that_meta_refuses_is_told_with_the_reason(
    whatsapp: WhatsApp, phone: Phone, caller: Caller
) -> None:
    whatsapp.meta.permissions.revoke(phone.user)
    status, told = await caller.ask("4915550002222")
    assert (status, told["outcome"], told["call_id"]) == (200, "not permitted", None)
    assert "138006" in told["detail"]


async def test_the_user_is_asked_first_when_so_wanted(
    whatsapp: WhatsApp, phone: Phone, caller: Caller
) -> None:
    whatsapp.meta.permissions.revoke(phone.user)
    await phone.send_text("hello")
    asking = asyncio.create_task(caller.ask("4915550002222", ask_permission="May we?"))
    prompt = await phone.permission_prompt()
    assert prompt.text == "May we?"
    await prompt.reject()
    status, told = await asking
    assert (status, told["outcome"]) == (200, "not permitted")


async def test_the_time_to_answer_is_as_asked(
    whatsapp: WhatsApp, phone: Phone, caller: Caller
) -> None:
    whatsapp.meta.permissions.revoke(phone.user)
    await phone.send_text("hello")
    status, told = await caller.ask("4915550002222", ask_permission="May we?", permission_timeout=1)
    assert (status, told["outcome"]) == (200, "not permitted")
    assert "within 1 s" in told["detail"]


@pytest.mark.parametrize(
    "given", ["", "sha256=", "sha256=" + "0" * 64, signature(b"other bytes", "of somebody")]
)
async def test_who_does_not_sign_is_not_read(
    whatsapp: WhatsApp, caller: Caller, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    async def admit(self: DialDoor, body: bytes) -> DialRequest:
        raise AssertionError("read before its signature was checked")

    monkeypatch.setattr(DialDoor, "admit", admit)
    status, _ = await caller.send(request(), signature=given)
    assert status == 401
    assert whatsapp.meta.requests == []


async def test_a_request_counts_once(whatsapp: WhatsApp, phone: Phone, caller: Caller) -> None:
    body = request()
    asking = asyncio.create_task(caller.send(body))
    call = await phone.rings()
    status, told = await caller.send(body)
    assert status == 403
    assert "came before" in told
    await call.decline()
    assert (await asking)[0] == 200
    assert (await caller.send(body))[0] == 403
    assert [r.action for r in whatsapp.meta.requests] == ["connect"]


@pytest.mark.parametrize("off", [-90, 90])
async def test_a_request_that_is_not_fresh_is_refused(
    whatsapp: WhatsApp, caller: Caller, off: float
) -> None:
    status, told = await caller.send(request(at=time.time() + off))
    assert status == 403
    assert "clocks" in told
    assert whatsapp.meta.requests == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"hello", 400),
        (b"[]", 400),
        (b"[" * 100_000, 413),
        (b"[" * 10_000, 400),
        (b'{"to": "4915550002222"}', 400),
        (request(nonce=""), 400),
        (request(nonce="x" * 600), 400),
        (request(padding="x" * MAX_REQUEST_BYTES), 413),
        (b" " * (3 * 1024 * 1024 + 1), 413),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, bytes) else value,
)
async def test_what_is_no_request_is_refused(
    whatsapp: WhatsApp, caller: Caller, body: bytes, status: int
) -> None:
    assert (await caller.send(body))[0] == status
    assert whatsapp.meta.requests == []


@pytest.mark.parametrize(
    ("to", "more", "named"),
    [
        ("nobody", {}, "country code"),
        ("4915550002222", {"phone_number_id": "200000000000009"}, "not served"),
    ],
)
async def test_what_cannot_be_called_is_named(
    whatsapp: WhatsApp, caller: Caller, to: str, more: dict[str, str], named: str
) -> None:
    status, told = await caller.ask(to, **more)
    assert status == 400
    assert named in told
    assert whatsapp.meta.requests == []


async def test_only_post_opens_the_door(caller: Caller) -> None:
    async with aiohttp.request("GET", caller.url) as answer:
        assert answer.status == 405


async def test_who_waits_when_the_process_ends_is_told(whatsapp: WhatsApp, phone: Phone) -> None:
    whatsapp.meta.permissions.grant(phone.user)
    await whatsapp.serve(PlainBot())
    caller = Caller(whatsapp.webhook_url + "/calls", whatsapp.meta.account.app_secret)
    asking = asyncio.create_task(caller.ask("4915550002222"))
    call = await phone.rings()
    await whatsapp.stop_serving()
    status, told = await asking
    assert (status, told["outcome"]) == (200, "cancelled")
    assert await call.ended() == "terminated"


# The door itself, by its own clock


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(clock: Clock) -> DialDoor:
    return DialDoor(MemoryDirectory(board=Board(clock=clock)).first, clock=clock)


async def refused(door: DialDoor, body: bytes) -> int:
    with pytest.raises(WebhookError) as raised:
        await door.admit(body)
    return raised.value.status


async def test_a_request_is_read(door: DialDoor) -> None:
    body = request(
        "DE.5",
        NOW,
        phone_number_id="200000000000002",
        ask_permission="May we?",
        permission_timeout=60,
    )
    assert await door.admit(body) == DialRequest("DE.5", "200000000000002", "May we?", 60)


async def test_what_may_be_missing(door: DialDoor) -> None:
    assert await door.admit(request("DE.5", NOW)) == DialRequest("DE.5", None, None, 300)
    nothing = {"phone_number_id": None, "ask_permission": None, "permission_timeout": None}
    admitted = await door.admit(request("DE.5", NOW, **nothing))
    assert admitted == DialRequest("DE.5", None, None, 300)


async def test_nobody_waits_for_ever(door: DialDoor) -> None:
    for asked, given in ((10**9, 300), (0, 0)):
        admitted = await door.admit(request(at=NOW, permission_timeout=asked))
        assert admitted.permission_timeout == given


@pytest.mark.parametrize(("off", "fresh"), [(-61, False), (-60, True), (60, True), (61, False)])
async def test_a_request_is_good_for_a_minute(door: DialDoor, off: float, *, fresh: bool) -> None:
    body = request(at=NOW + off)
    if fresh:
        await door.admit(body)
    else:
        assert await refused(door, body) == 403


async def test_a_request_is_remembered_as_long_as_it_is_fresh(door: DialDoor, clock: Clock) -> None:
    body = request(at=NOW + 60)
    await door.admit(body)
    for elapsed in range(0, 300, 10):
        clock.now = NOW + elapsed
        # Others come meanwhile, and make the door forget what is old.
        await door.admit(request(at=clock.now))
        assert await refused(door, body) == 403


async def test_a_stale_request_uses_no_nonce_up(door: DialDoor) -> None:
    assert await refused(door, request(at=NOW - 90, nonce="n")) == 403
    await door.admit(request(at=NOW, nonce="n"))
