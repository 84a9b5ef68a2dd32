from __future__ import annotations

import io

import aiohttp

from bots import PlainBot
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES
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
