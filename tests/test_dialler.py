"""Placing calls: what may be asked for, and what is told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bots import PlainBot
from conftest import Reports
from pipecat_whatsapp.calls.outcome import Cause, Outcome
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

OTHER = "200000000000009"


@pytest.fixture(autouse=True)
def _permitted(whatsapp: WhatsApp, phone: Phone) -> None:
    whatsapp.meta.permissions.grant(phone.user)


# Which number calls


async def test_the_only_number_calls_without_being_named(whatsapp: WhatsApp, phone: Phone) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = asyncio.create_task(served.call(phone.user))
    call = await phone.rings()
    await call.pick_up()
    result = await calling
    assert result.call is not None
    assert result.call.phone_number_id == whatsapp.meta.account.phone_number_id


async def test_one_of_several_numbers_is_named(whatsapp: WhatsApp, phone: Phone) -> None:
    ours = whatsapp.meta.account.phone_number_id
    served = await whatsapp.serve(PlainBot(), phone_number_ids=frozenset({ours, OTHER}))
    with pytest.raises(ConfigError, match="Several numbers"):
        await served.call(phone.user)
    calling = asyncio.create_task(served.call(phone.user, phone_number_id=ours))
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    assert (await whatsapp.meta.wait_request("connect")).phone_number_id == ours


async def test_a_number_that_is_not_served_does_not_call(whatsapp: WhatsApp, phone: Phone) -> None:
    served = await whatsapp.serve(PlainBot())
    with pytest.raises(ConfigError, match=f"{OTHER} is not served"):
        await served.call(phone.user, phone_number_id=OTHER)
    assert whatsapp.meta.requests == []


# What cannot be asked for


@pytest.mark.parametrize(
    ("to", "options", "named"),
    [
        ("0151 23", {}, "phone number"),
        ("", {}, "phone number"),
        (User(name="Ada"), {}, "neither a number nor an id"),
        ("4915550002222", {"biz_opaque_callback_data": "x" * 513}, "513"),
    ],
)
async def test_what_cannot_be_used_is_named_and_nothing_is_placed(
    whatsapp: WhatsApp, to: str | User, options: dict[str, Any], named: str
) -> None:
    served = await whatsapp.serve(PlainBot())
    with pytest.raises(ConfigError, match=named):
        await served.call(to, **options)
    assert whatsapp.meta.requests == []
    assert served.calls == ()


async def test_callback_data_as_long_as_meta_takes_is_taken(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = asyncio.create_task(served.call(phone.user, biz_opaque_callback_data="x" * 512))
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


# What is told


async def test_the_report_of_a_call_comes_with_its_end(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    calling = asyncio.create_task(served.call(phone.user))
    call = await phone.rings()
    await call.pick_up()
    result = await calling
    reporting = asyncio.create_task(result.report())
    await asyncio.sleep(0)
    assert not reporting.done()
    await call.hang_up()
    report = await reporting
    assert report is not None
    assert (report.call_id, report.cause) == (call.id, Cause.CALLER_HUNG_UP)
    assert report == await reports.next() == await result.report()


async def test_a_call_that_meta_refuses_has_a_report_but_no_id(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.permissions.revoke(phone.user)
    served = await whatsapp.serve(PlainBot())
    result = await served.call(phone.user)
    assert result.call is None
    report = await result.report()
    assert report is not None
    assert (report.call_id, report.outcome) == ("", Outcome.NOT_PERMITTED)
    assert report.detail == result.detail


async def test_an_attempt_that_ends_before_the_call_has_no_report(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.permissions.revoke(phone.user)
    await phone.send_text("hello")
    served = await whatsapp.serve(PlainBot())
    calling = asyncio.create_task(served.call(phone.user, ask_permission="May we?"))
    await (await phone.permission_prompt()).reject()
    result = await calling
    assert (result.outcome, result.call) == (Outcome.NOT_PERMITTED, None)
    assert await result.report() is None


async def test_a_result_shows_no_phone_number(whatsapp: WhatsApp, phone: Phone) -> None:
    served = await whatsapp.serve(PlainBot())
    calling = asyncio.create_task(served.call(phone.user))
    call = await phone.rings()
    await call.decline()
    assert "4915550002222" not in repr(await calling)
