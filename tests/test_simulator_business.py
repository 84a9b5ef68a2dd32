from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pipecat_whatsapp.errors import CallingUnavailableError
from pipecat_whatsapp.meta.events import AccountUpdate
from pipecat_whatsapp.simulator.business import BUTTON_HIDDEN
from pipecat_whatsapp.simulator.telephony import NotCallableError
from simulated_account import WEEK, World, a_world
from simulated_business import ADA, OFFER, connect_body, post

NO_CALLS = "RESTRICTED_BUSINESS_INITIATED_CALLING"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


async def test_a_warning(world: World) -> None:
    await world.meta.business.warn("USER_INITIATED_CALLS_LOW_PICKUP_RATE")
    [event] = world.events
    assert isinstance(event, AccountUpdate)
    assert event.event == "ACCOUNT_VIOLATION"
    assert event.violation == "USER_INITIATED_CALLS_LOW_PICKUP_RATE"
    assert (await world.graph.settings.read(world.number)).restrictions == ()


async def test_a_restricted_business_can_neither_call_nor_ask(world: World) -> None:
    world.meta.permissions.grant(ADA, permanent=True)
    await world.meta.business.conversations.send_text(ADA, "Hello")
    await world.meta.business.restrict(NO_CALLS)
    event = world.events[-1]
    assert isinstance(event, AccountUpdate)
    [told] = event.restrictions
    [shown] = (await world.graph.settings.read(world.number)).restrictions
    assert told.type == shown.type == NO_CALLS
    assert told.expires_at == shown.expires_at == int(world.clock()) + WEEK
    assert (await post(world.meta, connect_body())).code == 138014
    with pytest.raises(CallingUnavailableError) as caught:
        await world.graph.messages.request_call_permission(world.number, ADA)
    assert caught.value.code == 138014
    world.clock.advance(WEEK)
    assert (await post(world.meta, connect_body())).status == 200


async def test_a_business_that_may_not_be_called(world: World) -> None:
    await world.meta.business.restrict("RESTRICTED_USER_INITIATED_CALLING")
    with pytest.raises(NotCallableError):
        world.meta.ring(world.phone, OFFER, ADA)
    world.clock.advance(WEEK)
    world.meta.ring(world.phone, OFFER, ADA)


async def test_a_hidden_call_button_stops_no_call(world: World) -> None:
    await world.meta.business.hide_call_button()
    [event] = world.events
    assert isinstance(event, AccountUpdate)
    assert [(told.type, told.expires_at) for told in event.restrictions] == [(BUTTON_HIDDEN, None)]
    world.meta.ring(world.phone, OFFER, ADA)


async def test_setting_up_makes_the_number_callable(world: World) -> None:
    async with a_world(set_up=False) as bare:
        with pytest.raises(RuntimeError, match="subscribe"):
            bare.meta.ring(bare.phone, OFFER, ADA)
        bare.meta.business.set_up(world.business.url)
        bare.meta.ring(bare.phone, OFFER, ADA)
        await bare.meta.wait_delivery("connect")
    assert world.business.events == ["connect"]
