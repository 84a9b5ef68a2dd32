"""A simulated WhatsApp, a bot, and calls between them."""

from __future__ import annotations

import asyncio
import time
import wave
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipecat_whatsapp.calls.dial_client import DialAnswer, DialError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.callee import NotCalledError, called, order_call_to
from pipecat_whatsapp.simulator.caller import Part, converse
from pipecat_whatsapp.simulator.demo import QUESTION
from pipecat_whatsapp.simulator.graph import (
    Delivery,
    GraphRequest,
    SimulatedMeta,
    SubscriptionError,
    UnreachableError,
)
from pipecat_whatsapp.simulator.network import Network
from pipecat_whatsapp.simulator.page.server import PageServer
from pipecat_whatsapp.simulator.phone import ADA, Phone, PhoneCall
from pipecat_whatsapp.simulator.recording import Recording
from pipecat_whatsapp.simulator.sound import read_wav
from pipecat_whatsapp.simulator.stage import PagePlace, Served, Setup, SimulationError, staged
from pipecat_whatsapp.simulator.story import CallSummary, Echo, Story

START_PATIENCE = 60.0
"""Seconds that a bot may take to start; the first start on a machine compiles everything."""

_T = TypeVar("_T")


class BotError(SimulationError):
    """The bot did not start, did not answer, was not heard, or ended; its last words may tell."""


@dataclass(frozen=True)
class CallOrder:
    """One call to place.

    Parameters:
        question: A WAV file with what the user says.
        record: Where to write what the user hears; None writes nothing.
        outbound: Whether the bot calls the user.
        keys: What the user presses after the question, one key after the other.
        user: Who calls, or is called.
    """

    question: Path = QUESTION
    record: Path | None = None
    outbound: bool = False
    keys: str = ""
    user: User = ADA


class Simulation:
    """A simulated WhatsApp whose business number is served by a bot. Made by `simulation`.

    Args:
        setup: What is simulated.
        meta: Meta's side.
        served: Who serves the business number.
    """

    def __init__(self, setup: Setup, meta: SimulatedMeta, served: Served) -> None:
        self._served = served
        self._addresses = deque(served.webhook_urls)
        self._setup = setup
        self._meta = meta
        self._stories: dict[str, Story] = {}
        self._outbound_story: Story | None = None
        self._page_story: Story | None = None
        meta.watch(self._on_activity)

    async def subscribe(self) -> None:
        """Wait until the bot's webhook is verified.

        Raises:
            BotError: It never was.
        """
        deadline = time.monotonic() + START_PATIENCE
        while not await self._is_verified():
            if time.monotonic() > deadline:
                raise BotError(
                    f"{self._served.name} did not serve its webhook in {START_PATIENCE:.0f} s."
                )
            await asyncio.sleep(0.1)

    async def call(self, order: CallOrder, echo: Echo) -> CallSummary:
        """Place a call, and tell its story and its report.

        Raises:
            SimulationError: The question cannot be read, or the recording not written.
            NotCalledError: The bot shall call, and the phone never rang.
            DialError: The bot shall call, and did not take the order.
        """
        part = Part(read_question(order.question), order.question.name, order.keys)
        network = Network(self._setup.conditions, self._setup.seed)
        story = Story(echo, "the message" if order.outbound else "dialling")
        placed = self._be_called if order.outbound else self._dial
        async with (
            Phone(self._meta, order.user, network=network) as phone,
            placed(phone, story) as call,
        ):
            reason = await converse(call, part, story)
            with suppress(TimeoutError):
                await self._meta.wait_delivery("terminate", call.id, timeout=5.0)
        summary = CallSummary.of(call.recording, story, reason=reason)
        story.tell("phone", f"call over: {summary.end}")
        echo("")
        for line in summary.lines():
            echo(line)
        if order.record is not None:
            _save(call.recording, order.record)
            echo(f"  recording    {order.record}")
        return summary

    def serve_page(self, place: PagePlace, echo: Echo) -> PageServer:
        """The phones of browsers, which call the bot and are called by it; use with `async with`.

        Args:
            place: Where.
            echo: Takes each line of their calls' stories.

        Raises:
            SimulatorError: Others can reach the place, and there is no token; or it is short.
        """
        self._page_story = Story(echo)
        return PageServer(
            self._meta,
            self._served.name,
            self._order_call,
            host=place.host,
            port=place.port,
            token=place.token,
            conditions=self._setup.conditions,
            seed=self._setup.seed,
            story=self._page_story,
        )

    async def unless_bot_dies(self, work: Coroutine[object, object, _T]) -> _T:
        """Await something that needs the bot.

        Raises:
            BotError: The bot ended first.
        """
        working = asyncio.create_task(work)
        death = asyncio.create_task(self._served.death())
        try:
            await asyncio.wait({working, death}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return await working
            raise BotError(await death)
        finally:
            for task in (working, death):
                task.cancel()
            await asyncio.gather(working, death, return_exceptions=True)

    async def _is_verified(self) -> bool:
        try:
            # The last is the one that stays: the first.
            for url in reversed(self._addresses):
                await self._meta.subscribe(url)
        except UnreachableError:
            return False
        except SubscriptionError as error:
            raise BotError(f"{self._served.name}: {error}") from error
        return True

    @asynccontextmanager
    async def _dial(self, phone: Phone, story: Story) -> AsyncIterator[PhoneCall]:
        """A call of the user's, which rings at the bot."""
        number = self._meta.account.display_phone_number
        story.tell("phone", f"{phone.user.name} dials +{number}")
        call = await phone.dial()
        self._stories[call.id] = story
        try:
            yield call
        finally:
            del self._stories[call.id]

    @asynccontextmanager
    async def _be_called(self, phone: Phone, story: Story) -> AsyncIterator[PhoneCall]:
        """A call of the bot's, which rings at the phone."""
        webhook_url, secret = self._addresses[0], self._meta.account.app_secret
        self._outbound_story = story
        try:
            async with called(phone, webhook_url, secret, story) as call:
                yield call
        finally:
            self._outbound_story = None

    async def _order_call(self, user: User) -> DialAnswer:
        return await order_call_to(user, self._addresses[0], self._meta.account.app_secret)

    def _on_activity(self, record: GraphRequest | Delivery) -> None:
        # What belongs to no call yet is about the one that the bot shall place.
        otherwise = self._outbound_story or self._page_story
        story = self._stories.get(record.call_id or "", otherwise)
        has_several = len(self._addresses) > 1
        if story is not None:
            story.tell_record(record, show_place=has_several)
        if has_several and isinstance(record, Delivery):
            self._move_on()

    def _move_on(self) -> None:
        """Have the next webhook go to the next address, as behind a load balancer."""
        self._addresses.rotate(-1)
        self._meta.business.subscriptions.set_up(self._addresses[0])


@asynccontextmanager
async def simulation(setup: Setup, echo: Echo) -> AsyncIterator[Simulation]:
    """A simulation that is ready for calls.

    Raises:
        BotError: The bot did not start.
        SimulationError: There is no place for it.
    """
    started = time.monotonic()
    async with staged(setup, echo) as (meta, served):
        running = Simulation(setup, meta, served)
        try:
            await running.unless_bot_dies(running.subscribe())
            echo(f"Its webhook is verified after {time.monotonic() - started:.1f} s.\n")
            yield running
        except (BotError, NotCalledError, DialError):
            if not setup.verbose:
                _show_last_output(served, echo)
            raise


def _show_last_output(served: Served, echo: Echo) -> None:
    if served.last_output:
        echo("\nThe bot's last words:")
        for line in served.last_output:
            echo(f"    | {line}")
        echo("")


def read_question(question: Path) -> bytes:
    """What a WAV file says.

    Raises:
        SimulationError: It cannot be played.
    """
    try:
        return read_wav(question)
    except (ValueError, EOFError, OSError, wave.Error) as error:
        raise SimulationError(f"{question} cannot be played: {error}") from error


def _save(recording: Recording, path: Path) -> None:
    try:
        recording.save(path)
    except OSError as error:
        raise SimulationError(f"The recording cannot be written: {error}") from error
