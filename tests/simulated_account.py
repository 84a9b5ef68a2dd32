"""A business at the simulated Meta, with Graph client and clock, for tests of all but calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from pipecat_whatsapp.meta.events import Event, User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.webhook import parse_webhook
from pipecat_whatsapp.simulator.graph import Account, SimulatedMeta, Timing
from pipecat_whatsapp.simulator.messages import Message
from pipecat_whatsapp.simulator.permission_prompt import PermissionPrompt
from pipecat_whatsapp.simulator.rules import RefusalError
from simulated_business import ADA, Business, Phone, serve_business

DAY = 24 * 3600
WEEK = 7 * DAY
NOBODY = User(phone="4915559999999")


class Clock:
    """Unix time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Handset(Phone):
    """A phone that keeps what the business writes."""

    def __init__(self, user: User = ADA) -> None:
        super().__init__(user)
        self.messages: list[Message] = []
        self.prompts: list[PermissionPrompt] = []

    def on_message(self, message: Message) -> None:
        self.messages.append(message)

    def on_permission_request(self, prompt: PermissionPrompt) -> None:
        self.prompts.append(prompt)


@dataclass
class World:
    """Meta, a business that is set up, its Graph client, and Ada's phone."""

    meta: SimulatedMeta
    business: Business
    graph: GraphClient
    phone: Handset
    clock: Clock

    @property
    def number(self) -> str:
        return self.meta.account.phone_number_id

    @property
    def events(self) -> list[Event]:
        """What the business's webhook got, as the client reads it."""
        return [event for hook in self.business.webhooks for event in parse_webhook(hook.body)]


@asynccontextmanager
async def a_world(account: Account | None = None, *, set_up: bool = True) -> AsyncIterator[World]:
    clock = Clock()
    timing = Timing(retry_delays=(0.01,))
    async with (
        serve_business() as business,
        SimulatedMeta(account, timing=timing, clock=clock) as meta,
        GraphClient(token=meta.account.token, url=meta.graph_url, retry_pauses=()) as graph,
    ):
        if set_up:
            await meta.subscribe(business.url)
        phone = Handset()
        meta.register(phone)
        yield World(meta, business, graph, phone, clock)


def refused(act: Callable[[], object], code: int = 100) -> RefusalError:
    """Do what Meta must refuse with this code."""
    with pytest.raises(RefusalError) as caught:
        act()
    assert caught.value.code == code
    return caught.value
