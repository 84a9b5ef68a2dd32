"""A page without a browser: the WebSocket of the phone page, and aiortc for its sound."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from aiortc_business import Business
from pipecat_whatsapp.calls.dial_client import DialAnswer
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.callee import order_call_to
from pipecat_whatsapp.simulator.page.server import PageServer
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

PATIENCE = 60.0

ADA = {
    "phone": "4915550002222",
    "name": "Ada Example",
    "user_id": "DE.900000000000000001",
    "username": None,
}
BEN = {
    "phone": "4915550003333",
    "name": "Ben Example",
    "user_id": "DE.900000000000000002",
    "username": None,
}

Message = dict[str, Any]


class PageTab:
    """One page. Made by `open_tab`.

    Args:
        socket: Its WebSocket.
        answers: Whether it answers offers of sound.

    Attributes:
        said: What the simulator said so far.
        sound: The other end of the last call's sound, which speaks 440 Hz.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, *, answers: bool) -> None:
        self.said: list[Message] = []
        self.sound: Business | None = None
        self._socket = socket
        self._answers = answers
        self._taken: defaultdict[str, int] = defaultdict(int)
        self._changed = asyncio.Event()
        self._ends = AsyncExitStack()
        self._listening = asyncio.create_task(self._listen())

    async def send(self, kind: str, **fields: Any) -> None:
        """Order something."""
        await self._socket.send_json({"kind": kind} | fields)

    async def send_raw(self, text: str) -> None:
        """Send something that may be no order."""
        await self._socket.send_str(text)

    async def send_bytes(self, data: bytes) -> None:
        """Send what no page sends."""
        await self._socket.send_bytes(data)

    async def hears(self, kind: str, **fields: Any) -> Message:
        """Wait for the next message of a kind with these fields; those before it are skipped."""
        async with asyncio.timeout(PATIENCE):
            while True:
                while self._taken[kind] < len(self.said):
                    message = self.said[self._taken[kind]]
                    self._taken[kind] += 1
                    if message["kind"] == kind and fields.items() <= message.items():
                        return message
                assert not self._listening.done(), f"no {kind} with {fields} in {self.said}"
                await self._changed.wait()

    async def hears_step(self, title: str, **fields: Any) -> Message:
        """Wait for the next step of this title and with these fields."""
        while True:
            step: Message = (await self.hears("step"))["step"]
            if step["title"] == title and fields.items() <= step.items():
                return step

    async def identifies(self, **user: Any) -> Message:
        """Say who one is; returns the greeting."""
        await self.send("identify", **(ADA | user))
        return await self.hears("hello")

    async def calls(self, kind: str = "dial", **fields: Any) -> Business:
        """Call, and wait until it is answered; returns the browser's end of the sound."""
        await self.send(kind, **fields)
        await self.hears("call", state="answered")
        assert self.sound is not None
        return self.sound

    async def leaves(self) -> None:
        """Close the tab."""
        await self._socket.close()

    async def is_sent_away(self) -> int | None:
        """Wait until the simulator closes the socket; returns why."""
        async with asyncio.timeout(PATIENCE):
            await self._listening
        return self._socket.close_code

    async def clean_up(self) -> None:
        """Close the tab, and the sound."""
        await self._socket.close()
        await self._ends.aclose()
        await self._listening

    async def _listen(self) -> None:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            said = json.loads(message.data)
            self.said.append(said)
            if said["kind"] == "media" and self._answers:
                self.sound = await self._ends.enter_async_context(Business())
                await self.send("media_answer", sdp=await self.sound.answer(said["sdp"]))
            self._changed.set()
            self._changed.clear()
        self._changed.set()


@asynccontextmanager
async def open_tab(
    url: str, user: dict[str, Any] | None = ADA, *, answers: bool = True
) -> AsyncIterator[PageTab]:
    """A page that is open.

    Args:
        url: Where the page is.
        user: Who uses it; None for one that has not said so yet.
        answers: Whether it answers offers of sound.
    """
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{url}/socket", origin=url) as socket,
    ):
        tab = PageTab(socket, answers=answers)
        try:
            if user is not None:
                await tab.identifies(**user)
            yield tab
        finally:
            await tab.clean_up()


@asynccontextmanager
async def page_of(whatsapp: WhatsApp, **options: Any) -> AsyncIterator[PageServer]:
    """A page for a simulated WhatsApp whose bot can be asked to call.

    Args:
        whatsapp: The simulated WhatsApp.
        **options: Of `PageServer`.
    """

    async def dial(user: User) -> DialAnswer:
        return await order_call_to(user, whatsapp.webhook_url, whatsapp.meta.account.app_secret)

    async with PageServer(whatsapp.meta, "bot.py", dial, **options) as server:
        yield server


@pytest.fixture
async def server(whatsapp: WhatsApp) -> AsyncIterator[PageServer]:
    async with page_of(whatsapp) as made:
        yield made


@pytest.fixture
async def tab(server: PageServer) -> AsyncIterator[PageTab]:
    async with open_tab(server.url) as made:
        yield made
