"""Which users may be called, and asked: Meta's rules of call permissions, on an injected clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from pipecat_whatsapp.meta.events import Direction, User
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.user_table import UserTable

DAY = 24 * 3600
WEEK = 7 * DAY

NOT_PERMITTED = 138006
REQUEST_LIMIT = 138009
CONNECTED_LIMIT = 138012
ALREADY_PERMANENT = 138017


@dataclass(frozen=True)
class PermissionRules:
    """How often a business may ask and call one user (Meta: user call permissions).

    Parameters:
        requests_per_day: Permission requests within 24 hours; a connected call resets them.
        requests_per_week: Permission requests within 7 days; a connected call resets them.
        connected_per_day: Connected calls by the business within 24 hours.
        reconsider_after: Unanswered calls in a row after which WhatsApp asks the user anew.
        revoke_after: Unanswered calls in a row after which the permission ends.
    """

    requests_per_day: int = 1
    requests_per_week: int = 2
    connected_per_day: int = 100
    reconsider_after: int = 2
    revoke_after: int = 4


BUSINESS_NUMBER = PermissionRules()
TEST_NUMBER = PermissionRules(
    requests_per_day=25, requests_per_week=100, reconsider_after=5, revoke_after=10
)


class Annoyance(Enum):
    """What WhatsApp does about a user who does not take a business's calls."""

    RECONSIDER = "reconsider"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Permission:
    """Whether a user may be called now.

    Parameters:
        status: "no_permission", "temporary" or "permanent", as Meta writes it.
        expires_at: When a temporary permission ends, Unix seconds.
    """

    status: str = "no_permission"
    expires_at: int | None = None


@dataclass(frozen=True)
class Limit:
    """How often something may be done within a time, and how often it was.

    Parameters:
        period: ISO 8601, such as "PT24H".
        allowed: How often it may be done.
        used: How often it was.
        resets_at: When it can be done again, Unix seconds; None while it can be.
    """

    period: str
    allowed: int
    used: int
    resets_at: int | None


@dataclass
class _Record:
    permission: Permission = field(default_factory=Permission)
    requests: list[float] = field(default_factory=list)
    connected: list[float] = field(default_factory=list)
    unanswered: int = 0


class Permissions:
    """The call permissions that users gave one business number, and the limits on its calls.

    A user is known by phone number and by user id alike.

    Args:
        clock: Unix seconds.
        rules: Those of a business number, or of a test number.

    Attributes:
        on_annoyance: Told when unanswered calls make WhatsApp act.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        rules: PermissionRules = BUSINESS_NUMBER,
    ) -> None:
        self.rules = rules
        self.on_annoyance: Callable[[User, Annoyance], None] = lambda *_: None
        self._clock = clock
        self._records = UserTable(_Record)

    def grant(self, user: User, *, permanent: bool = False) -> Permission:
        """Let the business call a user, for 7 days from now or until revoked.

        No webhook tells of it; those of a `PermissionPrompt` and of `Conversations.toggle` do.
        """
        record = self._records[user]
        record.unanswered = 0
        if permanent:
            record.permission = Permission("permanent")
        else:
            record.permission = Permission("temporary", int(self._clock()) + WEEK)
        return record.permission

    def revoke(self, user: User) -> None:
        """Forbid the business to call a user."""
        self._records[user].permission = Permission()

    def state(self, user: User) -> Permission:
        """The permission as it is now."""
        permission = self._records[user].permission
        expires_at = permission.expires_at
        return Permission() if expires_at and expires_at <= self._clock() else permission

    def check_request(self, user: User) -> None:
        """Check that the business may ask a user for permission.

        Raises:
            RefusalError: 138017 when it is permitted for ever, 138009 when it asked too often.
        """
        if self.state(user).status == "permanent":
            raise RefusalError("The user has allowed calls permanently", code=ALREADY_PERMANENT)
        if _exhausted(self.request_limits(user)):
            raise RefusalError("The user was asked too often", code=REQUEST_LIMIT)

    def note_request(self, user: User) -> None:
        """The user was asked."""
        self._records[user].requests.append(self._clock())

    def check_call(self, user: User) -> None:
        """Check that the business may call a user.

        Raises:
            RefusalError: 138006 (HTTP 401) without a permission, 138012 after too many calls.
        """
        if self.state(user).status == "no_permission":
            details = "The user has not allowed calls, or no longer does"
            raise RefusalError(details, code=NOT_PERMITTED, status=401)
        limits = self.call_limits(user)
        if _exhausted(limits):
            details = f"Too many connected calls; the next is possible at {limits[0].resets_at}"
            raise RefusalError(details, code=CONNECTED_LIMIT)

    def note_connected(self, user: User, direction: Direction = Direction.OUTBOUND) -> None:
        """A call was picked up: the business's counts, and any call makes the user askable."""
        record = self._records[user]
        record.requests.clear()
        if direction is Direction.OUTBOUND:
            record.unanswered = 0
            record.connected.append(self._clock())

    def note_unanswered(self, user: User) -> None:
        """The user declined the business's call, or did not pick up."""
        record = self._records[user]
        record.unanswered += 1
        if record.unanswered == self.rules.revoke_after:
            self.revoke(user)
            self.on_annoyance(user, Annoyance.REVOKED)
        elif record.unanswered == self.rules.reconsider_after:
            self.on_annoyance(user, Annoyance.RECONSIDER)

    def request_limits(self, user: User) -> tuple[Limit, Limit]:
        """How often the user may be asked: within a day, and within a week."""
        asked, rules = self._records[user].requests, self.rules
        day = self._limit("PT24H", DAY, rules.requests_per_day, asked)
        return day, self._limit("P7D", WEEK, rules.requests_per_week, asked)

    def call_limits(self, user: User) -> tuple[Limit]:
        """How often the user may be called within a day."""
        connected = self._records[user].connected
        return (self._limit("PT24H", DAY, self.rules.connected_per_day, connected),)

    def _limit(self, period: str, seconds: int, allowed: int, times: list[float]) -> Limit:
        recent = [at for at in times if at > self._clock() - seconds]
        full = len(recent) >= allowed
        return Limit(
            period, allowed, len(recent), int(recent[-allowed]) + seconds if full else None
        )


def _exhausted(limits: tuple[Limit, ...]) -> bool:
    return any(limit.resets_at is not None for limit in limits)
