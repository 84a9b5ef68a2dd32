"""The Graph API: the requests that we send to Meta."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from loguru import logger

from pipecat_whatsapp.errors import (
    ConfigError,
    GraphError,
    GraphRequestError,
    GraphUnreachableError,
)
from pipecat_whatsapp.meta.graph_http import GraphHttp, Request, TokenProvider

__all__ = ["DEFAULT_GRAPH_URL", "DEFAULT_GRAPH_VERSION", "GraphClient", "TokenProvider"]

DEFAULT_GRAPH_URL = "https://graph.facebook.com"
DEFAULT_GRAPH_VERSION = "v25.0"

MAX_RETRY_AFTER = 5.0
"""Seconds. Meta may ask for more, but a call does not wait that long."""


class GraphClient:
    """Sends requests to the Graph API, over connections of its own that are kept alive.

    Use it as an async context manager, or call `close` in the end.

    Args:
        token: The access token, or a function that gives it (and may be async).
        url: Base address of the Graph API. Plain http only on loopback.
        version: Graph API version.
        request_timeout: Seconds that one attempt of a request may take.
        retry_pauses: Seconds between the attempts of a request that may be repeated.

    Raises:
        ConfigError: The URL, the version or the token cannot be used.
    """

    def __init__(
        self,
        *,
        token: str | TokenProvider,
        url: str = DEFAULT_GRAPH_URL,
        version: str = DEFAULT_GRAPH_VERSION,
        request_timeout: float = 10.0,
        retry_pauses: Sequence[float] = (0.2, 0.6),
    ) -> None:
        self._http = GraphHttp(token=token, url=url, version=version)
        self._request_timeout = request_timeout
        self._retry_pauses = tuple(retry_pauses)

    @property
    def token(self) -> str | TokenProvider:
        """The access token, or what gives it. A new one counts from the next request on."""
        return self._http.token

    @token.setter
    def token(self, token: str | TokenProvider) -> None:
        self._http.token = token

    async def __aenter__(self) -> GraphClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._http.close()

    async def pre_accept(
        self,
        phone_number_id: str,
        call_id: str,
        sdp: str,
        *,
        deadline: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        """Let Meta prepare the media path of an inbound call that is about to be accepted.

        Source: Meta, user-initiated calls, pre-accept call.

        Args:
            phone_number_id: The business number that was called.
            call_id: The call.
            sdp: Our answer, complete with its candidates.
            deadline: `loop.time()` after which nothing is tried; without it there is one attempt.
            on_sent: Called once, when the request is on its way or has failed.

        Raises:
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came; Meta may have acted.
        """
        await self._act(
            "pre_accept",
            phone_number_id,
            call_id,
            _session(sdp),
            retry=deadline is not None,
            deadline=deadline,
            on_sent=on_sent,
        )

    async def accept(
        self,
        phone_number_id: str,
        call_id: str,
        sdp: str,
        *,
        deadline: float | None = None,
        biz_opaque_callback_data: str | None = None,
    ) -> None:
        """Accept an inbound call. Sound may flow once this has returned.

        Source: Meta, user-initiated calls, accept call.

        Args:
            phone_number_id: The business number that was called.
            call_id: The call.
            sdp: The very string that was sent with pre-accept.
            deadline: `loop.time()` after which nothing is tried; without it there is one attempt.
            biz_opaque_callback_data: Comes back with the call's end; 512 characters at most.

        Raises:
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came; the call may have been accepted.
        """
        body = _session(sdp)
        if biz_opaque_callback_data is not None:
            body["biz_opaque_callback_data"] = biz_opaque_callback_data
        await self._act(
            "accept",
            phone_number_id,
            call_id,
            body,
            retry=deadline is not None,
            deadline=deadline,
        )

    async def reject(self, phone_number_id: str, call_id: str) -> None:
        """Decline an inbound call that was not accepted. Repeated when Meta cannot be reached.

        Source: Meta, user-initiated calls, reject call.

        Raises:
            GraphRequestError: Meta refused; mostly because the call is over.
            GraphUnreachableError: No answer came; Meta may have acted.
        """
        await self._act("reject", phone_number_id, call_id, retry=True)

    async def terminate(self, phone_number_id: str, call_id: str) -> None:
        """Hang up. Repeated when Meta cannot be reached.

        Source: Meta, user-initiated calls, terminate call.

        Raises:
            GraphRequestError: Meta refused; mostly because the call is over.
            GraphUnreachableError: No answer came; Meta may have acted.
        """
        await self._act("terminate", phone_number_id, call_id, retry=True)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        retry: bool = False,
        deadline: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send a request: the one door to the Graph API.

        Args:
            method: HTTP method.
            path: What follows the version, such as "200000000000002/calls".
            json: The body.
            params: The query.
            retry: Whether the request may be sent again after 429, 5xx or no answer.
            deadline: `loop.time()` after which no attempt starts and at which the last one ends.
            on_sent: Called once, when the request is on its way or has failed.

        Returns:
            Meta's answer; empty when it was not a JSON object.

        Raises:
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came to at least one attempt; Meta may have acted.
        """
        request = Request(method, path, json, params, _once(on_sent))
        pauses = iter(self._retry_pauses if retry else ())
        unanswered = False
        try:
            while True:
                try:
                    seconds = _seconds_left(request, self._request_timeout, deadline)
                    return await self._http.attempt(request, seconds)
                except GraphError as error:
                    pause = _pause(error, pauses, deadline)
                    if pause is None:
                        _raise_last(request, error, unanswered)
                    unanswered |= isinstance(error, GraphUnreachableError)
                    logger.debug("Trying again in {:.1f} s: {}", pause, error)
                await asyncio.sleep(pause)
        finally:
            request.on_sent()

    async def _act(
        self,
        action: str,
        phone_number_id: str,
        call_id: str,
        body: Mapping[str, Any] | None = None,
        *,
        retry: bool,
        deadline: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        if not (phone_number_id.isascii() and phone_number_id.isdigit()):
            raise ConfigError(
                "The request was not sent, because its phone number id is not made of digits: "
                "copy it from WhatsApp > API Setup."
            )
        call = {"messaging_product": "whatsapp", "call_id": call_id, "action": action}
        await self.request(
            "POST",
            f"{phone_number_id}/calls",
            json={**call, **(body or {})},
            retry=retry,
            deadline=deadline,
            on_sent=on_sent,
        )


def _session(sdp: str) -> dict[str, Any]:
    # Meta's tables say "offer" here, but with it no call ever connects.
    return {"session": {"sdp_type": "answer", "sdp": sdp}}


def _seconds_left(request: Request, timeout: float, deadline: float | None) -> float:
    """How long an attempt may take that starts now."""
    if deadline is None:
        return timeout
    left = deadline - asyncio.get_running_loop().time()
    if left <= 0:
        raise GraphUnreachableError(f"{request} was not sent, because its deadline had passed.")
    return min(timeout, left)


def _pause(error: GraphError, pauses: Iterator[float], deadline: float | None) -> float | None:
    """How long to wait before the next attempt; None when there shall be none."""
    pause = next(pauses, None)
    if pause is None or not error.retryable:
        return None
    # Calls that failed together shall not come back together.
    jittered = pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
    pause = max(jittered, min(error.retry_after, MAX_RETRY_AFTER))
    now = asyncio.get_running_loop().time()
    return None if deadline is not None and now + pause >= deadline else pause


def _raise_last(request: Request, error: GraphError, unanswered: bool) -> NoReturn:
    """Raise what the last attempt's error means after all the attempts before it."""
    if not (unanswered and isinstance(error, GraphRequestError)):
        raise error
    raise GraphUnreachableError(
        f"An earlier attempt of {request} got no answer, so Meta may have acted on it; "
        f"then this came: {error}"
    ) from error


def _once(callback: Callable[[], None] | None) -> Callable[[], None]:
    callbacks = [callback] if callback else []

    def call() -> None:
        if callbacks:
            callbacks.pop()()

    return call
