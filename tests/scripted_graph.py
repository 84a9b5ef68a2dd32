"""A Graph API on loopback that does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "EAAtoken-of-nobody"
NUMBER = "200000000000002"
PHONE = "4915550002222"
USER_ID = "DE.900000000000000001"

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedGraph:
    """A Graph API that plays its steps, one for each request, the last one for ever.

    Parameters:
        url: Where it listens.
        steps: What it does.
        heard: The requests: method, path with query, token, body (of a form: its fields, and its
            file as name, type and bytes).
        hanging: Counts the requests that wait for an answer.
        released: When set, they get it.
    """

    def __init__(self) -> None:
        self.url = ""
        self.steps: list[Step] = [answer({"messaging_product": "whatsapp", "success": True})]
        self.heard: list[tuple[str, str, str, Any]] = []
        self.hanging = asyncio.Semaphore(0)
        self.released = asyncio.Event()

    async def play(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.heard.append((request.method, request.path_qs, token, body))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return await step(request)

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, _, body in self.heard]

    @property
    def tokens(self) -> list[str]:
        return [token for _, _, token, _ in self.heard]

    async def hang(self, request: web.Request) -> web.StreamResponse:
        """Answer only when `released` is set."""
        self.hanging.release()
        await self.released.wait()
        return web.json_response({"success": True})


def answer(body: Any, status: int = 200, **headers: str) -> Step:
    text = body if isinstance(body, str) else json.dumps(body)

    async def step(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=text, status=status, headers=named)

    return step


def error(status: int, code: int, message: str = "", **more: Any) -> Step:
    return answer({"error": {"code": code, "message": message, **more}}, status)


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _body(request: web.Request) -> Any:
    if request.content_type != "multipart/form-data":
        return await request.json() if request.can_read_body else None
    form = await request.post()
    return {
        name: (field.filename, field.content_type, field.file.read())
        if isinstance(field, web.FileField)
        else field
        for name, field in form.items()
    }


@asynccontextmanager
async def served() -> AsyncIterator[ScriptedGraph]:
    """Serve on loopback."""
    scripted = ScriptedGraph()
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", scripted.play)
    async with TestServer(app) as server:
        scripted.url = str(server.make_url("")).rstrip("/")
        yield scripted
        scripted.released.set()


def file(data: bytes) -> Step:
    async def step(_: web.Request) -> web.StreamResponse:
        return web.Response(body=data, content_type="application/octet-stream")

    return step
