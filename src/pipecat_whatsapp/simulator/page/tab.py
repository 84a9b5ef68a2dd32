"""One open page: its WebSocket, and the phone on it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from pipecat_whatsapp.calls.background import Background
from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.inspection.record import user_json
from pipecat_whatsapp.simulator.network import Network
from pipecat_whatsapp.simulator.page.desk import FAILURE, Desk, NotNowError, Seat
from pipecat_whatsapp.simulator.page.fields import OrderError
from pipecat_whatsapp.simulator.page.orders import Identify, Order, read_order
from pipecat_whatsapp.simulator.page.phone import PagePhone, conditions_json
from pipecat_whatsapp.simulator.payloads import Json

LONGEST_MESSAGE = 64 * 1024
"""Bytes of a message of the page."""

MOST_UNREAD = 2000
"""Messages that a page may leave unread."""

ORDERS_PER_SECOND = 50
ORDERS_AT_ONCE = 200

_HEARTBEAT = 20.0
_FAREWELL = 1.0


class Pace:
    """Lets so many things through a second, and some more at once.

    Args:
        rate: How many a second.
        burst: How many at once.
        clock: Monotonic seconds.
    """

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / rate
        self._slack = (burst - 1) / rate
        self._clock = clock
        self._due = clock() - self._slack

    def wait(self) -> float:
        """Let one through; returns how long it has to wait, s."""
        now = self._clock()
        due = max(self._due, now - self._slack)
        self._due = due + self._interval
        return max(due - now, 0.0)


class Tab:
    """One open page.

    Args:
        desk: What all tabs share.
        transport: The connection to the browser.
        network: The line of the page's phone.
    """

    def __init__(self, desk: Desk, transport: asyncio.Transport, network: Network) -> None:
        self._desk = desk
        self._transport = transport
        self._socket = web.WebSocketResponse(
            timeout=_FAREWELL, heartbeat=_HEARTBEAT, compress=False, max_msg_size=LONGEST_MESSAGE
        )
        self._seat = Seat(self.tell, transport.get_extra_info("sockname")[0], network)
        self._unread: asyncio.Queue[str] = asyncio.Queue(MOST_UNREAD)
        self._phone: PagePhone | None = None
        self._sending = Background(FAILURE)
        self._closing = Background(FAILURE)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Let the page use a phone until it goes away."""
        await self._socket.prepare(request)
        self._sending(self._send())
        try:
            await self._listen()
        finally:
            await self._sending.cancel()
            if self._phone is not None:
                self._closing(self._phone.close())
            await self._closing.wait(None)
        return self._socket

    def tell(self, kind: str, body: Json) -> None:
        """Send the page something; a page that reads nothing is let go."""
        try:
            self._unread.put_nowait(json.dumps({"kind": kind} | body))
        except asyncio.QueueFull:
            self._transport.abort()

    async def close(self) -> None:
        """Send the page away."""
        if self._socket.prepared:
            await self._socket.close(code=WSCloseCode.GOING_AWAY)

    async def _send(self) -> None:
        with suppress(ConnectionError):
            while True:
                await self._socket.send_str(await self._unread.get())

    async def _listen(self) -> None:
        pace = Pace(ORDERS_PER_SECOND, ORDERS_AT_ONCE)
        async for message in self._socket:
            # Meanwhile nothing more is read.
            await asyncio.sleep(pace.wait())
            try:
                self._obey(_read(message))
            except SimulatorError as error:
                self._seat.notice(str(error))

    def _obey(self, order: Order) -> None:
        if isinstance(order, Identify):
            self._become(order.user)
        elif self._phone is None:
            raise NotNowError("Say first who you are.")
        else:
            self._phone.obey(order)

    def _become(self, user: User) -> None:
        before = self._phone
        if before is not None and before.is_busy:
            raise NotNowError("End the call before you become somebody else.")
        self._greet(user)
        if before is not None and _is_same(before.user, user):
            before.rename(user)
            return
        self._phone = PagePhone(self._desk, self._seat, user)
        if before is not None:
            self._closing(before.close())

    def _greet(self, user: User) -> None:
        desk, network = self._desk, self._seat.network
        business_phone = desk.meta.account.display_phone_number
        self.tell(
            "hello",
            {
                "business": {"name": desk.business_name, "phone": business_phone},
                "user": user_json(user),
                "faults": desk.switches.state(),
                "conditions": conditions_json(network.conditions),
                "offline": network.down,
            },
        )


def _is_same(one: User, other: User) -> bool:
    return (one.phone, one.user_id) == (other.phone, other.user_id)


def _read(message: WSMessage) -> Order:
    if message.type is not WSMsgType.TEXT:
        raise OrderError("What the page sent is no text.")
    return read_order(message.data)
