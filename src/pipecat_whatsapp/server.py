"""Webhook routes for an aiohttp application."""

from __future__ import annotations

from aiohttp import web

from pipecat_whatsapp.access_log import hide_verification_token
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES

PATH = "/whatsapp"
"""Where webhooks are served unless told otherwise."""

DIAL_PATH = "/calls"
"""What follows the webhooks' path where calls are asked for."""


def create_app(adapter: WebhookAdapter, *, path: str = PATH) -> web.Application:
    """An aiohttp application that serves an adapter's webhooks, and closes it when it stops.

    Args:
        adapter: The adapter.
        path: Where Meta sends webhooks to.
    """

    async def serve(request: web.Request) -> web.Response:
        body = await request.read()
        answer = await adapter.handle(request.method, request.query, request.headers, body)
        return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)

    async def serve_dial(request: web.Request) -> web.Response:
        answer = await adapter.handle_dial(request.headers, await request.read())
        return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)

    async def close(_: web.Application) -> None:
        await adapter.close()

    hide_verification_token()
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_route("GET", path, serve)
    app.router.add_route("POST", path, serve)
    app.router.add_route("POST", path + DIAL_PATH, serve_dial)
    app.on_shutdown.append(close)
    return app
