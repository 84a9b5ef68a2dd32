"""Asking a user for permission to call, and calling once they have given it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from bots import PlainBot
from conftest import until
from deployment import Deployment, Join, Member, brisk, join
from pipecat_whatsapp.calls import permission
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.dialler import DialResult
from pipecat_whatsapp.calls.outcome import Outcome
from pipecat_whatsapp.calls.permission import PermissionDesk, PermissionTemplate
from pipecat_whatsapp.meta.events import CallPermissionReply, Event, User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.permissions import ActionLimit, CallPermissions
from pipecat_whatsapp.simulator import message_payloads
from pipecat_whatsapp.simulator.messages import Template
from pipecat_whatsapp.simulator.permissions import Permission
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from scripted_graph import NUMBER, PHONE, ScriptedGraph, answer

__all__ = ["brisk", "join"]

QUESTION = "May we call you about your order?"


def ask(
    adapter: WebhookAdapter, user: User, question: str | PermissionTemplate = QUESTION, **more: Any
) -> asyncio.Task[DialResult]:
    return asyncio.create_task(adapter.call(user, ask_permission=question, **more))


def actions(whatsapp: WhatsApp) -> list[str]:
    return [request.action for request in whatsapp.meta.requests]


def held(monkeypatch: pytest.MonkeyPatch, api: object, name: str) -> asyncio.Event:
    """Keep Meta's answers to a request of an API to ourselves until the event is set."""
    request, is_answered = getattr(api, name), asyncio.Event()

    async def answered_late(*args: Any) -> Any:
        answer = await request(*args)
        await is_answered.wait()
        return answer

    monkeypatch.setattr(api, name, answered_late)
    return is_answered


@pytest.fixture
async def served(whatsapp: WhatsApp, phone: Phone) -> WebhookAdapter:
    """A number that Ada has written to."""
    adapter = await whatsapp.serve(PlainBot())
    await phone.send_text("hello")
    return adapter


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meta is asked often while the user thinks."""
    monkeypatch.setattr(permission, "POLL_SECONDS", 0.05)


# Granted


async def test_who_allows_calls_is_not_asked(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    whatsapp.meta.permissions.grant(phone.user)
    calling = ask(served, phone.user)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    assert phone.messages == []
    assert actions(whatsapp) == ["call_permissions", "connect"]


@pytest.mark.parametrize("permanent", [False, True])
async def test_who_is_asked_and_accepts_is_called(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter, *, permanent: bool
) -> None:
    calling = ask(served, phone.user)
    prompt = await phone.permission_prompt()
    assert prompt.text == QUESTION
    assert "connect" not in actions(whatsapp)
    await prompt.accept(permanent=permanent)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    assert actions(whatsapp) == ["call_permissions", "messages", "connect"]


async def test_a_question_may_have_no_words(phone: Phone, served: WebhookAdapter) -> None:
    calling = ask(served, phone.user, "")
    prompt = await phone.permission_prompt()
    assert prompt.text == ""
    await prompt.reject()
    assert (await calling).outcome is Outcome.NOT_PERMITTED


async def test_a_template_asks_without_an_open_conversation(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    template = Template("may_we_call", "en_US", "May we call about {{1}}?", asks_permission=True)
    whatsapp.meta.business.conversations.add_template(template)
    components = [{"type": "body", "parameters": [{"type": "text", "text": "order 7"}]}]
    calling = ask(adapter, phone.user, PermissionTemplate("may_we_call", "en_US", components))
    prompt = await phone.permission_prompt()
    assert prompt.text == "May we call about order 7?"
    await prompt.accept()
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


async def test_a_user_without_a_phone_number_is_asked_and_called(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    phone = await whatsapp.phone(User(user_id="DE.5"))
    await phone.send_text("hello")
    calling = ask(adapter, phone.user)
    await (await phone.permission_prompt()).accept()
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


async def test_an_answer_may_be_faster_than_metas_to_the_request(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_answered = held(monkeypatch, served.graph.messages, "request_call_permission")
    calling = ask(served, phone.user)
    delivery = await (await phone.permission_prompt()).accept()
    assert delivery.status == 200
    is_answered.set()
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    assert actions(whatsapp) == ["call_permissions", "messages", "connect"]


@pytest.mark.usefixtures("impatient")
async def test_an_answer_whose_webhook_is_lost_is_found_by_asking_meta(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    prompt = await phone.permission_prompt()
    whatsapp.meta.faults.lose.append("messages")
    await prompt.accept()
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


@pytest.mark.usefixtures("impatient")
async def test_meta_may_fail_while_the_user_thinks(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    prompt = await phone.permission_prompt()
    asked = actions(whatsapp).count("call_permissions")
    whatsapp.meta.faults.fail["call_permissions"] = [(400, 100)] * 3
    await whatsapp.meta.wait_request("call_permissions", count=asked + 4)
    assert not calling.done()
    await prompt.accept()
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


async def test_calls_allowed_in_the_profile_count_as_an_answer(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    await phone.permission_prompt()
    await whatsapp.meta.business.conversations.toggle(phone.user, allowed=True)
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


async def test_the_application_hears_of_the_answer_too(whatsapp: WhatsApp, phone: Phone) -> None:
    events: list[Event] = []

    async def hook(event: Event) -> None:
        if isinstance(event, CallPermissionReply):
            events.append(event)

    adapter = await whatsapp.serve(PlainBot(), on_webhook_event=hook)
    await phone.send_text("hello")
    calling = ask(adapter, phone.user)
    await (await phone.permission_prompt()).reject()
    await calling
    assert await adapter.drain(timeout=30)
    assert [event.user for event in events if isinstance(event, CallPermissionReply)] == [
        phone.user
    ]


# Not granted


async def test_who_declines_is_not_called(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    await (await phone.permission_prompt()).reject()
    result = await calling
    assert (result.outcome, result.call) == (Outcome.NOT_PERMITTED, None)
    assert "declined" in result.detail
    assert "connect" not in actions(whatsapp)


async def test_who_stays_silent_is_not_called(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user, permission_timeout=0.3)
    prompt = await phone.permission_prompt()
    result = await calling
    assert result.outcome is Outcome.NOT_PERMITTED
    assert "did not answer" in result.detail
    # What comes after it is for the next attempt.
    await prompt.accept()
    assert await served.drain(timeout=30)
    assert "connect" not in actions(whatsapp)


async def test_who_was_asked_too_often_is_not_asked_again(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    whatsapp.meta.permissions.note_request(phone.user)
    result = await served.call(phone.user, ask_permission=QUESTION)
    assert result.outcome is Outcome.LIMIT
    day, _ = whatsapp.meta.permissions.request_limits(phone.user)
    assert day.resets_at is not None
    assert f"{datetime.fromtimestamp(day.resets_at, UTC):%Y-%m-%d %H:%M} UTC" in result.detail
    assert phone.messages == []
    assert actions(whatsapp) == ["call_permissions"]


async def test_who_was_called_too_often_is_neither_asked_nor_called(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    permissions = whatsapp.meta.permissions
    permissions.grant(phone.user)
    for _ in range(permissions.rules.connected_per_day):
        permissions.note_connected(phone.user)
    result = await served.call(phone.user, ask_permission=QUESTION)
    assert result.outcome is Outcome.LIMIT
    assert "allows calls" in result.detail
    (day,) = permissions.call_limits(phone.user)
    assert day.resets_at is not None
    assert f"{datetime.fromtimestamp(day.resets_at, UTC):%Y-%m-%d %H:%M} UTC" in result.detail
    assert actions(whatsapp) == ["call_permissions"]


async def test_without_an_open_conversation_a_text_cannot_ask(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    result = await adapter.call(phone.user, ask_permission=QUESTION)
    assert result.outcome is Outcome.FAILED
    assert "131047" in result.detail
    assert "template" in result.detail
    assert "connect" not in actions(whatsapp)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (138009, Outcome.LIMIT),
        (138011, Outcome.LIMIT),
        (131026, Outcome.UNCALLABLE),
        (131030, Outcome.UNCALLABLE),
        (190, Outcome.FAILED),
    ],
)
async def test_what_a_refused_request_comes_to(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter, code: int, outcome: Outcome
) -> None:
    whatsapp.meta.faults.fail["messages"] = [(400, code)]
    result = await served.call(phone.user, ask_permission=QUESTION)
    assert result.outcome is outcome
    assert str(code) in result.detail
    assert "connect" not in actions(whatsapp)


async def test_a_permission_that_cannot_be_read_is_a_failure(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    whatsapp.meta.faults.fail["call_permissions"] = [(400, 100)]
    result = await served.call(phone.user, ask_permission=QUESTION)
    assert result.outcome is Outcome.FAILED
    assert phone.messages == []


# Others


async def test_the_answer_of_another_user_is_not_ours(whatsapp: WhatsApp) -> None:
    served = await whatsapp.serve(PlainBot())
    # Neither has a phone number: that they have none in common makes them no one user.
    phones = [await whatsapp.phone(User(user_id=user_id)) for user_id in ("DE.3", "DE.5")]
    for phone in phones:
        await phone.send_text("hello")
    calling = [ask(served, phone.user) for phone in phones]
    prompts = [await phone.permission_prompt() for phone in phones]
    await prompts[1].accept()
    call = await phones[1].rings()
    await call.pick_up()
    assert (await calling[1]).outcome is Outcome.ANSWERED
    assert not calling[0].done()
    await prompts[0].reject()
    result = await calling[0]
    assert (result.outcome, "declined" in result.detail) == (Outcome.NOT_PERMITTED, True)
    assert actions(whatsapp).count("connect") == 1


async def test_calls_forbidden_in_the_profile_count_as_an_answer(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    await phone.permission_prompt()
    await whatsapp.meta.wait_request("messages")
    await whatsapp.meta.business.conversations.toggle(phone.user, allowed=False)
    assert (await calling).outcome is Outcome.NOT_PERMITTED


async def test_what_was_said_before_the_question_is_no_answer_to_it(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read = held(monkeypatch, served.graph.permissions, "read")
    calling = ask(served, phone.user)
    await whatsapp.meta.wait_request("call_permissions")
    await whatsapp.meta.deliver(refusal(whatsapp, phone, None), field="messages")
    is_read.set()
    await (await phone.permission_prompt()).accept()
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


async def test_only_a_limit_that_is_used_up_says_when_to_try_again(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    used_up = {"time_period": "PT24H", "max_allowed": 1, "current_usage": 1}
    left = {"time_period": "P7D", "max_allowed": 2, "current_usage": 1}
    limits = [
        used_up | {"limit_expiration_time": 1_790_000_000},
        left | {"limit_expiration_time": 1_800_000_000},
    ]
    request = {
        "action_name": "send_call_permission_request",
        "can_perform_action": False,
        "limits": limits,
    }
    scripted.steps = [answer({"permission": {"status": "no_permission"}, "actions": [request]})]
    contact = Contact(graph, NUMBER, User(phone=PHONE))
    hindrance = await PermissionDesk(graph).obtain(contact, QUESTION, 1.0)
    assert hindrance is not None
    assert hindrance.outcome is Outcome.LIMIT
    assert hindrance.detail.endswith("; again from 2026-09-21 14:13 UTC")


async def test_an_answer_to_another_number_is_not_ours(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    prompt = await phone.permission_prompt()
    reply = refusal(whatsapp, phone, prompt.id)
    reply["metadata"] = {"phone_number_id": "200000000000009"}
    assert (await whatsapp.meta.deliver(reply, field="messages")).status == 200
    await prompt.accept()
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


async def test_an_old_refusal_that_comes_again_is_no_answer(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    prompt = await phone.permission_prompt()
    await whatsapp.meta.wait_request("messages")
    await whatsapp.meta.deliver(refusal(whatsapp, phone, "wamid.EARLIER"), field="messages")
    await prompt.accept()
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED


def refusal(whatsapp: WhatsApp, phone: Phone, context_id: str | None) -> dict[str, Any]:
    """What a webhook says of a user who does not allow calls."""
    return message_payloads.permission_reply(
        whatsapp.meta.account,
        "wamid.X",
        phone.user,
        Permission(),
        timestamp=1,
        automatic=False,
        context_id=context_id,
    )


async def test_two_attempts_for_one_user_share_an_answer(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    first = ask(served, phone.user)
    prompt = await phone.permission_prompt()
    second = await served.call(phone.user, ask_permission=QUESTION)
    assert second.outcome is Outcome.LIMIT, "Meta lets nobody ask twice a day"
    await prompt.accept()
    call = await phone.rings()
    await call.pick_up()
    assert (await first).outcome is Outcome.ANSWERED


# The end


async def test_the_end_of_the_process_ends_the_waiting(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    await phone.permission_prompt()
    await whatsapp.meta.wait_request("messages")
    await whatsapp.stop_serving()
    result = await calling
    assert (result.outcome, result.call) == (Outcome.CANCELLED, None)
    assert "no further calls" in result.detail
    assert "connect" not in actions(whatsapp)


async def test_who_drains_waits_for_no_answer(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    prompt = await phone.permission_prompt()
    assert await served.drain(timeout=30)
    assert (await calling).outcome is Outcome.CANCELLED
    await prompt.accept()
    assert await served.drain(timeout=30)
    assert "connect" not in actions(whatsapp)


async def test_over_capacity_nobody_is_asked(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    served.configure(max_calls=0)
    result = await served.call(phone.user, ask_permission=QUESTION)
    assert (result.outcome, result.call) == (Outcome.LIMIT, None)
    assert whatsapp.meta.requests == []


async def test_after_the_end_nobody_is_asked(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    await whatsapp.stop_serving()
    result = await served.call(phone.user, ask_permission=QUESTION)
    assert result.outcome is Outcome.CANCELLED
    assert whatsapp.meta.requests == []


async def test_an_attempt_that_is_cancelled_while_the_user_thinks_calls_nobody(
    whatsapp: WhatsApp, phone: Phone, served: WebhookAdapter
) -> None:
    calling = ask(served, phone.user)
    prompt = await phone.permission_prompt()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await prompt.accept()
    assert await served.drain(timeout=30)
    assert "connect" not in actions(whatsapp)


# What an earlier request, or the end of the process, must not do


async def test_nobody_is_asked_when_the_process_drains_meanwhile(
    whatsapp: WhatsApp,
    phone: Phone,
    served: WebhookAdapter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = served.graph.permissions.read

    async def read_and_drain(number: str, user: User) -> CallPermissions:
        permissions = await read(number, user)
        await served.drain(timeout=0)
        return permissions

    monkeypatch.setattr(served.graph.permissions, "read", read_and_drain)
    result = await served.call(phone.user, ask_permission=QUESTION)
    assert result.outcome is Outcome.CANCELLED
    assert actions(whatsapp) == ["call_permissions"]


async def test_only_limits_that_are_used_up_say_when_they_let_go() -> None:
    limits = [
        ActionLimit(period="PT24H", max_allowed=1, current_usage=1, resets_at=1_790_000_000),
        ActionLimit(period="P7D", max_allowed=2, current_usage=1, resets_at=1_790_500_000),
    ]
    assert permission.again_from(limits) == "; again from 2026-09-21 14:13 UTC"


# Several processes


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("accepts", [True, False])
async def test_an_answer_that_another_process_hears_comes_to_the_one_that_asked(
    whatsapp: WhatsApp, phone: Phone, join: Join, *, accepts: bool
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        asking, idle, other = [await deployment.add() for _ in range(3)]
        deployment.route(other)
        await deployment.acquainted()
        await phone.send_text("hello")
        calling = ask(asking.adapter, phone.user)
        prompt = await phone.permission_prompt()
        whatsapp.meta.faults.duplicate = 1
        if accepts:
            await prompt.accept()
            call = await phone.rings()
            await call.pick_up()
            assert (await calling).outcome is Outcome.ANSWERED
            await call.hang_up()
        else:
            await prompt.reject()
            assert (await calling).outcome is Outcome.NOT_PERMITTED
        # Its application is told of each delivery, and nobody else's is.
        await until(lambda: _replies(other) == 2)
        await deployment.acquainted()
        assert [_replies(member) for member in (asking, idle, other)] == [0, 0, 2]


def _replies(member: Member) -> int:
    return sum(isinstance(event, CallPermissionReply) for event in member.offered)
