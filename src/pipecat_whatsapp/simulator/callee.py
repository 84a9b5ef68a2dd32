"""Somebody whom a bot calls: writes to it, allows it to call when asked, and picks up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pipecat_whatsapp.calls.dial_client import DialAnswer, order_call
from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.incoming_call import IncomingCall
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.phone_call import PhoneError
from pipecat_whatsapp.simulator.story import Story

MESSAGE = "Please call me."
"""Opens the 24 hours in which a business may ask a user in words of its own."""

PERMISSION_REQUEST = "May we call you?"

DECISION_TIME = 1.5
"""Seconds that it takes to answer a question, or to get to a phone that rings."""


class NotCalledError(SimulatorError):
    """The bot did not call; one sentence says why."""


async def order_call_to(user: User, webhook_url: str, app_secret: str) -> DialAnswer:
    """Have a bot call a user, who is asked first if need be; returns when that is decided.

    Args:
        user: Who is to be called.
        webhook_url: Where the bot serves webhooks, and takes orders to call.
        app_secret: What it checks their signatures with.

    Raises:
        DialError: The bot did not take the order.
    """
    to = user.phone or user.user_id or ""
    return await order_call(webhook_url, app_secret, to, ask_permission=PERMISSION_REQUEST)


@asynccontextmanager
async def called(
    phone: Phone, webhook_url: str, app_secret: str, story: Story
) -> AsyncIterator[IncomingCall]:
    """A call of a bot's, which rings, and is picked up a moment later.

    Args:
        phone: Whose user is called.
        webhook_url: Where the bot serves webhooks, and takes orders to call.
        app_secret: What it checks their signatures with.
        story: Told what happens.

    Raises:
        NotCalledError: The phone never rang.
        DialError: The bot did not take the order to call.
    """
    await _write(phone, story)
    dialled = asyncio.create_task(_order(phone, webhook_url, app_secret, story))
    tasks = [dialled, asyncio.create_task(_allow(phone, story))]
    ringing = asyncio.create_task(phone.rings(timeout=None))
    try:
        await asyncio.wait({dialled, ringing}, return_when=asyncio.FIRST_COMPLETED)
        if not ringing.done():
            raise NotCalledError(f"The bot did not call: {await dialled}.")
        story.tell("phone", "rings")
        tasks.append(asyncio.create_task(_pick_up(ringing.result())))
        yield ringing.result()
        await dialled
    finally:
        for task in (*tasks, ringing):
            task.cancel()
        await asyncio.gather(*tasks, ringing, return_exceptions=True)


async def _write(phone: Phone, story: Story) -> None:
    story.tell("phone", f'{phone.user.name} writes "{MESSAGE}"')
    await phone.send_text(MESSAGE)


async def _order(phone: Phone, webhook_url: str, app_secret: str, story: Story) -> DialAnswer:
    story.tell("order", f"call +{phone.user.phone}")
    answer = await order_call_to(phone.user, webhook_url, app_secret)
    story.tell("order", str(answer))
    return answer


async def _allow(phone: Phone, story: Story) -> None:
    prompt = await phone.permission_prompt(timeout=None)
    story.tell("phone", f'is asked "{prompt.text}"')
    await asyncio.sleep(DECISION_TIME)
    story.tell("phone", "allows calls for a week")
    await prompt.accept()


async def _pick_up(call: IncomingCall) -> None:
    await asyncio.sleep(DECISION_TIME)
    with suppress(PhoneError):
        await call.pick_up()
