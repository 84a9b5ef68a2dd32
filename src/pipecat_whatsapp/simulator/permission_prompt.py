"""A user is asked whether the business may call, and answers, perhaps more than once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.permissions import WEEK
from pipecat_whatsapp.simulator.webhooks import Delivery


class PromptExpiredError(SimulatorError):
    """A request for permission to call can no longer be answered."""


@dataclass(frozen=True)
class Reply:
    """What a user decided about being called.

    Parameters:
        user: Who decided.
        allowed: Whether the business may call.
        permanent: Whether for ever.
        automatic: Whether WhatsApp decided for the user.
        context_id: The request or the call that led to it; None for a toggle in the profile.
    """

    user: User
    allowed: bool
    permanent: bool = False
    automatic: bool = False
    context_id: str | None = None


class Replies(Protocol):
    """Who takes a user's decision."""

    def __call__(self, reply: Reply) -> asyncio.Future[Delivery]:
        """Make it hold, and send the webhook that tells it."""


class PermissionPrompts:
    """The requests that one user was sent. Acting on one of them ends all that are older.

    Args:
        clock: Unix seconds.
        take: Takes the user's decisions.
    """

    def __init__(self, clock: Callable[[], float], take: Replies) -> None:
        self.clock = clock
        self.take = take
        self._newest_acted_on = 0
        self._count = 0

    def ask(self, user: User, text: str, context_id: str | None) -> PermissionPrompt:
        """Ask the user.

        Args:
            user: Who is asked.
            text: What the business wrote.
            context_id: The message with which it asks.
        """
        self._count += 1
        return PermissionPrompt(self, self._count, user, text, context_id)

    def act_on(self, number: int) -> None:
        """The user acts on a request."""
        self._newest_acted_on = max(self._newest_acted_on, number)

    def is_outdated(self, number: int) -> bool:
        """Whether the user has acted on a younger request."""
        return number < self._newest_acted_on


class PermissionPrompt:
    """One request, at the user's phone. Until it expires, an answer can be changed.

    It expires 7 days after it came or was last answered, or when the user acts on a younger one
    (Meta: user call permissions).

    Attributes:
        user: Who is asked.
        text: What the business wrote; may be empty.
        id: The message with which it asks; None when WhatsApp itself asks.
    """

    def __init__(
        self, prompts: PermissionPrompts, number: int, user: User, text: str, context_id: str | None
    ) -> None:
        self.user = user
        self.text = text
        self.id = context_id
        self._prompts = prompts
        self._number = number
        self._touched_at = prompts.clock()

    @property
    def expired(self) -> bool:
        """Whether it can no longer be answered."""
        too_old = self._prompts.clock() >= self._touched_at + WEEK
        return too_old or self._prompts.is_outdated(self._number)

    def accept(self, *, permanent: bool = False) -> asyncio.Future[Delivery]:
        """Allow calls, for 7 days or for ever.

        Returns:
            The delivery of the webhook that tells it. Need not be awaited.

        Raises:
            PromptExpiredError: It is too late.
        """
        return self._answer(allowed=True, permanent=permanent)

    def reject(self) -> asyncio.Future[Delivery]:
        """Forbid calls; as with `accept`."""
        return self._answer(allowed=False)

    def _answer(self, *, allowed: bool, permanent: bool = False) -> asyncio.Future[Delivery]:
        if self.expired:
            raise PromptExpiredError("This request for permission to call has expired.")
        self._prompts.act_on(self._number)
        self._touched_at = self._prompts.clock()
        return self._prompts.take(Reply(self.user, allowed, permanent, context_id=self.id))
