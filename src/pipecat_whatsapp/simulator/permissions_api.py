"""`GET /<PNID>/call_permissions`: who may be called, in both forms that Meta documents."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.address import read_address
from pipecat_whatsapp.simulator.payloads import Json, known
from pipecat_whatsapp.simulator.permissions import Limit, Permissions
from pipecat_whatsapp.simulator.rules import RefusalError

TOO_OFTEN = 613

FORMS = ("guide", "reference")
"""Meta's guide and its generated reference differ; the simulator can answer like each."""


class PermissionsApi:
    """Answers what a business may do with a user.

    Args:
        permissions: Whom it may call.
        clock: Seconds.

    Attributes:
        form: One of `FORMS`.
        reads_per_second: How often it may be asked (Meta: 100 in the guide, 5 in the reference).
    """

    def __init__(self, permissions: Permissions, clock: Callable[[], float]) -> None:
        self.form = "guide"
        self.reads_per_second = 100
        self._permissions = permissions
        self._clock = clock
        self._reads: deque[float] = deque()

    def read(self, query: Mapping[str, str]) -> Json:
        """Answer a request.

        Raises:
            RefusalError: 613 (HTTP 429) after too many of them; 100 when no user is named.
        """
        user = read_address(query, phone="user_wa_id").user
        self._count()
        return self._as_reference(user) if self.form == "reference" else self._as_guide(user)

    def _count(self) -> None:
        now = self._clock()
        while self._reads and self._reads[0] <= now - 1:
            self._reads.popleft()
        if len(self._reads) >= self.reads_per_second:
            raise RefusalError("Permissions are read too often", code=TOO_OFTEN, status=429)
        self._reads.append(now)

    def _as_guide(self, user: User) -> Json:
        permission = self._permissions.state(user)
        told = known(status=permission.status, expiration_time=permission.expires_at)
        return self._answer(user, told, {})

    def _as_reference(self, user: User) -> Json:
        permission = self._permissions.state(user)
        granted = permission.status != "no_permission"
        told = known(status="granted" if granted else "denied", expiration=permission.expires_at)
        return self._answer(user, told, {"PT24H": "24h", "P7D": "7d"})

    def _answer(self, user: User, permission: Json, periods: Mapping[str, str]) -> Json:
        permissions = self._permissions
        asking = (
            "send_call_permission_request",
            permissions.check_request,
            permissions.request_limits,
        )
        calling = "start_call", permissions.check_call, permissions.call_limits
        return {
            "messaging_product": "whatsapp",
            "permission": permission,
            "actions": [
                {
                    "action_name": name,
                    "can_perform_action": _passes(check, user),
                    "limits": _limits(limits(user), periods),
                }
                for name, check, limits in (asking, calling)
            ],
        }


def _passes(check: Callable[[User], None], user: User) -> bool:
    try:
        check(user)
    except RefusalError:
        return False
    return True


def _limits(limits: Sequence[Limit], periods: Mapping[str, str]) -> list[Json]:
    return [
        known(
            time_period=periods.get(limit.period, limit.period),
            max_allowed=limit.allowed,
            current_usage=limit.used,
            limit_expiration_time=limit.resets_at,
        )
        for limit in limits
    ]
