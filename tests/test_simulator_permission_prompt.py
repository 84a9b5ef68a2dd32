from __future__ import annotations

import asyncio

import pytest

from pipecat_whatsapp.simulator.permission_prompt import (
    PermissionPrompts,
    PromptExpiredError,
    Reply,
)
from pipecat_whatsapp.simulator.webhooks import Delivery
from simulated_account import DAY, WEEK, Clock
from simulated_business import ADA


class Replies(list[Reply]):
    """Takes a user's decisions."""

    def __call__(self, reply: Reply) -> asyncio.Future[Delivery]:
        self.append(reply)
        told: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        told.set_result(Delivery(0.0, "messages", None, attempt=1, status=200))
        return told


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def prompts(clock: Clock, replies: Replies) -> PermissionPrompts:
    return PermissionPrompts(clock, replies)


async def test_each_answer(prompts: PermissionPrompts, replies: Replies) -> None:
    prompt = prompts.ask(ADA, "May we?", "wamid.1")
    assert (prompt.user, prompt.text, prompt.id) == (ADA, "May we?", "wamid.1")
    assert (await prompt.accept()).status == 200
    await prompt.accept(permanent=True)
    await prompt.reject()
    assert replies == [
        Reply(ADA, allowed=True, context_id="wamid.1"),
        Reply(ADA, allowed=True, permanent=True, context_id="wamid.1"),
        Reply(ADA, allowed=False, context_id="wamid.1"),
    ]


async def test_an_unanswered_request_expires_after_seven_days(
    prompts: PermissionPrompts, replies: Replies, clock: Clock
) -> None:
    prompt = prompts.ask(ADA, "", "wamid.1")
    clock.advance(WEEK - 1)
    assert not prompt.expired
    clock.advance(1)
    assert prompt.expired
    with pytest.raises(PromptExpiredError):
        await prompt.accept()
    assert replies == []


async def test_an_answered_request_expires_seven_days_after_the_answer(
    prompts: PermissionPrompts, clock: Clock
) -> None:
    prompt = prompts.ask(ADA, "", "wamid.1")
    clock.advance(6 * DAY)
    await prompt.reject()
    clock.advance(6 * DAY)
    await prompt.accept()
    clock.advance(WEEK)
    with pytest.raises(PromptExpiredError):
        await prompt.reject()


async def test_acting_on_a_younger_request_ends_the_older_ones(prompts: PermissionPrompts) -> None:
    first, second = prompts.ask(ADA, "", "wamid.1"), prompts.ask(ADA, "", "wamid.2")
    await first.accept()
    assert not second.expired
    await second.reject()
    assert first.expired
    assert not second.expired
