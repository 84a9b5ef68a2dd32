"""Messages to the user on the other side of a call."""

from __future__ import annotations

import asyncio

import pytest

from bots import PlainBot
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.errors import ConversationClosedError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.simulator.messages import CallButton, Template
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp


@pytest.fixture
async def contact(whatsapp: WhatsApp, phone: Phone) -> Contact:
    """Ada, whose call goes on."""
    bot = PlainBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    return bot.started[0].contact


async def test_a_text_reaches_the_caller(contact: Contact, phone: Phone) -> None:
    message_id = await contact.send_text("https://example.com/ticket/7", preview_url=True)
    message = await phone.message()
    assert (message.text, message.type) == ("https://example.com/ticket/7", "text")
    assert message.id == message_id


async def test_a_link_is_previewed_when_so_wanted(
    whatsapp: WhatsApp, contact: Contact, phone: Phone
) -> None:
    await contact.send_text("https://example.com")
    await contact.send_text("https://example.com", preview_url=True)
    first, second = (r.body["text"] for r in whatsapp.meta.requests if r.action == "messages")
    assert (first["preview_url"], second["preview_url"]) == (False, True)


async def test_a_template_is_filled_in(whatsapp: WhatsApp, contact: Contact, phone: Phone) -> None:
    template = Template("appointment", "en_US", "See you at {{1}}.")
    whatsapp.meta.business.conversations.add_template(template)
    components = [{"type": "body", "parameters": [{"type": "text", "text": "nine"}]}]
    await contact.send_template("appointment", "en_US", components)
    message = await phone.message()
    assert (message.template, message.text) == ("appointment", "See you at nine.")


async def test_a_call_button_brings_its_payload_back(
    whatsapp: WhatsApp, contact: Contact, phone: Phone
) -> None:
    await contact.send_call_button(
        "Call us again", display_text="Again", ttl_minutes=5, payload="ticket-7"
    )
    message = await phone.message()
    assert message.text == "Call us again"
    assert message.call_button == CallButton("Again", 5, "ticket-7")


async def test_the_user_is_asked_whether_we_may_call(contact: Contact, phone: Phone) -> None:
    message_id = await contact.request_call_permission("May we call back?")
    prompt = await phone.permission_prompt()
    assert (prompt.text, prompt.id) == ("May we call back?", message_id)


async def test_each_message_goes_from_the_number_of_the_call_to_its_user(
    whatsapp: WhatsApp, contact: Contact
) -> None:
    await contact.send_text("hello")
    request = await whatsapp.meta.wait_request("messages")
    assert f"/{whatsapp.meta.account.phone_number_id}/" in request.path
    assert request.body["to"] == "4915550002222"


async def test_a_user_without_a_number_is_addressed_by_id(whatsapp: WhatsApp) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    phone = await whatsapp.phone(User(user_id="DE.5"))
    call = await phone.dial()
    await call.answered()
    await bot.started[0].contact.send_text("hello")
    assert (await phone.message()).text == "hello"
    assert (await whatsapp.meta.wait_request("messages")).body["recipient"] == "DE.5"


async def test_a_call_of_ours_has_a_contact_too(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    whatsapp.meta.permissions.grant(phone.user)
    served = await whatsapp.serve(bot)
    calling = asyncio.create_task(served.call(phone.user))
    call = await phone.rings()
    await call.pick_up()
    await calling
    await bot.started[0].contact.send_text("hello")
    assert (await phone.message()).text == "hello"


async def test_without_an_open_conversation_meta_takes_no_text(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    account = whatsapp.meta.account
    async with GraphClient(token=account.token, url=whatsapp.meta.graph_url) as graph:
        contact = Contact(graph, account.phone_number_id, phone.user)
        with pytest.raises(ConversationClosedError):
            await contact.send_text("hello")
    assert phone.messages == []


async def test_a_contact_shows_no_phone_number(contact: Contact) -> None:
    assert repr(contact) == "Contact(+49…22)"
