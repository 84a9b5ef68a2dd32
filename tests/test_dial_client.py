from __future__ import annotations

import asyncio

import pytest

from bots import PlainBot
from pipecat_whatsapp.calls.dial_client import DialAnswer, DialError, order_call
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp


async def order(whatsapp: WhatsApp, to: str, **options: str) -> DialAnswer:
    return await order_call(whatsapp.webhook_url, whatsapp.meta.account.app_secret, to, **options)


async def test_a_user_who_picks_up_has_answered(whatsapp: WhatsApp, phone: Phone) -> None:
    await whatsapp.serve(PlainBot())
    whatsapp.meta.permissions.grant(phone.user)
    ordering = asyncio.create_task(order(whatsapp, "+49 155 50002222"))
    call = await phone.rings()
    assert not ordering.done()
    await call.pick_up()
    assert await ordering == DialAnswer("answered")


async def test_the_user_is_asked_in_the_words_of_the_order(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    await whatsapp.serve(PlainBot())
    await phone.send_text("Hello")
    ordering = asyncio.create_task(
        order(whatsapp, "4915550002222", ask_permission="About your order?")
    )
    prompt = await phone.permission_prompt()
    assert prompt.text == "About your order?"
    prompt.reject()
    answer = await ordering
    assert str(answer) == "not permitted: the user declined to be called"


async def test_a_number_that_is_not_served_cannot_call(whatsapp: WhatsApp) -> None:
    await whatsapp.serve(PlainBot())
    with pytest.raises(DialError, match=r"HTTP 400\): .*The number 1 is not served here"):
        await order(whatsapp, "4915550002222", phone_number_id="1")


async def test_an_order_with_another_secret_is_refused(whatsapp: WhatsApp) -> None:
    await whatsapp.serve(PlainBot())
    with pytest.raises(DialError, match="another app secret"):
        await order_call(whatsapp.webhook_url, "guessed", "4915550002222")
