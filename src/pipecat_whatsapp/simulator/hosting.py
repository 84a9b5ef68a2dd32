"""Serves a simulated business number with a bot in this process, over HTTP on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.server import PATH, create_app
from pipecat_whatsapp.simulator.graph import SimulatedMeta


def config_of(meta: SimulatedMeta, **changes: Any) -> WhatsAppConfig:
    """The config of whoever serves the business number.

    Args:
        meta: Meta's side.
        **changes: Fields that differ.
    """
    account = meta.account
    settings: dict[str, Any] = {
        "token": account.token,
        "phone_number_ids": frozenset({account.phone_number_id}),
        "app_secrets": (account.app_secret,),
        "verification_token": account.verification_token,
        "graph_url": meta.graph_url,
    }
    return WhatsAppConfig(**(settings | changes))


@asynccontextmanager
async def on_loopback(app: web.Application) -> AsyncIterator[str]:
    """Serve an application at a free port of 127.0.0.1.

    Yields:
        Where, without a path.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def hosted(meta: SimulatedMeta, adapter: WebhookAdapter) -> AsyncIterator[str]:
    """Let an adapter take the webhooks of the business number; ends its calls in the end.

    Args:
        meta: Meta's side.
        adapter: Takes them.

    Yields:
        Where it takes them.
    """
    async with on_loopback(create_app(adapter)) as address:
        await meta.subscribe(f"{address}{PATH}")
        yield f"{address}{PATH}"
