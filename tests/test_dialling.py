"""Which call of ours a webhook tells the id of, over real calls to a simulated Meta."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bots import PlainBot
from conftest import Reports, until
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.dialler import DialResult
from pipecat_whatsapp.calls.outcome import Outcome
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp


@pytest.fixture(autouse=True)
def _permitted(whatsapp: WhatsApp, phone: Phone) -> None:
    whatsapp.meta.permissions.grant(phone.user)


def dial(
    adapter: WebhookAdapter, user: User, data: str | None = None, **options: Any
) -> asyncio.Task[DialResult]:
    return asyncio.create_task(adapter.call(user, biz_opaque_callback_data=data, **options))


def actions(whatsapp: WhatsApp) -> list[str]:
    return [request.action for request in whatsapp.meta.requests]


@pytest.mark.parametrize("reply_is_lost", [False, True])
async def test_a_late_word_of_the_last_call_is_not_taken_for_one_of_the_next(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, *, reply_is_lost: bool
) -> None:
    served = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    calling = dial(served, phone.user, "order 1")
    first = await phone.rings()
    whatsapp.meta.faults.hold()
    declining = asyncio.create_task(first.decline())
    await until(lambda: whatsapp.meta.calls[first.id].ended_reason is not None)
    calling.cancel()
    await reports.next()

    if reply_is_lost:
        whatsapp.meta.faults.drop_response.append("connect")
    else:
        whatsapp.meta.faults.late_responses["connect"] = 0.5
    calling = dial(served, phone.user, "order 1")
    second = await phone.rings()
    await whatsapp.meta.release()
    await second.pick_up()
    result = await calling
    await declining
    assert result.outcome is Outcome.ANSWERED
    assert result.call is not None
    assert result.call.id == second.id != first.id
    assert actions(whatsapp).count("connect") == 2


async def test_a_number_that_meta_spells_differently_is_known_by_what_we_attached(
    whatsapp: WhatsApp,
) -> None:
    whatsapp.meta.faults.hold()
    whatsapp.meta.faults.drop_response.append("connect")
    phone = await whatsapp.phone(User(phone="5511955501111", user_id="BR.1"))
    whatsapp.meta.permissions.grant(phone.user)
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone.user)
    call = await phone.rings()
    served.calls[0].user = User(phone="551155501111")
    await whatsapp.meta.release()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


async def test_what_the_application_attached_tells_no_call_of_another_user(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    faults = whatsapp.meta.faults
    faults.drop_response.append("connect")
    faults.lose += ["connect", "ringing"]
    served = await whatsapp.serve(PlainBot(), timing=Timing(lost_reply_patience=1.0))
    calling = dial(served, phone.user, "campaign")
    await phone.rings()
    await whatsapp.meta.wait_request("connect")
    status = {
        "id": "wacid.OTHER",
        "type": "call",
        "status": "ACCEPTED",
        "recipient_user_id": "DE.77",
        "biz_opaque_callback_data": "campaign",
    }
    await whatsapp.meta.deliver({"statuses": [status]})
    assert (await calling).outcome is Outcome.FAILED


async def test_calls_that_are_being_placed_are_terminated_with_all_others(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    whatsapp.meta.faults.late_responses["connect"] = 0.5
    served = await whatsapp.serve(PlainBot())
    calling = dial(served, phone.user)
    call = await phone.rings()
    assert await served.terminate_all() == 1
    assert (await calling).outcome is Outcome.CANCELLED
    assert await call.ended() == "terminated"
    await until(lambda: served.calls == ())
