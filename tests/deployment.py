"""Several processes of one deployment within a test: adapters that share a directory.

Webhooks go to all of them, as a load balancer sends them: each to one, or as a test wants it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self

from aiohttp import web

from bots import PlainBot
from conftest import Reports
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.directory import CallDirectory
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.server import PATH
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp


class Member:
    """One process.

    Parameters:
        adapter: Its adapter.
        bot: Its bot.
        reports: What became of its calls.
        directory: Its view of the directory.
    """

    def __init__(self, whatsapp: WhatsApp, directory: CallDirectory, **options: Any) -> None:
        self.bot = options.pop("bot", None) or PlainBot()
        self.reports = Reports()
        self.directory = directory
        settings = {n: options.pop(n) for n in ("max_calls", "region", "timing") if n in options}
        if "region_of" in options:
            options["region"] = options.pop("region_of")
        self.adapter = WebhookAdapter(
            whatsapp.config(**settings),
            self.bot,
            directory=directory,
            on_call_ended=self.reports,
            **options,
        )


class Deployment:
    """Several processes behind one webhook address. Use it with `async with`.

    Args:
        whatsapp: The simulated WhatsApp.
        join: Gives each process its directory; in memory by default.

    Attributes:
        members: The processes.
        choose: Which of them gets a webhook; each in turn by default.
    """

    def __init__(
        self, whatsapp: WhatsApp, join: Callable[[str], CallDirectory] | None = None
    ) -> None:
        board = Board()
        self._whatsapp = whatsapp
        self._join = join or (lambda node: MemoryDirectory(node, board))
        self._stack = AsyncExitStack()
        self._turns = itertools.count()
        self.members: list[Member] = []
        self.choose: Callable[[bytes], Member] = self._next

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 23)
        app.router.add_route("*", PATH, self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address: tuple[str, int] = runner.addresses[0]
        self._url = f"http://127.0.0.1:{address[1]}{PATH}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members:
            await member.adapter.close()
        await self._stack.aclose()

    async def add(self, **options: Any) -> Member:
        """Start one more process; arguments as for `Member`."""
        member = Member(self._whatsapp, self._join(f"node{len(self.members)}"), **options)
        self.members.append(member)
        await member.adapter.start()
        if len(self.members) == 1:
            await self._whatsapp.meta.subscribe(self._url)
        return member

    def _next(self, _: bytes) -> Member:
        return self.members[next(self._turns) % len(self.members)]

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        adapter = self.choose(body).adapter
        answer = await adapter.handle(request.method, request.query, request.headers, body)
        return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)
