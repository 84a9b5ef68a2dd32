"""Serves the phone in the browser: the page, its WebSocket, and calls to keep."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Self

from aiohttp import web

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.inspection.inspector import Inspector
from pipecat_whatsapp.simulator.inspection.record import CallRecord
from pipecat_whatsapp.simulator.inspection.saved_call import saved_call
from pipecat_whatsapp.simulator.network import Network, NetworkConditions
from pipecat_whatsapp.simulator.page.desk import Desk, Dialer
from pipecat_whatsapp.simulator.page.guard import SOCKET, Guard, bracketed
from pipecat_whatsapp.simulator.page.switches import Switches
from pipecat_whatsapp.simulator.page.tab import Tab
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.phone_call import PhoneCall
from pipecat_whatsapp.simulator.story import Story

STATIC = Path(__file__).with_name("static")
"""What the page is made of."""

MOST_TABS = 20
"""Pages that may be open at once."""

CONTENT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
}
"""What is served of the page, by the end of its name."""

_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - to be recognized, not to be bound
_SHUTDOWN_PATIENCE = 2.0


class PageServer:
    """The phone page. Use it with `async with`: afterwards all its calls are over.

    Args:
        meta: Meta's side.
        business_name: What to call the business.
        dialer: Has the bot call a user.
        host: The address to listen at.
        port: The port; 0 takes a free one.
        token: What a browser has to show; not needed on loopback.
        conditions: The lines of its phones, until the page changes them.
        seed: The seed of the lines' mishaps.
        story: Told what happens.

    Raises:
        SimulatorError: Others can reach the address, and there is no token; or it is short.
    """

    def __init__(
        self,
        meta: SimulatedMeta,
        business_name: str,
        dialer: Dialer,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        conditions: NetworkConditions | None = None,
        seed: int = 0,
        story: Story | None = None,
    ) -> None:
        self._guard = Guard(host, token)
        self._host = host
        self._port = port
        self._token = token
        self._conditions = conditions or NetworkConditions()
        self._seed = seed
        self._desk = Desk(
            meta,
            business_name,
            dialer,
            Inspector(meta),
            Switches(meta),
            story or Story(lambda _: None),
            self._tell_all,
        )
        self._tabs: set[Tab] = set()
        app = web.Application(middlewares=[self._guard.protect])
        app.on_response_prepare.append(self._guard.harden)
        app.on_shutdown.append(self._close_tabs)
        app.router.add_get("/", self._serve_page)
        app.router.add_get("/static/{name}", self._serve_file)
        app.router.add_get(SOCKET, self._serve_tab)
        app.router.add_get("/calls/{record}.json", self._serve_call)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_PATIENCE)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SimulatorError(
                f"The page cannot be served at {self._host}, port {self._port} "
                f"({error.strerror}): choose another place with --page-host and --page-port."
            ) from error
        self._port = self._runner.addresses[0][1]
        self._guard.listen(self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where the page is, without the token."""
        host = socket.gethostname() if self._host in _ANYWHERE else bracketed(self._host)
        return f"http://{host}:{self._port}"

    async def _serve_page(self, _: web.Request) -> web.StreamResponse:
        return _file("index.html")

    async def _serve_file(self, request: web.Request) -> web.StreamResponse:
        return _file(request.match_info["name"])

    async def _serve_tab(self, request: web.Request) -> web.StreamResponse:
        if len(self._tabs) >= MOST_TABS or request.transport is None:
            raise web.HTTPServiceUnavailable(text="Too many pages are open: close one first.")
        tab = Tab(self._desk, request.transport, Network(self._conditions, self._seed))
        self._tabs.add(tab)
        try:
            return await tab.serve(request)
        finally:
            self._tabs.discard(tab)

    async def _serve_call(self, request: web.Request) -> web.StreamResponse:
        record = self._desk.inspector.find(request.match_info["record"])
        if record is None:
            raise web.HTTPNotFound(text="There is no such call, or none any more.")
        if self._goes_on(record):
            raise web.HTTPConflict(text="This call still goes on: hang up first.")
        # To decode and encode minutes of sound would hold up all calls.
        body = await asyncio.to_thread(self._write_down, record)
        name = f'attachment; filename="call-{record.id}.json"'
        return web.Response(
            body=body, content_type="application/json", headers={"Content-Disposition": name}
        )

    def _goes_on(self, record: CallRecord) -> bool:
        call = self._desk.meta.calls.get(record.call_id or "")
        return call is not None and isinstance(call.leg, PhoneCall) and not call.leg.is_over

    def _write_down(self, record: CallRecord) -> bytes:
        heard, said = self._desk.inspector.sound(record.id)
        account = self._desk.meta.account
        secrets = [account.token, account.app_secret, account.verification_token]
        if self._token is not None:
            secrets.append(self._token)
        return saved_call(record, heard=heard, said=said, secrets=secrets)

    def _tell_all(self, kind: str, body: Json) -> None:
        for tab in tuple(self._tabs):
            tab.tell(kind, body)

    async def _close_tabs(self, _: web.Application) -> None:
        await asyncio.gather(*(tab.close() for tab in tuple(self._tabs)))


def _file(name: str) -> web.Response:
    """A file of the page.

    Raises:
        web.HTTPNotFound: There is none of this name.
    """
    # A name is only looked up among those that are there: no path can be made of it.
    file = {file.name: file for file in STATIC.iterdir()}.get(name)
    content_type = CONTENT_TYPES.get(file.suffix) if file else None
    if file is None or content_type is None:
        raise web.HTTPNotFound(text="The page has no such part.")
    return web.Response(body=file.read_bytes(), content_type=content_type, charset="utf-8")
