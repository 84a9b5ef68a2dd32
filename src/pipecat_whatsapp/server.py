"""Webhook routes for an aiohttp application."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web
from loguru import logger

from pipecat_whatsapp.access_log import hide_verification_token
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES

PATH = "/whatsapp"
"""Where webhooks are served unless told otherwise."""

DIAL_PATH = "/calls"
"""What follows the webhooks' path where calls are asked for."""

BODY_TIMEOUT = 10.0
"""Seconds in which a request's body must have come."""

Readiness: TypeAlias = "bool | Mapping[str, Any]"
"""An application's own word on whether it is ready; a mapping says it under the key "ready"."""

ReadyzHook: TypeAlias = Callable[[], "Readiness | Awaitable[Readiness]"]
"""Asked by `/readyz`, as on Pipecat Cloud."""


def create_app(
    adapter: WebhookAdapter, *, path: str = PATH, readyz: ReadyzHook | None = None
) -> web.Application:
    """An aiohttp application that serves an adapter: starts it, and closes it when it stops.

    Args:
        adapter: The adapter.
        path: Where Meta sends webhooks to.
        readyz: The application's own word on whether it is ready.
    """

    async def start(_: web.Application) -> None:
        await adapter.start()

    async def close(_: web.Application) -> None:
        await adapter.close()

    app = create_routes(adapter, path=path, readyz=readyz)
    app.on_startup.append(start)
    app.on_shutdown.append(close)
    return app


def create_routes(
    adapter: WebhookAdapter,
    *,
    path: str = PATH,
    readyz: ReadyzHook | None = None,
    body_timeout: float = BODY_TIMEOUT,
) -> web.Application:
    """An aiohttp application for an adapter that somebody else starts and closes.

    Args:
        adapter: The adapter.
        path: Where Meta sends webhooks to.
        readyz: The application's own word on whether it is ready.
        body_timeout: Seconds in which a request's body must have come.
    """

    async def serve(request: web.Request) -> web.Response:
        body = await _body(request, body_timeout)
        answer = await adapter.handle(request.method, request.query, request.headers, body)
        return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)

    async def serve_dial(request: web.Request) -> web.Response:
        body = await _body(request, body_timeout)
        answer = await adapter.handle_dial(request.headers, body)
        return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        hindrance = adapter.hindrance()
        if hindrance is not None:
            return _not_ready(hindrance)
        return await _ask(readyz) if readyz is not None else web.json_response({"status": "ok"})

    hide_verification_token()
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_route("GET", path, serve)
    app.router.add_route("POST", path, serve)
    app.router.add_route("POST", path + DIAL_PATH, serve_dial)
    app.on_response_prepare.append(_hide_server)
    return app


async def _body(request: web.Request, seconds: float) -> bytes:
    """Read a body that is neither too large nor too slow."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length or 0)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise web.HTTPBadRequest(text="The body is broken.") from error


async def _ask(readyz: ReadyzHook) -> web.Response:
    """Ask the application; what it raises is its own affair."""
    try:
        answer = readyz()
        said = await answer if inspect.isawaitable(answer) else answer
    except (Exception, SystemExit):  # noqa: BLE001 - an application's hook may raise anything
        logger.exception("readyz raised")
        return _not_ready("readyz raised")
    if isinstance(said, Mapping):
        return web.json_response(dict(said), status=200 if said.get("ready") else 503)
    return web.json_response({"status": "ok"}) if said else _not_ready("readyz says so")


def _not_ready(reason: str) -> web.Response:
    return web.json_response({"status": "not ready", "reason": reason}, status=503)


async def _hide_server(_: web.Request, response: web.StreamResponse) -> None:
    """Nobody needs to know our versions."""
    response.headers.pop("Server", None)
