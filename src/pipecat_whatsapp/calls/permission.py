"""Whether we may call a user: look, ask, and wait for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loguru import logger

from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.outcome import Outcome
from pipecat_whatsapp.calls.waiting import comes
from pipecat_whatsapp.errors import (
    CallLimitError,
    GraphError,
    PermissionRequestError,
    RateLimitError,
    UncallableError,
)
from pipecat_whatsapp.meta.events import CallPermissionReply, User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.permissions import ActionLimit, CallPermissions, PermissionStatus

POLL_SECONDS = 15.0
"""How often Meta is asked while a user thinks: the webhook with the answer may be lost."""


@dataclass(frozen=True)
class PermissionTemplate:
    """A template message that asks for permission to call; it may be sent at any time.

    Parameters:
        name: The template's name; it has the component `call_permission_request`.
        language: Its language, such as "en_US".
        components: What fills its places, as Meta documents it.
    """

    name: str
    language: str
    components: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class NotAllowed:
    """Why a user may not be called now.

    Parameters:
        outcome: What the attempt to call comes to.
        detail: Why, in words.
    """

    outcome: Outcome
    detail: str


_CLOSING = NotAllowed(Outcome.CANCELLED, "this process takes and places no further calls")


@dataclass(eq=False)
class _Question:
    """A request for permission that waits for its answer."""

    phone_number_id: str
    user: User
    message_id: str | None = None
    replies: list[CallPermissionReply] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def concerns(self, event: CallPermissionReply) -> bool:
        same = {self.user.phone, self.user.user_id} & {event.user.phone, event.user.user_id}
        is_theirs = bool(same - {None}) or self._is_answered_by(event)
        return event.phone_number_id == self.phone_number_id and is_theirs

    @property
    def answer(self) -> bool | None:
        """Whether the user allows calls; None while they have not said."""
        if any(reply.accepted for reply in self.replies):
            return True
        # A refusal of an earlier request may be delivered again; one without context is new.
        is_refused = any(r.context_id is None or self._is_answered_by(r) for r in self.replies)
        return False if is_refused else None

    def _is_answered_by(self, event: CallPermissionReply) -> bool:
        return event.context_id is not None and event.context_id == self.message_id


class PermissionDesk:
    """Asks users for permission to call them, and hears what they answer."""

    def __init__(self, graph: GraphClient) -> None:
        self._graph = graph
        self._questions: list[_Question] = []
        self._closed = False

    def take(self, event: CallPermissionReply) -> bool:
        """Take a user's answer. Returns whether anybody waited for it."""
        concerned = [question for question in self._questions if question.concerns(event)]
        for question in concerned:
            question.replies.append(event)
            question.news.set()
        return bool(concerned)

    def close(self) -> None:
        """Ask nobody any more, and wait for no answer."""
        self._closed = True
        for question in self._questions:
            question.news.set()

    async def obtain(
        self, contact: Contact, ask: str | PermissionTemplate, patience: float
    ) -> NotAllowed | None:
        """Make sure that a user may be called; ask if they may not yet.

        Args:
            contact: The user, and the number that wants to call.
            ask: What to ask them with: a text, or a template.
            patience: Seconds to wait for the answer.

        Returns:
            Why the user may not be called; None when they may.
        """
        if self._closed:
            return _CLOSING
        question = _Question(contact.phone_number_id, contact.user)
        # Kept from before the request on: an answer may be faster than Meta's to us.
        self._questions.append(question)
        try:
            permissions = await self._read(contact)
            if permissions.can_call:
                return None
            if (hindrance := _hindrance(permissions)) is not None:
                return hindrance
            if self._closed:
                return _CLOSING
            question.replies.clear()
            question.message_id = await _send(contact, ask)
            return await self._wait(question, contact, patience)
        except GraphError as error:
            return NotAllowed(_outcome_of(error), str(error))
        finally:
            self._questions.remove(question)

    async def _read(self, contact: Contact) -> CallPermissions:
        return await self._graph.permissions.read(contact.phone_number_id, contact.user)

    async def _wait(
        self, question: _Question, contact: Contact, patience: float
    ) -> NotAllowed | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while question.answer is None:
            if self._closed:
                return _CLOSING
            if (left := deadline - loop.time()) <= 0:
                return NotAllowed(
                    Outcome.NOT_PERMITTED,
                    f"the user did not answer the request within {patience:.0f} s",
                )
            has_come = await comes(question.news, min(left, POLL_SECONDS))
            if not has_come and await self._is_granted(contact):
                return None
            question.news.clear()
        if question.answer:
            return None
        return NotAllowed(Outcome.NOT_PERMITTED, "the user declined to be called")

    async def _is_granted(self, contact: Contact) -> bool:
        try:
            return (await self._read(contact)).can_call
        except GraphError as error:
            logger.debug("The permission could not be read: {}", error)
            return False


async def _send(contact: Contact, ask: str | PermissionTemplate) -> str:
    if isinstance(ask, PermissionTemplate):
        return await contact.send_template(ask.name, ask.language, ask.components)
    return await contact.request_call_permission(ask or None)


def _hindrance(permissions: CallPermissions) -> NotAllowed | None:
    """Why it is no use to ask."""
    if permissions.status is not PermissionStatus.NONE:
        return NotAllowed(
            Outcome.LIMIT,
            "the user allows calls, but was called as often as Meta allows"
            + again_from(permissions.call_limits),
        )
    if not permissions.can_request:
        return NotAllowed(
            Outcome.LIMIT,
            "the user does not allow calls, and was asked as often as Meta allows"
            + again_from(permissions.request_limits),
        )
    return None


def again_from(limits: Sequence[ActionLimit]) -> str:
    """When the limits that are used up let go, as far as Meta says."""
    used_up = [limit for limit in limits if limit.current_usage >= limit.max_allowed]
    resets = [limit.resets_at for limit in used_up if limit.resets_at is not None]
    if not resets:
        return ""
    return f"; again from {datetime.fromtimestamp(max(resets), UTC):%Y-%m-%d %H:%M} UTC"


def _outcome_of(error: GraphError) -> Outcome:
    match error:
        case PermissionRequestError() | CallLimitError() | RateLimitError():
            return Outcome.LIMIT
        case UncallableError():
            return Outcome.UNCALLABLE
        case _:
            return Outcome.FAILED
