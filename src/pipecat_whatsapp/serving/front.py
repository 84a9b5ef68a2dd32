"""HTTP at a socket that several processes share, for clients that nobody knows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from pipecat_whatsapp.serving import descriptors


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What clients may cost.

    Parameters:
        header_timeout: Seconds in which a request's head must have come.
        linger: Seconds in which the rest of a refused body is read and forgotten.
        connections: Connections at one time, in one process, and never more than a quarter of its
            file descriptors: calls need some. Further ones are closed.
    """

    header_timeout: float = 10.0
    linger: float = 2.0
    connections: int = 1000


BACKLOG = 1024
"""Connections that wait until a process takes them."""

SHUTDOWN_TIMEOUT = 2.0
"""Seconds that answers which are under way get in the end."""


@asynccontextmanager
async def served(
    app: web.Application, listener: socket.socket, limits: Limits | None = None
) -> AsyncIterator[None]:
    """Serve an application.

    Every connection ends with its first answer: so each webhook goes to a process that has time
    for it, and a client has only `header_timeout` to send one.

    Args:
        app: The application.
        listener: A bound socket, which this process closes in the end.
        limits: What clients may cost.
    """
    limits = limits or Limits()
    app.middlewares.append(_close_after_answer)
    runner = web.AppRunner(
        app,
        access_log=None,
        # aiohttp counts the time of the first head as if a request had gone before.
        keepalive_timeout=limits.header_timeout,
        lingering_time=limits.linger,
        shutdown_timeout=SHUTDOWN_TIMEOUT,
    )
    await runner.setup()
    server = cast(web.Server, runner.server)

    most = min(limits.connections, descriptors.limit() // 4)

    def protocol() -> asyncio.Protocol:
        return server() if len(server.connections) < most else _TurnedAway()

    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(protocol, sock=listener, backlog=BACKLOG)
    try:
        yield
    finally:
        listening.close()
        await runner.cleanup()


def url_of(listener: socket.socket, path: str) -> str:
    """The address of a path that is served at a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@web.middleware
async def _close_after_answer(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    response.force_close()
    return response
