"""Whether a user may be called, and may be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pipecat_whatsapp.meta.answers import unreadable
from pipecat_whatsapp.meta.checks import address, checked_id
from pipecat_whatsapp.meta.events import Raw, User
from pipecat_whatsapp.meta.graph_requests import SendRequest
from pipecat_whatsapp.meta.reading import (
    as_object,
    child,
    integer,
    items,
    name_of,
    timestamp,
    token,
)

_PERIOD = re.compile(r"([0-9]{1,4})(H|D)")


class PermissionStatus(Enum):
    """Whether a user has allowed calls.

    Parameters:
        NONE: They have not, or no more.
        TEMPORARY: They have, for seven days.
        PERMANENT: They have, until they revoke it.
    """

    NONE = "no_permission"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"


@dataclass(frozen=True)
class ActionLimit:
    """How often Meta lets us do something with one user.

    Parameters:
        period: Time span, ISO 8601, such as "PT24H".
        max_allowed: How often in it.
        current_usage: How often so far.
        resets_at: When there is room again, Unix seconds; None when Meta did not say.
    """

    period: str
    max_allowed: int
    current_usage: int
    resets_at: int | None = None


@dataclass(frozen=True)
class CallPermissions:
    """What we may do with one user.

    Parameters:
        status: Whether the user has allowed calls.
        expires_at: When a temporary permission ends, Unix seconds.
        can_call: Whether a call may be placed now.
        can_request: Whether the user may be asked now.
        call_limits: Limits of calls.
        request_limits: Limits of requests for permission.
    """

    status: PermissionStatus
    expires_at: int | None
    can_call: bool
    can_request: bool
    call_limits: tuple[ActionLimit, ...] = ()
    request_limits: tuple[ActionLimit, ...] = ()


class PermissionsApi:
    """Reads call permissions.

    Args:
        request: Sends a request.
    """

    def __init__(self, request: SendRequest) -> None:
        self._request = request

    async def read(self, phone_number_id: str, user: User) -> CallPermissions:
        """Read what we may do with a user. Meta bounds how often.

        Source: Meta, user call permissions, get call permission state.

        Args:
            phone_number_id: The business number that wants to call.
            user: The user.

        Raises:
            RateLimitError: Permissions were read too often.
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came, or none that can be read.
        """
        query = {_QUERY[key]: value for key, value in address(user).items()}
        path = f"{checked_id('phone number id', phone_number_id)}/call_permissions"
        answer = await self._request("GET", path, params=query, retry=True)
        if "permission" not in answer:
            raise unreadable("the question for call permissions")
        return read_permissions(answer)


def read_permissions(answer: Raw) -> CallPermissions:
    """Read Meta's answer. What it does not say about actions follows from the status."""
    permission = child(answer, "permission")
    expires_at = _first(permission, "expiration_time", "expiration")
    status = _status(permission, expires_at)
    actions = {name_of(item, "action_name"): as_object(item) for item in items(answer, "actions")}
    call = actions.get("start_call", {})
    ask = actions.get("send_call_permission_request", {})
    return CallPermissions(
        status=status,
        expires_at=None if status is PermissionStatus.NONE else expires_at,
        can_call=_can(call, status is not PermissionStatus.NONE),
        can_request=_can(ask, status is not PermissionStatus.PERMANENT),
        call_limits=_limits(call),
        request_limits=_limits(ask),
    )


def _status(permission: Raw, expires_at: int | None) -> PermissionStatus:
    name = (name_of(permission, "status") or "").lower()
    if name == "granted":
        return PermissionStatus.PERMANENT if expires_at is None else PermissionStatus.TEMPORARY
    return _STATUSES.get(name, PermissionStatus.NONE)


def _can(action: Raw, default: bool) -> bool:
    told = action.get("can_perform_action")
    return told if isinstance(told, bool) else default


def _limits(action: Raw) -> tuple[ActionLimit, ...]:
    return tuple(
        ActionLimit(
            period=_period(token(item, "time_period") or ""),
            max_allowed=allowed,
            current_usage=integer(item, "current_usage") or 0,
            resets_at=_first(item, "limit_expiration_time", "limit_expiration"),
        )
        for item in items(action, "limits")
        if (allowed := integer(item, "max_allowed")) is not None
    )


def _period(told: str) -> str:
    """A time span as ISO 8601, also one that came as "24h"."""
    match = _PERIOD.fullmatch(told.upper())
    if match is None:
        return told
    return f"PT{match[1]}H" if match[2] == "H" else f"P{match[1]}D"


def _first(obj: Any, *keys: str) -> int | None:
    return next((found for key in keys if (found := timestamp(obj, key)) is not None), None)


_QUERY = {"to": "user_wa_id", "recipient": "recipient"}

# Meta's guide names the first three; `pending`, `denied` and `expired` of its generated
# reference all come to the first.
_STATUSES = {status.value: status for status in PermissionStatus}
