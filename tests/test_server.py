from __future__ import annotations

import asyncio
import io
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bots import PlainBot
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES
from pipecat_whatsapp.server import create_routes
from pipecat_whatsapp.serving import descriptors
from pipecat_whatsapp.serving.front import Limits, served, url_of
from pipecat_whatsapp.simulator.payloads import signature
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

EMPTY = b'{"object":"whatsapp_business_account","entry":[]}'


async def test_serves_webhooks_over_http(whatsapp: WhatsApp) -> None:
    await whatsapp.serve(PlainBot())
    headers = {"X-Hub-Signature-256": signature(EMPTY, whatsapp.meta.account.app_secret)}
    async with aiohttp.ClientSession() as session:
        async with session.post(whatsapp.webhook_url, data=EMPTY, headers=headers) as answer:
            assert answer.status == 200
        async with session.post(whatsapp.webhook_url, data=EMPTY) as answer:
            assert answer.status == 401
        async with session.put(whatsapp.webhook_url, data=EMPTY) as answer:
            assert answer.status == 405


async def test_a_large_body_is_not_read_to_its_end(whatsapp: WhatsApp) -> None:
    await whatsapp.serve(PlainBot())
    body = io.BytesIO(b" " * (MAX_BODY_BYTES + 1))
    url = whatsapp.webhook_url
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
        assert answer.status == 413


async def test_stopping_the_server_ends_its_calls(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await whatsapp.stop_serving()
    assert await call.ended() == "terminated"
    assert bot.running == 0


# Served to clients that nobody knows


@asynccontextmanager
async def front(
    adapter: WebhookAdapter, limits: Limits | None = None, **options: Any
) -> AsyncIterator[str]:
    """Serve an adapter as a worker does; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = url_of(listener, "")
        async with served(create_routes(adapter, **options), listener, limits):
            yield url


@pytest.fixture
async def adapter(whatsapp: WhatsApp) -> AsyncIterator[WebhookAdapter]:
    async with WebhookAdapter(whatsapp.config(), PlainBot()) as made:
        yield made


async def said(url: str, *words: bytes) -> bytes:
    """Say something raw to a server; all it says until it closes the connection."""
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for packet in words:
            writer.write(packet)
            await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def post(*headers: str) -> bytes:
    return "\r\n".join(["POST /whatsapp HTTP/1.1", "Host: bot", *headers, "", ""]).encode()


async def test_a_body_that_says_it_is_too_large_is_not_read(adapter: WebhookAdapter) -> None:
    async with front(adapter, Limits(linger=0.1)) as url:
        answer = await said(url, post(f"Content-Length: {MAX_BODY_BYTES + 1}"))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_drips_is_cut_off(adapter: WebhookAdapter) -> None:
    async with front(adapter, Limits(linger=0.1), body_timeout=0.2) as url:
        answer = await said(url, post("Content-Length: 10") + b"drip")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_head_that_drips_is_cut_off(adapter: WebhookAdapter) -> None:
    async with front(adapter, Limits(header_timeout=0.2)) as url:
        assert await said(url, post()[:-2]) == b""


async def test_a_body_that_breaks_off_in_nonsense_is_refused(adapter: WebhookAdapter) -> None:
    async with front(adapter, Limits(linger=0.1), body_timeout=0.2) as url:
        answer = await said(url, post("Transfer-Encoding: chunked"), b"nonsense\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_client_that_leaves_amid_its_body_is_no_error(
    adapter: WebhookAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    async with front(adapter) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(post("Content-Length: 10") + b"123")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await said(url, post("Content-Length: 0"))
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]


async def test_too_many_connections_are_turned_away(adapter: WebhookAdapter) -> None:
    async with front(adapter, Limits(connections=1)) as url:
        host, port = url.removeprefix("http://").split(":")
        _, waiting = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(30):
            while await said(url, post("Content-Length: 0")):
                pass
        waiting.close()


async def test_clients_leave_descriptors_to_calls(
    adapter: WebhookAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: 8)
    async with front(adapter) as url:
        host, port = url.removeprefix("http://").split(":")
        waiting = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        assert await said(url) == b""
        for _, writer in waiting:
            writer.close()


QUEUE = 300


@pytest.mark.skipif(
    int(Path("/proc/sys/net/core/somaxconn").read_text()) < QUEUE,
    reason="net.core.somaxconn of this machine is small",
)
async def test_clients_wait_in_a_long_queue(adapter: WebhookAdapter) -> None:
    async with front(adapter) as url:
        host, port = url.removeprefix("http://").split(":")
        with ExitStack() as stack:
            # Nobody takes them meanwhile.
            for _ in range(QUEUE):
                client = socket.create_connection((host, int(port)), timeout=0.5)
                stack.enter_context(client)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("HEAD", "/livez", 200),
        ("GET", "/readyz", 200),
        ("HEAD", "/whatsapp", 405),
        ("DELETE", "/whatsapp", 405),
        ("GET", "/whatsapp", 403),
        ("GET", "/whatsapp/calls", 405),
        ("POST", "/whatsapp/calls", 401),
        ("GET", "/metrics", 404),
    ],
)
async def test_what_is_served(adapter: WebhookAdapter, method: str, path: str, status: int) -> None:
    async with front(adapter) as url, aiohttp.request(method, url + path) as answer:
        assert answer.status == status
        assert answer.headers["Connection"] == "close"
        assert "Server" not in answer.headers


async def test_not_ready_while_it_drains(adapter: WebhookAdapter) -> None:
    await adapter.drain(0)
    async with front(adapter) as url, aiohttp.request("GET", url + "/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json())["reason"]


async def late() -> bool:
    await asyncio.sleep(0)
    return False


def broken() -> bool:
    raise ValueError("secret")


@pytest.mark.parametrize(
    ("readyz", "status", "words"),
    [
        (lambda: True, 200, {"status": "ok"}),
        (lambda: False, 503, {"status": "not ready", "reason": "readyz says so"}),
        (late, 503, {"status": "not ready", "reason": "readyz says so"}),
        (lambda: {"ready": True, "model": "warm"}, 200, {"ready": True, "model": "warm"}),
        (lambda: {"ready": False}, 503, {"ready": False}),
        (broken, 503, {"status": "not ready", "reason": "readyz raised"}),
        (sys.exit, 503, {"status": "not ready", "reason": "readyz raised"}),
    ],
)
async def test_the_application_says_whether_it_is_ready(
    adapter: WebhookAdapter, readyz: Callable[[], Any], status: int, words: dict[str, Any]
) -> None:
    async with (
        front(adapter, readyz=readyz) as url,
        aiohttp.request("GET", url + "/readyz") as answer,
    ):
        assert (answer.status, json.loads(await answer.text())) == (status, words)
