from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pipecat_whatsapp.errors import (
    CallingUnavailableError,
    ConversationClosedError,
    GraphRequestError,
    PermissionRequestError,
)
from pipecat_whatsapp.meta.events import (
    CallPermissionReply,
    MessageReceived,
    MessageStatus,
    User,
)
from pipecat_whatsapp.meta.messages import call_button
from pipecat_whatsapp.simulator.messages import CallButton, Template
from pipecat_whatsapp.simulator.webhooks import Delivery
from simulated_account import DAY, NOBODY, WEEK, World, a_world
from simulated_business import ADA, OFFER

ASK = Template("ask", "en_US", "May we call you, {{1}}?", asks_permission=True)
BUTTON = Template("button", "en_US", "Call us!", call_button=CallButton("Ring us", 1440))
NAME = ({"type": "body", "parameters": [{"type": "text", "text": "Ada"}]},)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        world.meta.business.conversations.add_template(ASK)
        world.meta.business.conversations.add_template(BUTTON)
        yield world


@pytest.fixture
async def open_world(world: World) -> World:
    """A world in which Ada has just written."""
    await world.meta.business.conversations.send_text(ADA, "Hello")
    return world


def replies(world: World) -> list[CallPermissionReply]:
    return [event for event in world.events if isinstance(event, CallPermissionReply)]


# What the business writes


async def test_a_text_reaches_the_phone_and_its_statuses_the_business(open_world: World) -> None:
    message_id = await open_world.graph.messages.send_text(open_world.number, ADA, "Hi Ada")
    [message] = open_world.phone.messages
    assert (message.text, message.type, message.id) == ("Hi Ada", "text", message_id)
    await open_world.meta.wait_delivery("delivered")
    told = [event for event in open_world.events if isinstance(event, MessageStatus)]
    assert [(event.message_id, event.status) for event in told] == [
        (message_id, "sent"),
        (message_id, "delivered"),
    ]
    assert {event.user.key for event in told} == {ADA.user_id}


async def test_the_window_closes_after_24_hours(open_world: World) -> None:
    graph, number = open_world.graph, open_world.number
    open_world.clock.advance(DAY - 1)
    await graph.messages.send_text(number, ADA, "Still there?")
    open_world.clock.advance(1)
    with pytest.raises(ConversationClosedError) as caught:
        await graph.messages.send_text(number, ADA, "And now?")
    assert caught.value.code == 131047
    with pytest.raises(ConversationClosedError):
        await graph.messages.send_call_button(number, ADA, "Call us")
    with pytest.raises(ConversationClosedError):
        await graph.messages.request_call_permission(number, ADA)
    assert len(open_world.phone.messages) == 1


async def test_a_template_may_be_sent_at_any_time(world: World) -> None:
    await world.graph.messages.send_template(world.number, ADA, "hello_world", "en_US")
    [message] = world.phone.messages
    assert message.template == "hello_world"


async def test_a_template_that_there_is_not(world: World) -> None:
    with pytest.raises(GraphRequestError) as caught:
        await world.graph.messages.send_template(world.number, ADA, "hello_world", "de")
    assert (caught.value.code, caught.value.status) == (132001, 404)


async def test_a_call_button(open_world: World) -> None:
    await open_world.graph.messages.send_call_button(
        open_world.number, ADA, "Call us", display_text="Ring", ttl_minutes=5, payload="order-7"
    )
    [message] = open_world.phone.messages
    assert message.text == "Call us"
    assert message.call_button == CallButton("Ring", 5, "order-7")
    assert open_world.phone.prompts == []


async def test_the_button_of_a_template(world: World) -> None:
    await world.graph.messages.send_template(
        world.number, ADA, "button", "en_US", [call_button(ttl_minutes=5, payload="order-7")]
    )
    assert world.phone.messages[0].call_button == CallButton("Ring us", 5, "order-7")


async def test_a_user_is_reached_by_id_too(open_world: World) -> None:
    nameless = User(user_id=ADA.user_id)
    await open_world.graph.messages.send_text(open_world.number, nameless, "Hi")
    assert [message.text for message in open_world.phone.messages] == ["Hi"]


async def test_who_is_not_on_whatsapp_gets_nothing(world: World) -> None:
    graph, number = world.graph, world.number
    message_id = await graph.messages.send_template(number, NOBODY, "hello_world", "en_US")
    await world.meta.wait_delivery("failed")
    [status] = [event for event in world.events if isinstance(event, MessageStatus)]
    assert (status.message_id, status.status) == (message_id, "failed")
    assert [error.code for error in status.errors] == [131026]
    with pytest.raises(ConversationClosedError):
        await graph.messages.send_text(number, NOBODY, "Hi")


async def test_an_old_client_shows_no_buttons_and_no_requests(open_world: World) -> None:
    graph, number = open_world.graph, open_world.number
    open_world.meta.business.conversations.old_clients.add(str(ADA.key))
    await graph.messages.send_call_button(number, ADA, "Call us")
    await graph.messages.request_call_permission(number, ADA)
    await open_world.meta.wait_delivery("failed", count=2)
    assert open_world.phone.messages == []
    assert open_world.phone.prompts == []
    await graph.messages.send_text(number, ADA, "Hi")
    assert len(open_world.phone.messages) == 1


# What the user writes


async def test_a_user_writes(world: World) -> None:
    delivery = await world.meta.business.conversations.send_text(ADA, "Hello")
    assert delivery.status == 200
    [event] = world.events
    assert isinstance(event, MessageReceived)
    assert (event.text, event.user) == ("Hello", ADA)
    assert event.message_id.startswith("wamid.")


async def test_a_call_opens_the_window(world: World) -> None:
    conversations = world.meta.business.conversations
    assert not conversations.is_open(ADA)
    world.meta.ring(world.phone, OFFER, ADA)
    assert conversations.is_open(ADA)
    await world.graph.messages.send_text(world.number, ADA, "We are busy")


# Permission to call


async def test_a_user_is_asked_and_agrees_for_seven_days(open_world: World) -> None:
    request_id = await open_world.graph.messages.request_call_permission(
        open_world.number, ADA, "May we call?"
    )
    [prompt] = open_world.phone.prompts
    assert (prompt.text, prompt.id) == ("May we call?", request_id)
    assert isinstance(await prompt.accept(), Delivery)
    [reply] = replies(open_world)
    assert (reply.accepted, reply.permanent, reply.automatic) == (True, False, False)
    assert reply.expires_at == int(open_world.clock()) + WEEK
    assert reply.context_id == request_id
    read = await open_world.graph.permissions.read(open_world.number, ADA)
    assert (read.can_call, read.expires_at) == (True, reply.expires_at)


async def test_a_user_agrees_for_ever_and_thinks_better_of_it(open_world: World) -> None:
    await open_world.graph.messages.request_call_permission(open_world.number, ADA)
    [prompt] = open_world.phone.prompts
    await prompt.accept(permanent=True)
    await prompt.reject()
    accepted, rejected = replies(open_world)
    assert (accepted.permanent, accepted.expires_at) == (True, None)
    assert not rejected.accepted
    assert not (await open_world.graph.permissions.read(open_world.number, ADA)).can_call


async def test_a_template_asks_outside_the_window(world: World) -> None:
    request_id = await world.graph.messages.send_template(world.number, ADA, "ask", "en_US", NAME)
    [prompt] = world.phone.prompts
    assert (prompt.text, prompt.id) == ("May we call you, Ada?", request_id)


async def test_both_ways_of_asking_count(open_world: World) -> None:
    graph, number = open_world.graph, open_world.number
    await graph.messages.request_call_permission(number, ADA)
    with pytest.raises(PermissionRequestError) as caught:
        await graph.messages.send_template(number, ADA, "ask", "en_US", NAME)
    assert caught.value.code == 138009
    assert len(open_world.phone.prompts) == 1


async def test_asking_in_vain(open_world: World) -> None:
    open_world.meta.permissions.grant(ADA, permanent=True)
    with pytest.raises(PermissionRequestError) as caught:
        await open_world.graph.messages.request_call_permission(open_world.number, ADA)
    assert caught.value.code == 138017


async def test_nobody_is_asked_while_calling_is_off(open_world: World) -> None:
    graph, number = open_world.graph, open_world.number
    await graph.settings.write(number, status="DISABLED")
    with pytest.raises(CallingUnavailableError) as caught:
        await graph.messages.request_call_permission(number, ADA)
    assert caught.value.code == 138000
    await graph.messages.send_text(number, ADA, "Hi")


async def test_a_toggle_in_the_profile_has_no_context(world: World) -> None:
    conversations = world.meta.business.conversations
    await conversations.toggle(ADA, allowed=True)
    await conversations.toggle(ADA, allowed=False)
    granted, revoked = replies(world)
    assert (granted.accepted, granted.permanent, granted.context_id) == (True, True, None)
    assert (revoked.accepted, revoked.automatic, revoked.context_id) == (False, False, None)


async def test_two_unanswered_calls_make_whatsapp_ask_anew(world: World) -> None:
    world.meta.permissions.grant(ADA)
    for _ in range(2):
        world.meta.permissions.note_unanswered(ADA)
    [prompt] = world.phone.prompts
    assert prompt.id is None
    await prompt.reject()
    [reply] = replies(world)
    assert (reply.accepted, reply.automatic, reply.context_id) == (False, False, None)


async def test_four_unanswered_calls_end_the_permission(world: World) -> None:
    world.meta.permissions.grant(ADA, permanent=True)
    for _ in range(4):
        world.meta.permissions.note_unanswered(ADA)
    await world.meta.wait_delivery("messages")
    [reply] = replies(world)
    assert (reply.accepted, reply.automatic, reply.context_id) == (False, True, None)
    assert not (await world.graph.permissions.read(world.number, ADA)).can_call


async def test_who_calls_may_be_called_back_if_the_settings_say_so(world: World) -> None:
    await world.graph.settings.write(world.number, callback_permission_status="ENABLED")
    call = world.meta.ring(world.phone, OFFER, ADA)
    await call.hang_up()
    await world.meta.wait_delivery("messages")
    [reply] = replies(world)
    assert (reply.accepted, reply.permanent, reply.automatic) == (True, False, True)
    assert reply.context_id == call.id


async def test_a_call_does_not_lessen_a_permanent_permission(world: World) -> None:
    await world.graph.settings.write(world.number, callback_permission_status="ENABLED")
    world.meta.permissions.grant(ADA, permanent=True)
    assert world.meta.business.conversations.grant_call_back(ADA, "wacid.1") is None
    assert world.meta.permissions.state(ADA).status == "permanent"
