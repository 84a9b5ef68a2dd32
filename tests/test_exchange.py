from __future__ import annotations

import asyncio

from conftest import until
from deployment import Deployment
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp


async def test_the_end_of_a_call_reaches_the_process_that_has_it(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    async with Deployment(whatsapp) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.choose = lambda body: a if b'"connect"' in body else b
        call = await phone.dial()
        await call.answered()
        assert [c.id for c in a.adapter.calls] == [call.id]
        await call.hang_up()
        assert (await a.reports.next()).cause is Cause.CALLER_HUNG_UP
        assert (a.adapter.calls, b.adapter.calls) == ((), ())


async def test_a_duplicate_at_another_process_starts_nothing(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.faults.duplicate = 3
    async with Deployment(whatsapp) as deployment:
        members = [await deployment.add() for _ in range(3)]
        call = await phone.dial()
        await call.answered()
        await call.hang_up()
        await until(lambda: sum(m.reports.qsize() for m in members) == 1)
        assert sum(len(m.bot.started) for m in members) == 1


async def test_a_full_process_hands_the_call_on(whatsapp: WhatsApp, phone: Phone) -> None:
    async with Deployment(whatsapp) as deployment:
        full, free = await deployment.add(max_calls=0), await deployment.add(max_calls=1)
        deployment.choose = lambda _: full
        await asyncio.sleep(1.1)
        call = await phone.dial()
        await call.answered()
        assert [c.id for c in free.adapter.calls] == [call.id]
        await call.hang_up()
        assert (await free.reports.next()).cause is Cause.CALLER_HUNG_UP
