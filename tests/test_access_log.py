from __future__ import annotations

import logging

import aiohttp
import pytest
from aiohttp import web

from bots import PlainBot
from pipecat_whatsapp.access_log import hide_verification_token
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.server import PATH, create_app
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp


def test_uvicorns_lines_lose_the_token(caplog: pytest.LogCaptureFixture) -> None:
    hide_verification_token()
    hide_verification_token()
    caplog.set_level(logging.INFO, logger="uvicorn.access")
    path = "/whatsapp?hub.mode=subscribe&hub.verify_token=s3cret&hub.challenge=1"
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", path, "1.1", 200
    )
    assert "hub.verify_token=***&hub.challenge=1" in caplog.text
    assert "s3cret" not in caplog.text


async def test_aiohttps_lines_lose_the_token(
    whatsapp: WhatsApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="aiohttp.access")
    runner = web.AppRunner(create_app(WebhookAdapter(whatsapp.config(), PlainBot())))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
    query = {"hub.mode": "subscribe", "hub.verify_token": "s3cret", "hub.challenge": "1"}
    async with aiohttp.ClientSession() as session, session.get(url, params=query) as answer:
        assert answer.status == 403
    await runner.cleanup()
    assert "hub.verify_token=***" in caplog.text
    assert "s3cret" not in caplog.text
    assert not any("s3cret" in str(vars(record)) for record in caplog.records)
