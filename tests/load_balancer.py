"""What stands between Meta and several servers: it shares webhooks out, or shuffles them.

Meta's webhooks end here; what the servers get is chosen by the test, signed as Meta signs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, Self

import aiohttp
from aiohttp import web

from pipecat_whatsapp.server import PATH
from pipecat_whatsapp.simulator.payloads import signature
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from served import Served

Passer = Callable[[bytes], None]
"""Gets every webhook, and passes it on when it likes."""


class LoadBalancer:
    """One webhook address for several servers. Use it with `async with`.

    Args:
        whatsapp: The simulated WhatsApp, which sends its webhooks here.
        *servers: Who gets them; each in turn.

    Attributes:
        servers: Those that get them; may be changed at any time.
        webhooks: All that Meta has sent so far.
        pass_on: What becomes of each; by default a server gets it before Meta is answered.
        statuses: The answers of the servers.
    """

    def __init__(self, whatsapp: WhatsApp, *servers: Served) -> None:
        self.servers = list(servers)
        self.webhooks: list[bytes] = []
        self.pass_on: Passer | None = None
        self.statuses: list[int] = []
        self._whatsapp = whatsapp
        self._turns = itertools.count()
        self._sending: set[asyncio.Task[int]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 23)
        app.router.add_get(PATH, self._verify)
        app.router.add_post(PATH, self._take)
        self._client = aiohttp.ClientSession()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        await self._whatsapp.meta.subscribe(f"http://127.0.0.1:{port}{PATH}")
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._runner.cleanup()
        await self._client.close()

    async def send(self, *bodies: bytes, to: Served | None = None) -> int:
        """Deliver webhooks as one; returns the answer's status, 0 when there is none.

        Args:
            *bodies: The webhooks.
            to: Who gets it; whose turn it is by default.
        """
        body = _batch(bodies)
        server = to or self.servers[next(self._turns) % len(self.servers)]
        headers = {"X-Hub-Signature-256": signature(body, self._whatsapp.meta.account.app_secret)}
        try:
            async with self._client.post(server.webhook_url, data=body, headers=headers) as answer:
                self.statuses.append(answer.status)
                return answer.status
        except aiohttp.ClientError:
            return 0

    def send_later(self, seconds: float, *bodies: bytes, to: Served | None = None) -> None:
        """Deliver webhooks as one after a while; arguments as for `send`."""

        async def send() -> int:
            await asyncio.sleep(seconds)
            return await self.send(*bodies, to=to)

        task = asyncio.create_task(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def send_to_all(self, webhook: bytes) -> None:
        """Deliver a webhook to every server, as when it comes twice."""
        for server in self.servers:
            self.send_later(0.0, webhook, to=server)

    async def settled(self) -> None:
        """Wait until all that was to be sent later is sent."""
        while self._sending:
            await asyncio.wait(self._sending)

    async def _verify(self, request: web.Request) -> web.Response:
        url = self.servers[0].webhook_url
        async with self._client.get(url, params=request.query) as answer:
            return web.Response(status=answer.status, body=await answer.read())

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.webhooks.append(body)
        if self.pass_on is not None:
            self.pass_on(body)
            return web.Response()
        return web.Response(status=await self.send(body) or 502)


def kind_of(webhook: bytes) -> str:
    """What a webhook of one call tells: "connect", "terminate", ..."""
    return str(_call_of(webhook)["event"])


def call_id_of(webhook: bytes) -> str:
    """The call that it is of."""
    return str(_call_of(webhook)["id"])


def _call_of(webhook: bytes) -> dict[str, Any]:
    call: dict[str, Any] = json.loads(webhook)["entry"][0]["changes"][0]["value"]["calls"][0]
    return call


def _batch(bodies: Sequence[bytes]) -> bytes:
    if len(bodies) == 1:
        return bodies[0]
    webhooks = [json.loads(body) for body in bodies]
    return json.dumps(
        {**webhooks[0], "entry": [entry for webhook in webhooks for entry in webhook["entry"]]}
    ).encode()
