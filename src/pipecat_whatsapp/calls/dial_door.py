"""Calls that another process asks for: who may ask, and what they ask.

The request is JSON, signed over its raw bytes with the app secret as Meta signs webhooks::

    {"to": "4915550002222", "timestamp": 1790000000, "nonce": "5f2c…",
     "ask_permission": "May we call you?", "permission_timeout": 60}

A request is good for a minute and only once, so that nobody can repeat one that they have seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pipecat_whatsapp.calls.dialler import DialResult
from pipecat_whatsapp.calls.response import WebhookResponse, plain
from pipecat_whatsapp.errors import ConfigError, WebhookError
from pipecat_whatsapp.meta.reading import as_object, bounded_int, integer, text, token

GOOD_FOR_SECONDS = 60.0

REMEMBERED_SECONDS = 2 * GOOD_FOR_SECONDS + 1
"""A clock that is ahead by as much as is allowed makes a request fresh for twice as long."""

MAX_REQUEST_BYTES = 16 * 1024
MAX_PERMISSION_TIMEOUT = 300


@dataclass(frozen=True)
class DialRequest:
    """A call that somebody asks for.

    Parameters:
        to: A phone number or a business-scoped user id.
        phone_number_id: The business number that calls; None for the only one.
        ask_permission: What to ask a user with who does not allow calls yet.
        permission_timeout: Seconds to wait for the answer.
    """

    to: str
    phone_number_id: str | None
    ask_permission: str | None
    permission_timeout: float


class DialDoor:
    """Lets requests in whose signature has been checked, each once.

    Args:
        first: Whether a token is used for the first time within so many seconds.
        clock: Unix seconds.
    """

    def __init__(
        self,
        first: Callable[[str, float], Awaitable[bool]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._first = first
        self._clock = clock

    async def serve(
        self, body: bytes, call: Callable[..., Awaitable[DialResult]]
    ) -> WebhookResponse:
        """Place the call that a request asks for.

        Args:
            body: Its raw bytes, with a signature that was checked.
            call: Places calls, as `WebhookAdapter.call` does.

        Raises:
            WebhookError: The request is not let in.
        """
        request = await self.admit(body)
        try:
            result = await call(
                request.to,
                phone_number_id=request.phone_number_id,
                ask_permission=request.ask_permission,
                permission_timeout=request.permission_timeout,
            )
        except ConfigError as error:
            return plain(400, str(error))
        call_id = result.call.id if result.call is not None else None
        told = {"outcome": result.outcome.value, "detail": result.detail, "call_id": call_id}
        return WebhookResponse(200, {"content-type": "application/json"}, json.dumps(told).encode())

    async def admit(self, body: bytes) -> DialRequest:
        """Read a request.

        Args:
            body: Its raw bytes, with a signature that was checked.

        Raises:
            WebhookError: It cannot be read (status 400), is not fresh, or came before (403).
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise WebhookError(f"The request is over {MAX_REQUEST_BYTES} bytes.", status=413)
        try:
            request = as_object(json.loads(body, parse_int=bounded_int))
        except (ValueError, RecursionError):
            request = {}
        to, nonce, at = text(request, "to"), token(request, "nonce"), integer(request, "timestamp")
        if to is None or nonce is None or at is None:
            raise WebhookError(
                "The request is not a call: it is JSON with to, timestamp and nonce.", status=400
            )
        await self._demand_fresh(at, nonce)
        patience = integer(request, "permission_timeout")
        return DialRequest(
            to=to,
            phone_number_id=token(request, "phone_number_id"),
            ask_permission=text(request, "ask_permission", 1024),
            permission_timeout=min(
                MAX_PERMISSION_TIMEOUT if patience is None else patience, MAX_PERMISSION_TIMEOUT
            ),
        )

    async def _demand_fresh(self, at: float, nonce: str) -> None:
        if abs(self._clock() - at) > GOOD_FOR_SECONDS:
            raise WebhookError(
                "The request is not fresh: are the clocks of both machines right?", status=403
            )
        if not await self._first("dial:" + nonce, REMEMBERED_SECONDS):
            raise WebhookError("The request came before.", status=403)
