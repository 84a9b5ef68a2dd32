"""What docs/how-to/own-app.md shows, called by a phone."""

from __future__ import annotations

import asyncio
import io
from contextlib import AsyncExitStack

import aiohttp
import pytest
from fastapi import FastAPI

from asgi import served
from bots import PlainBot
from conftest import until
from page_programs import DOCS, Program, bot, program, programs_of
from pipecat_whatsapp.server import create_app
from pipecat_whatsapp.simulator.hosting import on_loopback
from pipecat_whatsapp.simulator.payloads import signature
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer, redis_server

__all__ = ["bot", "program", "redis_server"]

PAGE = "how-to/own-app.md"
FASTAPI, AIOHTTP, PART, STARLETTE, ORDERS, DRAINING, SHARED = programs_of(PAGE)


async def status_of(url: str, body: bytes, secret: str | None) -> int:
    """How a webhook is answered; None does not sign it."""
    headers = {} if secret is None else {"X-Hub-Signature-256": signature(body, secret)}
    async with aiohttp.request("POST", url, data=io.BytesIO(body), headers=headers) as answer:
        return answer.status


async def is_called(whatsapp: WhatsApp, phone: Phone, url: str) -> None:
    """A call is answered, and ends; nobody else is let in."""
    await whatsapp.meta.subscribe(url)
    call = await phone.dial()
    await call.answered()
    assert await status_of(url, b"{}", None) == 401
    await call.hang_up()


async def test_fastapi(whatsapp: WhatsApp, phone: Phone, bot: PlainBot, program: Program) -> None:
    async with served(program(FASTAPI).app) as url:
        await whatsapp.meta.subscribe(url)
        call = await phone.dial()
        await call.answered()
        assert await status_of(url, b"{}", None) == 401
    assert await call.ended() == "terminated"
    assert bot.running == 0


async def test_a_path_before_the_routes(whatsapp: WhatsApp, phone: Phone, program: Program) -> None:
    block = FASTAPI.replace("(lambda: adapter))", '(lambda: adapter), prefix="/bots")')
    async with served(program(block).app) as url:
        await is_called(whatsapp, phone, url.replace("/whatsapp", "/bots/whatsapp"))


async def test_an_application_within_another_is_not_started(program: Program) -> None:
    outermost = FastAPI()
    outermost.mount("/inner", program(FASTAPI).app)
    async with served(outermost) as url:
        inner = url.replace("/whatsapp", "/inner/whatsapp")
        async with aiohttp.request("POST", inner) as answer:
            assert (answer.status, await answer.text()) == (503, "The application has not started.")
    assert "`The application has not\nstarted.`" in (DOCS / PAGE).read_text()


async def test_aiohttp(whatsapp: WhatsApp, phone: Phone, program: Program) -> None:
    async with on_loopback(await program(AIOHTTP).app()) as url:
        await is_called(whatsapp, phone, url + "/whatsapp")


async def test_a_part_of_an_aiohttp_application(
    whatsapp: WhatsApp, phone: Phone, program: Program
) -> None:
    async with on_loopback(await program(PART).app()) as url:
        await is_called(whatsapp, phone, url + "/bots/whatsapp")
        body, secret = b" " * (2 * 1024 * 1024), whatsapp.meta.account.app_secret
        assert await status_of(url + "/bots/whatsapp", body, secret) == 200


async def test_starlette(whatsapp: WhatsApp, phone: Phone, program: Program) -> None:
    async with served(program(STARLETTE).app) as url:
        await is_called(whatsapp, phone, url.replace("/whatsapp", "/hooks/whatsapp"))


async def test_a_page_of_the_applications_calls_a_user(
    whatsapp: WhatsApp, phone: Phone, program: Program
) -> None:
    outcomes: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def user_of(order: str) -> str:
        return f"+{phone.user.phone}"

    async def note(order: str, outcome: str) -> None:
        await outcomes.put((order, outcome))

    whatsapp.meta.permissions.grant(phone.user)
    made = program(FASTAPI)
    names = {"adapter": made.adapter, "user_of": user_of, "note": note}
    made.app.include_router(program(ORDERS, **names).pages)
    async with served(made.app) as url:
        await whatsapp.meta.subscribe(url)
        order = url.replace("/whatsapp", "/orders/12345/remind")
        async with aiohttp.request("POST", order) as answer:
            assert answer.status == 200
        call = await phone.rings()
        await call.pick_up()
        async with asyncio.timeout(30):
            assert await outcomes.get() == ("12345", "answered")


async def test_running_calls_go_on_while_the_application_stops(
    whatsapp: WhatsApp, phone: Phone, program: Program
) -> None:
    made = program(DRAINING)
    async with AsyncExitStack() as stack:
        await whatsapp.meta.subscribe(await stack.enter_async_context(served(made.app)))
        call = await phone.dial()
        await call.answered()
        stopping = asyncio.create_task(stack.aclose())
        await until(lambda: made.adapter.hindrance() is not None)
        assert [running.id for running in made.adapter.calls] == [call.id]
        await made.adapter.terminate_all()
        assert await call.ended() == "terminated"
        await stopping


async def test_several_processes(
    whatsapp: WhatsApp,
    phone: Phone,
    program: Program,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    first, second = program(SHARED), program(SHARED)
    async with (
        on_loopback(create_app(first.adapter)) as url,
        on_loopback(create_app(second.adapter)) as other_url,
    ):
        await whatsapp.meta.subscribe(url + "/whatsapp")
        call = await phone.dial()
        await call.answered()
        (served_by,) = [one.adapter for one in (first, second) if one.adapter.calls]
        await whatsapp.meta.subscribe(other_url + "/whatsapp")
        await call.hang_up()
        await until(lambda: not served_by.calls)
