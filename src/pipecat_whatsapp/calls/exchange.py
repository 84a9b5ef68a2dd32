"""Brings every event to the process that can serve it.

A user's call goes where there is room, and from then on all that concerns it goes there. Media
never moves, and neither does a call that was claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from loguru import logger

from pipecat_whatsapp.calls.claims import Claims
from pipecat_whatsapp.calls.directory import PARK_SECONDS, Delivery, Standing, alias_of
from pipecat_whatsapp.calls.hooks import Hooks
from pipecat_whatsapp.calls.letters import Forwarded
from pipecat_whatsapp.calls.neighbours import BEAT_SECONDS, Neighbours
from pipecat_whatsapp.calls.parcel import Parcel
from pipecat_whatsapp.calls.post import Post
from pipecat_whatsapp.calls.switchboard import Switchboard
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import DirectoryError
from pipecat_whatsapp.meta.events import (
    CallConnect,
    CallEvent,
    CallPermissionReply,
    CallStatus,
    CallTerminate,
    Direction,
    Event,
)
from pipecat_whatsapp.meta.excerpt import Excerpts
from pipecat_whatsapp.meta.webhook import parse_webhook

MAX_HOPS = 3
"""How often a call is handed on. The last process takes it, or rejects it."""

EVENTS_AT_ONCE = 20
"""Events that are served before others get their turn."""

REGION_SECONDS = 1.0
"""How long the application may take to choose a region, while other events wait."""

ROOM_POLL_SECONDS = 0.1
"""How often a call that waits for room looks for it."""


_OfCall: TypeAlias = CallConnect | CallStatus | CallTerminate
"""The events that a call lives by."""


class Process(Protocol):
    """What an exchange needs of the process that it serves."""

    config: WhatsAppConfig
    claims: Claims
    hooks: Hooks

    @property
    def standing(self) -> Standing:
        """How the process stands."""
        ...

    def take_permission(self, event: CallPermissionReply) -> bool:
        """Take a user's answer. Returns whether somebody here waited for it."""
        ...

    def served(self, event: Event, result: str) -> None:
        """An event was dealt with."""
        ...


class Exchange:
    """Serves the events of one process, and sends on those of others.

    Args:
        process: Whose events they are.
        switchboard: Its calls.
        neighbours: What it knows of other processes.
        post: Brings letters to them.
        in_background: Runs a coroutine as a task that somebody watches over, and waits for.
        beside: The same, but nobody waits for it.
    """

    def __init__(
        self,
        process: Process,
        switchboard: Switchboard,
        neighbours: Neighbours,
        post: Post,
        in_background: Callable[[Coroutine[Any, Any, None]], None],
        beside: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._process = process
        self._switchboard = switchboard
        self._neighbours = neighbours
        self._post = post
        self._in_background = in_background
        self._beside = beside
        self._late = asyncio.Lock()

    async def take(self, body: bytes, *, hops: int = 0, age: float | None = None) -> list[Event]:
        """Serve what a webhook says of calls.

        Args:
            body: The webhook.
            hops: How often it was sent on.
            age: How old its calls were when it was, seconds; None when their timestamps tell.

        Returns:
            The events that are no call's business here, for the application.
        """
        parcel = Parcel(Excerpts(body), hops, age, asyncio.get_running_loop().time())
        others = []
        for count, event in enumerate(parse_webhook(body), 1):
            try:
                result = await self._serve(event, parcel)
            except Exception:  # noqa: BLE001 - the rest of the batch must be served whatever happens
                logger.exception("{} could not be served", type(event).__name__)
                result = "failed"
            if result is None:
                others.append(event)
            self._process.served(event, result or "offered")
            if count % EVENTS_AT_ONCE == 0:
                # A big batch must not hold up the sound of the calls that run.
                await asyncio.sleep(0)
        return others

    async def _serve(self, event: Event, parcel: Parcel) -> str | None:
        """Serve an event of a call. Returns what became of it; None when it is no call's."""
        if isinstance(event, CallPermissionReply):
            await self._take_permission(event, parcel)
        if not isinstance(event, CallEvent):
            return None
        if event.phone_number_id not in self._process.config.phone_number_ids:
            logger.debug("Left {} of another number alone", type(event).__name__)
            return "left alone"
        if not isinstance(event, CallConnect | CallStatus | CallTerminate):
            return None
        if event.call_id in parcel.sent:
            return "sent on"
        if self._switchboard.hand(event):
            if isinstance(event, CallTerminate) and not self._process.claims.knows(event.call_id):
                await self._tell_owner(event, parcel)
            return "served"
        if isinstance(event, CallConnect) and event.direction is Direction.INBOUND:
            return await self._announce(event, parcel)
        return await self._seek_owner(event, parcel)

    async def _take_permission(self, event: CallPermissionReply, parcel: Parcel) -> None:
        """Hand a user's answer to whoever waits for it: no directory knows who that is."""
        message_id = event.raw.get("id")
        if self._process.take_permission(event) or parcel.hops or not isinstance(message_id, str):
            return
        with suppress(DirectoryError):
            for node in self._neighbours.names():
                await self._post.send(node, Forwarded(parcel.excerpts.of(message_id)))

    # A user's call

    async def _announce(self, connect: CallConnect, parcel: Parcel) -> str:
        if (age := parcel.age_of(connect)) >= self._process.config.timing.accept_deadline:
            logger.warning(
                "Dropped the connect of call {}: it is {:.0f} s old. "
                "Is this a late delivery, or is this machine's clock wrong?",
                connect.call_id,
                age,
            )
            return "stale"
        region = await self._region_of(connect, parcel)
        if await self._hand_on(connect, region, parcel):
            return "sent on"
        if self._process.standing.room == 0 and self._patience(connect, parcel) > 0:
            self._in_background(self._wait_for_room(connect, region, parcel))
            return "waiting"
        self._ring(connect, parcel)
        return "served"

    def _ring(self, connect: CallConnect, parcel: Parcel) -> None:
        # The same connect may have come once more meanwhile, and been faster.
        if not self._switchboard.hand(connect):
            age, was_handed_on = parcel.age_of(connect), parcel.hops > 0
            self._switchboard.ring(connect, age, was_handed_on=was_handed_on)

    async def _hand_on(self, connect: CallConnect, region: str | None, parcel: Parcel) -> bool:
        """Hand a call to another process, if that is better. Returns whether it was."""
        if parcel.hops and self._process.standing.room != 0:
            return False  # We were chosen, by somebody who may know more.
        while parcel.hops < MAX_HOPS:
            now = asyncio.get_running_loop().time()
            node = self._neighbours.place(self._process.standing, region, now)
            if node is None:
                return False
            body, age = parcel.excerpts.of(connect.call_id), parcel.age_of(connect)
            try:
                is_sent = await self._post.send(node, Forwarded(body, parcel.hops + 1, age))
            except DirectoryError:
                return False
            if is_sent:
                self._neighbours.handed(node)
                parcel.sent.add(connect.call_id)
                return True
            self._neighbours.forget(node)
        return False

    async def _wait_for_room(
        self, connect: CallConnect, region: str | None, parcel: Parcel
    ) -> None:
        """Hold a call back while no process has room, and somebody may soon have."""
        while self._process.standing.room == 0 and self._patience(connect, parcel) > 0:
            await asyncio.sleep(ROOM_POLL_SECONDS)
            # Who had to wait may try once more: its patience sees to it that this comes to an end.
            parcel.hops = min(parcel.hops, MAX_HOPS - 1)
            if await self._hand_on(connect, region, parcel):
                return
        self._ring(connect, parcel)

    def _patience(self, connect: CallConnect, parcel: Parcel) -> float:
        """Seconds that a call may still wait for room."""
        return self._process.config.timing.room_patience - parcel.age_of(connect)

    async def _region_of(self, connect: CallConnect, parcel: Parcel) -> str | None:
        hook = self._process.hooks.region
        if hook is None or parcel.hops or not self._neighbours.names():
            return None
        try:
            async with asyncio.timeout(REGION_SECONDS):
                return await hook(connect)
        except (Exception, SystemExit):  # noqa: BLE001 - an application's hook may raise anything
            logger.exception("The region of call {} could not be chosen", connect.call_id)
            return None

    async def _tell_owner(self, end: CallTerminate, parcel: Parcel) -> None:
        """Our claim of a call is under way: if another has the call, it must hear of the end."""
        letter = Forwarded(parcel.excerpts.of(end.call_id))
        with suppress(DirectoryError):
            await self._post.deliver(end.call_id, letter, otherwise=Delivery.DROPPED)

    # Events of calls that are not served here

    async def _seek_owner(self, event: _OfCall, parcel: Parcel) -> str | None:
        # It may be of a call that this very process is about to learn the id of.
        self._switchboard.park(event)
        is_end = isinstance(event, CallTerminate)
        if parcel.hops and not is_end:
            return "served"
        # A letter tells all that the webhook has of a call.
        if (event.call_id, is_end) not in parcel.told:
            parcel.told.add((event.call_id, is_end))
            letter = Forwarded(parcel.excerpts.of(event.call_id))
            if await self._deliver(event, letter) is Delivery.SENT:
                parcel.sent.add(event.call_id)
                return "sent on"
        return "over" if is_end else None

    async def _deliver(self, event: _OfCall, letter: Forwarded) -> Delivery | None:
        """Bring an event to its call's owner, at once or when the directory is back."""
        try:
            return await self._ask_owner(event, letter)
        except DirectoryError:
            if isinstance(event, CallTerminate):
                await self._process.claims.refuse(event.call_id)
            self._beside(self._deliver_later(event, letter))
            return None

    async def _ask_owner(self, event: _OfCall, letter: Forwarded) -> Delivery:
        data, is_end = event.biz_opaque_callback_data, isinstance(event, CallTerminate)
        return await self._post.deliver(
            event.call_id,
            letter,
            alias=None if data is None else alias_of(data),
            otherwise=Delivery.BURIED if is_end else Delivery.PARKED,
        )

    async def _deliver_later(self, event: _OfCall, letter: Forwarded) -> None:
        for _ in range(round(PARK_SECONDS / BEAT_SECONDS)):
            await asyncio.sleep(BEAT_SECONDS)
            # One by one: a directory that is just back has enough to do.
            async with self._late:
                with suppress(DirectoryError):
                    await self._ask_owner(event, letter)
                    return
