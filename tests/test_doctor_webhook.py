from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipecat_whatsapp.doctor.finding import Verdict
from pipecat_whatsapp.doctor.webhook import Visit, examine_webhook, fault_of, verify
from pipecat_whatsapp.errors import WebhookError
from pipecat_whatsapp.meta.webhook import verify_subscription


@asynccontextmanager
async def careless_bot(*, status: int | None = 200, greeting: str = "") -> AsyncIterator[str]:
    """A webhook that echoes the challenge to everybody, and answers every POST alike, if at all."""

    async def challenge(request: web.Request) -> web.Response:
        return web.Response(text=greeting + request.query["hub.challenge"])

    async def take(request: web.Request) -> web.Response:
        if status is None:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 200)

    app = web.Application()
    app.router.add_get("/whatsapp", challenge)
    app.router.add_post("/whatsapp", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/whatsapp"
    finally:
        await runner.cleanup()


async def test_a_bot_that_takes_unsigned_webhooks_is_broken() -> None:
    async with careless_bot() as url:
        address, signed, unsigned = await examine_webhook(
            url, verification_token="v", app_secret="s", bot_url=url
        )
    assert address.verdict is signed.verdict is Verdict.OK
    assert unsigned.verdict is Verdict.BROKEN
    assert "anybody could forge" in unsigned.what


async def test_a_bot_that_answers_no_webhook_is_not_said_to_let_strangers_in() -> None:
    async with careless_bot(status=None) as url:
        _, signed, unsigned = await examine_webhook(
            url, verification_token="v", app_secret="s", bot_url=url
        )
    assert signed.verdict is Verdict.BROKEN
    assert unsigned.verdict is Verdict.WARNING
    assert "is not answered" in signed.what
    assert "is not answered" in unsigned.what


@asynccontextmanager
async def answering(status: int, text: str) -> AsyncIterator[str]:
    """What answers every request alike."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/whatsapp"))


async def test_a_proxy_that_refuses_is_not_taken_for_a_bot_with_another_token() -> None:
    async with answering(403, "Forbidden") as url, careless_bot() as bot_url:
        assert (await verify(url, "v")).visit is Visit.SOMETHING_ELSE
        address, *_ = await examine_webhook(
            url, verification_token="v", app_secret="s", bot_url=bot_url
        )
    assert address.verdict is Verdict.BROKEN
    assert "HTTP 403" in address.what
    assert "verification token" not in address.what


async def test_a_bot_here_with_another_token_is_found_behind_a_proxy_that_hides_its_words() -> None:
    with pytest.raises(WebhookError) as refused:
        verify_subscription({}, "v")
    async with answering(403, "Forbidden") as url, answering(403, str(refused.value)) as bot_url:
        address, *_ = await examine_webhook(
            url, verification_token="v", app_secret="s", bot_url=bot_url
        )
    assert f"the bot at {bot_url}" in address.what
    assert "another verification token" in address.what


async def test_a_bot_that_fails_on_webhooks_is_broken() -> None:
    async with careless_bot(status=500) as url:
        _, signed, _ = await examine_webhook(
            url, verification_token="v", app_secret="s", bot_url=url
        )
    assert signed.verdict is Verdict.BROKEN
    assert "HTTP 500" in signed.what


async def test_a_challenge_that_is_not_the_whole_answer_counts_for_nothing() -> None:
    async with careless_bot(greeting="Welcome! ") as url:
        assert (await verify(url, "v")).visit is Visit.SOMETHING_ELSE


async def test_without_the_app_s_secret_nothing_is_signed() -> None:
    async with careless_bot(status=401) as url:
        _, signed, unsigned = await examine_webhook(
            url, verification_token="v", app_secret=None, bot_url=url
        )
    assert signed.verdict is Verdict.SKIPPED
    assert unsigned.verdict is Verdict.OK


@pytest.mark.parametrize("url", ["no url", "http://[", "https://nowhere.invalid/whatsapp"])
async def test_an_address_that_cannot_be_visited_is_unreachable(url: str) -> None:
    found = await verify(url, "v")
    assert found.visit is Visit.UNREACHABLE
    assert found.told


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("https://bot.example.com/whatsapp", False),
        ("http://127.0.0.1:7860/whatsapp", False),
        ("http://localhost/whatsapp", False),
        ("http://bot.example.com/whatsapp", True),
        ("http://192.168.1.7/whatsapp", True),
        ("bot.example.com", True),
        ("https://[", True),
        ("https://bot.example.com:99999", True),
        ("https:///whatsapp", True),
    ],
)
def test_meta_wants_https(url: str, refused: bool) -> None:
    assert (fault_of(url) is not None) is refused


async def test_an_answer_that_is_no_http_does_not_bring_the_verification_token_to_light() -> None:
    def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await verify(f"http://127.0.0.1:{port}/whatsapp", "only-meta-knows")
    assert found.visit is Visit.UNREACHABLE
    assert "no HTTP" in found.told
    assert "only-meta-knows" not in found.told


async def test_an_address_that_is_none_is_broken() -> None:
    address, *_ = await examine_webhook(
        "https://[", verification_token="v", app_secret=None, bot_url="http://127.0.0.1:1"
    )
    assert address.verdict is Verdict.BROKEN
    assert address.what == "https://[ is not an address"
