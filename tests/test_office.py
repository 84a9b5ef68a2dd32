"""How a process stands, and how it ends calls that are not its own."""

from __future__ import annotations

from collections import Counter

import pytest

from bots import PlainBot
from conftest import until
from deployment import Deployment, Member, brisk
from pipecat_whatsapp.calls.law import State
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

__all__ = ["brisk"]

pytestmark = pytest.mark.usefixtures("brisk")


async def test_a_process_with_room_is_not_hindered(whatsapp: WhatsApp, phone: Phone) -> None:
    async with Deployment(whatsapp) as deployment:
        member = await deployment.add(max_calls=1)
        assert member.adapter.hindrance() is None
        call = await phone.dial()
        await call.answered()
        assert "busy" in (member.adapter.hindrance() or "")
        await call.hang_up()
        await member.reports.next()
        assert member.adapter.hindrance() is None


async def test_a_full_process_is_not_hindered_while_a_neighbour_has_room(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    async with Deployment(whatsapp) as deployment:
        full, neighbour = await deployment.add(max_calls=0), await deployment.add(max_calls=1)
        assert full.adapter.hindrance() is not None
        await deployment.acquainted()
        assert full.adapter.hindrance() is None
        call = await phone.dial()
        await call.answered()
        await deployment.acquainted()
        assert full.adapter.hindrance() is not None
        await call.hang_up()
        await neighbour.reports.next()
        await deployment.acquainted()
        assert full.adapter.hindrance() is None


async def test_a_process_that_drains_is_hindered(whatsapp: WhatsApp) -> None:
    async with Deployment(whatsapp) as deployment:
        member = await deployment.add()
        await deployment.add()
        await deployment.acquainted()
        await member.adapter.drain(timeout=0)
        assert "ending" in (member.adapter.hindrance() or "")


async def test_a_process_that_is_late_is_hindered_and_refuses(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    async with Deployment(whatsapp) as deployment:
        member = await deployment.add(max_lag=1e-9)
        await until(lambda: member.adapter.hindrance() is not None)
        assert "overloaded" in (member.adapter.hindrance() or "")
        call = await phone.dial()
        assert await call.ended() == "rejected"
        assert (await member.reports.next()).cause is Cause.OVERLOADED


async def test_of_more_calls_at_once_than_fit_as_many_as_fit_are_served(
    whatsapp: WhatsApp,
) -> None:
    async with Deployment(whatsapp) as deployment:
        member = await deployment.add(max_calls=3)
        whatsapp.meta.faults.hold()
        phones = [await whatsapp.phone(User(user_id=f"DE.{number}")) for number in range(8)]
        for phone in phones:
            await phone.dial()
        await whatsapp.meta.release(batch=True)
        await until(lambda: member.reports.qsize() == 5)
        await until(lambda: [call.state for call in member.adapter.calls] == [State.ACTIVE] * 3)
        heard = Counter(request.action for request in whatsapp.meta.requests)
        assert heard == Counter(pre_accept=3, accept=3, reject=5)


async def test_a_limit_that_is_lifted_takes_calls_again(whatsapp: WhatsApp, phone: Phone) -> None:
    async with Deployment(whatsapp) as deployment:
        member = await deployment.add(max_calls=0)
        assert member.adapter.hindrance() is not None
        member.adapter.configure(max_calls=None)
        assert member.adapter.hindrance() is None
        await (await phone.dial()).answered()


# Calls of the dead


async def place(member: Member, phone: Phone) -> None:
    await member.adapter.call(phone.user)


async def test_what_meta_does_not_terminate_is_rejected(whatsapp: WhatsApp, phone: Phone) -> None:
    """Nobody knows how far a user's call had come."""
    async with Deployment(whatsapp) as deployment:
        dead, heir = await deployment.add(bot=PlainBot(ready=False)), await deployment.add()
        deployment.route(dead)
        call = await phone.dial()
        await call.connected()
        await deployment.acquainted()
        await deployment.die(dead)
        deployment.route(heir)
        whatsapp.meta.faults.fail["terminate"] = [(400, 100)]
        heir.adapter.node_died(dead.node)
        assert await call.ended() == "rejected"
        assert (await heir.reports.next()).cause is Cause.PROCESS_DIED


@pytest.mark.parametrize("outbound", [False, True])
async def test_a_call_of_the_dead_that_meta_has_ended_is_put_away(
    whatsapp: WhatsApp, phone: Phone, warnings: list[str], *, outbound: bool
) -> None:
    whatsapp.meta.permissions.grant(phone.user)
    async with Deployment(whatsapp) as deployment:
        dead, heir = await deployment.add(), await deployment.add()
        deployment.route(dead)
        if outbound:
            dead.adapter.run_beside(place(dead, phone))
            call = await phone.rings()
            await call.pick_up()
        else:
            call = await phone.dial()  # type: ignore[assignment]
            await call.answered()
        await until(lambda: dead.calls == [call.id])
        await deployment.acquainted()
        await deployment.die(dead)
        deployment.route(heir)
        await call.hang_up()
        heir.adapter.node_died(dead.node)
        assert (await heir.reports.next()).cause is Cause.PROCESS_DIED
        heard = Counter(request.action for request in whatsapp.meta.requests)
        assert heard["terminate"] == 1
        assert heard["reject"] == (0 if outbound else 1)
        assert any("did not take the end" in line for line in warnings)
        await deployment.acquainted()
        assert heir.reports.qsize() == 0
