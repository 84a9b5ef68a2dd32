"""Messages as Meta documents them, and those it would refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipecat_whatsapp.errors import (
    ConfigError,
    ConversationClosedError,
    GraphUnreachableError,
    InvalidRequestError,
    PermissionRequestError,
)
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.messages import MessagesApi, call_button
from scripted_graph import NUMBER, PHONE, USER_ID, ScriptedGraph, answer, error, hang_up

ADA = User(PHONE, USER_ID)
SENT = answer({"messaging_product": "whatsapp", "messages": [{"id": "wamid.NEW"}]})
ENVELOPE = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": PHONE}


@pytest.fixture
def messages(scripted: ScriptedGraph, graph: GraphClient) -> MessagesApi:
    scripted.steps = [SENT]
    return graph.messages


async def test_a_text(scripted: ScriptedGraph, messages: MessagesApi) -> None:
    assert await messages.send_text(NUMBER, ADA, "Hello ☺", preview_url=True) == "wamid.NEW"
    assert scripted.bodies == [
        {**ENVELOPE, "type": "text", "text": {"body": "Hello ☺", "preview_url": True}}
    ]
    assert scripted.heard[0][:2] == ("POST", f"/v25.0/{NUMBER}/messages")


async def test_a_user_without_a_number_gets_messages_by_user_id(
    scripted: ScriptedGraph, messages: MessagesApi
) -> None:
    await messages.send_text(NUMBER, User(user_id=USER_ID), "Hello")
    (body,) = scripted.bodies
    assert body["recipient"] == USER_ID
    assert "to" not in body


async def test_a_template(scripted: ScriptedGraph, messages: MessagesApi) -> None:
    button = call_button(ttl_minutes=100, payload="order-7")
    sent = await messages.send_template(NUMBER, ADA, "call_us", "en_US", [button])
    assert sent == "wamid.NEW"
    await messages.send_template(NUMBER, ADA, "hello_world", "de")
    filled = [
        {
            "type": "button",
            "sub_type": "voice_call",
            "parameters": [
                {"type": "ttl_minutes", "ttl_minutes": 100},
                {"type": "payload", "payload": "order-7"},
            ],
        }
    ]
    name = {"name": "call_us", "language": {"code": "en_US"}}
    plain = {"name": "hello_world", "language": {"code": "de"}}
    assert scripted.bodies == [
        {**ENVELOPE, "type": "template", "template": {**name, "components": filled}},
        {**ENVELOPE, "type": "template", "template": plain},
    ]


async def test_a_call_button(scripted: ScriptedGraph, messages: MessagesApi) -> None:
    assert await messages.send_call_button(NUMBER, ADA, "Questions?") == "wamid.NEW"
    await messages.send_call_button(
        NUMBER, ADA, "Questions?", display_text="Call us", ttl_minutes=100, payload="order-7"
    )
    parameters = [
        {"display_text": "Call Now", "ttl_minutes": 10080},
        {"display_text": "Call us", "ttl_minutes": 100, "payload": "order-7"},
    ]
    assert scripted.bodies == [
        {
            **ENVELOPE,
            "type": "interactive",
            "interactive": {
                "type": "voice_call",
                "body": {"text": "Questions?"},
                "action": {"name": "voice_call", "parameters": given},
            },
        }
        for given in parameters
    ]


async def test_a_request_for_permission_to_call(
    scripted: ScriptedGraph, messages: MessagesApi
) -> None:
    assert await messages.request_call_permission(NUMBER, ADA, "May we call?") == "wamid.NEW"
    await messages.request_call_permission(NUMBER, ADA)
    request = {
        "type": "call_permission_request",
        "action": {"name": "call_permission_request"},
    }
    assert scripted.bodies == [
        {
            **ENVELOPE,
            "type": "interactive",
            "interactive": {**request, "body": {"text": "May we call?"}},
        },
        {**ENVELOPE, "type": "interactive", "interactive": request},
    ]


Send = Callable[[MessagesApi], Awaitable[Any]]


@pytest.mark.parametrize(
    ("send", "words"),
    [
        (lambda api: api.send_text(NUMBER, ADA, ""), "empty"),
        (lambda api: api.send_text(NUMBER, ADA, "x" * 4097), "4096 are the most"),
        (lambda api: api.send_text(NUMBER, User(), "Hello"), "neither"),
        (lambda api: api.send_template(NUMBER, ADA, "", "de"), "empty"),
        (lambda api: api.send_call_button(NUMBER, ADA, ""), "empty"),
        (lambda api: api.send_call_button(NUMBER, ADA, "x" * 1025), "1024 are the most"),
        (lambda api: api.send_call_button(NUMBER, ADA, "x", display_text="x" * 21), "20 are the"),
        (lambda api: api.send_call_button(NUMBER, ADA, "x", display_text=""), "empty"),
        (lambda api: api.send_call_button(NUMBER, ADA, "x", ttl_minutes=0), "1 to 43200"),
        (lambda api: api.send_call_button(NUMBER, ADA, "x", ttl_minutes=43_201), "1 to 43200"),
        (lambda api: api.send_call_button(NUMBER, ADA, "x", payload="x" * 513), "512 are the"),
        (lambda api: api.request_call_permission(NUMBER, ADA, ""), "empty"),
        (lambda api: api.request_call_permission(NUMBER, ADA, "x" * 1025), "1024 are the most"),
    ],
)
async def test_what_meta_would_refuse_is_not_sent(
    scripted: ScriptedGraph, messages: MessagesApi, send: Send, words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words) as refused:
        await send(messages)
    assert (refused.value.status, refused.value.code, refused.value.retryable) == (0, 0, False)
    assert scripted.heard == []


async def test_what_meta_just_takes_is_sent(scripted: ScriptedGraph, messages: MessagesApi) -> None:
    await messages.send_text(NUMBER, ADA, "x" * 4096)
    button = {"display_text": "x" * 20, "payload": "x" * 512}
    for minutes in (1, 43_200):
        await messages.send_call_button(NUMBER, ADA, "x" * 1024, ttl_minutes=minutes, **button)
    assert len(scripted.heard) == 3


@pytest.mark.parametrize("limits", [{"ttl_minutes": 0}, {"payload": "x" * 513}])
def test_a_templates_button_has_the_same_limits(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        call_button(**limits)


async def test_a_wrong_number_id_is_named(scripted: ScriptedGraph, messages: MessagesApi) -> None:
    with pytest.raises(ConfigError, match="phone number id"):
        await messages.send_text("my number", ADA, "Hello")
    assert scripted.heard == []


async def test_a_closed_conversation_is_told_from_other_refusals(
    scripted: ScriptedGraph, messages: MessagesApi
) -> None:
    scripted.steps = [error(400, 131047), error(400, 138009)]
    with pytest.raises(ConversationClosedError, match="template"):
        await messages.send_text(NUMBER, ADA, "Hello")
    with pytest.raises(PermissionRequestError):
        await messages.request_call_permission(NUMBER, ADA)


async def test_no_message_is_sent_twice(scripted: ScriptedGraph, messages: MessagesApi) -> None:
    scripted.steps = [hang_up, SENT]
    with pytest.raises(GraphUnreachableError):
        await messages.send_text(NUMBER, ADA, "Hello")
    assert len(scripted.heard) == 1


async def test_an_answer_without_an_id_leaves_it_open_whether_the_message_was_sent(
    scripted: ScriptedGraph, messages: MessagesApi
) -> None:
    scripted.steps = [answer({"messages": []})]
    with pytest.raises(GraphUnreachableError):
        await messages.send_text(NUMBER, ADA, "Hello")
