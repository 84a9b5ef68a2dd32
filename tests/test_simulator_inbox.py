from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipecat_whatsapp.meta.events import User, UserChanged
from pipecat_whatsapp.meta.webhook import parse_webhook
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.phone import ADA, Phone
from simulated_business import Business, Reply, connect_body, post, serve_business


@pytest.fixture
async def business() -> AsyncIterator[Business]:
    async with serve_business() as business:
        yield business


@pytest.fixture
async def meta(business: Business) -> AsyncIterator[SimulatedMeta]:
    async with SimulatedMeta() as meta:
        await meta.subscribe(business.url)
        yield meta


@pytest.fixture
async def phone(meta: SimulatedMeta) -> AsyncIterator[Phone]:
    async with Phone(meta) as phone:
        yield phone


async def write(meta: SimulatedMeta, **message: Any) -> Reply:
    body = {"messaging_product": "whatsapp", "to": ADA.phone, **message}
    path = f"/v26.0/{meta.account.phone_number_id}/messages"
    return await post(meta, body, path=path)


async def test_a_user_writes_and_is_written_to(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    await phone.send_text("Hi")
    assert business.webhooks[0].value["messages"][0]["text"] == {"body": "Hi"}
    assert (await write(meta, type="text", text={"body": "Hello"})).status == 200
    assert (await write(meta, type="text", text={"body": "Ada"})).status == 200
    assert [(await phone.message()).text, (await phone.message()).text] == ["Hello", "Ada"]
    assert [message.text for message in phone.messages] == ["Hello", "Ada"]
    with pytest.raises(TimeoutError):
        await phone.message(0.01)


async def test_a_user_who_is_asked_and_agrees_can_be_called(
    meta: SimulatedMeta, business: Business, phone: Phone
) -> None:
    await phone.send_text("Hi")
    question = {
        "type": "call_permission_request",
        "action": {"name": "call_permission_request"},
        "body": {"text": "May we call?"},
    }
    assert (await write(meta, type="interactive", interactive=question)).status == 200
    prompt = await phone.permission_prompt()
    assert prompt.text == "May we call?"
    assert (await post(meta, connect_body())).code == 138006
    await prompt.accept(permanent=True)
    assert (await post(meta, connect_body())).status == 200
    await (await phone.rings()).decline()


async def test_nobody_asks(phone: Phone) -> None:
    with pytest.raises(TimeoutError):
        await phone.permission_prompt(0.01)


@pytest.mark.parametrize(
    ("after", "previous_phone"),
    [
        (User(phone="4915550007777", user_id="DE.2"), ADA.phone),
        (User(phone=ADA.phone, user_id="DE.2"), None),
    ],
)
async def test_a_user_who_changes_is_reached_as_whom_the_business_is_told(
    meta: SimulatedMeta,
    business: Business,
    phone: Phone,
    after: User,
    previous_phone: str | None,
) -> None:
    await phone.change_user(after)
    [webhook] = business.webhooks
    [event] = parse_webhook(webhook.body)
    assert isinstance(event, UserChanged)
    assert event.user == after
    assert (event.previous_user_id, event.previous_phone) == (ADA.user_id, previous_phone)
    meta.permissions.grant(event.user)
    lost = connect_body(to=None, recipient=ADA.user_id)
    assert (await post(meta, lost)).code == 138001
    reached = connect_body(to=None, recipient=event.user.user_id)
    [placed] = (await post(meta, reached)).body["calls"]
    assert (await phone.rings()).id == placed["id"]
