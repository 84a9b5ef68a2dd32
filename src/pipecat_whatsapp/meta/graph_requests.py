"""The door to the Graph API: a request goes out, again where that is allowed, and is answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol, Self

from loguru import logger

from pipecat_whatsapp.errors import GraphError, GraphRequestError, GraphUnreachableError
from pipecat_whatsapp.meta.graph_http import GraphHttp, TokenProvider
from pipecat_whatsapp.meta.request import Request, Upload

MAX_RETRY_AFTER = 5.0
"""Seconds. Meta may ask for more, but a call does not wait that long."""


class SendRequest(Protocol):
    """`GraphRequests.request`, as the parts of the client use it."""

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        upload: Upload | None = None,
        token: str | None = None,
        retry: bool = False,
    ) -> dict[str, Any]:
        """Send a request."""


class GraphRequests:
    """Sends requests to the Graph API, over connections of its own that are kept alive.

    Use it as an async context manager, or call `close` in the end.

    Args:
        http: The connections.
        request_timeout: Seconds that one attempt of a request may take; uploads say their own.
        retry_pauses: Seconds between the attempts of a request that may be repeated.
    """

    def __init__(
        self, http: GraphHttp, *, request_timeout: float, retry_pauses: Sequence[float]
    ) -> None:
        self._http = http
        self._request_timeout = request_timeout
        self._retry_pauses = tuple(retry_pauses)

    @property
    def token(self) -> str | TokenProvider:
        """The access token, or what gives it. A new one counts from the next request on."""
        return self._http.token

    @token.setter
    def token(self, token: str | TokenProvider) -> None:
        self._http.token = token

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._http.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        upload: Upload | None = None,
        token: str | None = None,
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
            upload: A file to send instead of a JSON body.
            token: Another token than the client's, such as an app access token.
            retry: Whether the request may be sent again after 429, 5xx or no answer.
            deadline: `loop.time()` after which no attempt starts and at which the last one ends.
            on_sent: Called once, when the request is on its way or has failed.

        Returns:
            Meta's answer; empty when it was not a JSON object.

        Raises:
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came to at least one attempt; Meta may have acted.
        """
        request = Request(method, path, json, params, _once(on_sent), upload, token)
        pauses = iter(self._retry_pauses if retry else ())
        timeout = upload.seconds if upload else self._request_timeout
        unanswered = False
        try:
            while True:
                try:
                    seconds = _seconds_left(request, timeout, deadline)
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
        f"then this came: {error}",
        refusal=error,
    ) from error


def _once(callback: Callable[[], None] | None) -> Callable[[], None]:
    callbacks = [callback] if callback else []

    def call() -> None:
        if callbacks:
            callbacks.pop()()

    return call
