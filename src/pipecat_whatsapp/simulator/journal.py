"""What a simulated WhatsApp received and sent, kept to be read and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from loguru import logger

from pipecat_whatsapp.simulator.question import GraphRequest
from pipecat_whatsapp.simulator.webhooks import Delivery

Watcher = Callable[[GraphRequest | Delivery], None]
"""Is told of a request or a delivery."""

_Record = TypeVar("_Record", GraphRequest, Delivery)


class Journal:
    """Requests and deliveries in the order in which they were done.

    Attributes:
        requests: Every request so far.
        deliveries: Every try to deliver a webhook so far.
    """

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []
        self.requests: list[GraphRequest] = []
        self.deliveries: list[Delivery] = []
        self._changed = asyncio.Condition()

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Have each request and each delivery told when it is done.

        Returns:
            Ends it. Safe to repeat.
        """
        self._watchers.append(watcher)

        def unwatch() -> None:
            with suppress(ValueError):
                self._watchers.remove(watcher)

        return unwatch

    async def note_request(self, request: GraphRequest) -> None:
        """Keep a request that was answered, or never will be."""
        answer = "nothing" if request.status is None else request.status
        about = request.call_id or request.path
        logger.debug(f"{about}: Graph answers {request.action!r} with {answer}")
        self._tell(request)
        self.requests.append(request)
        await self._wake()

    async def note_delivery(self, delivery: Delivery) -> None:
        """Keep a finished try to deliver a webhook."""
        answer = "nothing" if delivery.status is None else delivery.status
        about = delivery.call_id or "no call"
        logger.debug(f"{about}: {delivery.kind} webhook answered with {answer}")
        self._tell(delivery)
        self.deliveries.append(delivery)
        await self._wake()

    async def wait_request(
        self,
        action: str,
        call_id: str | None = None,
        *,
        count: int = 1,
        timeout: float = 10.0,  # noqa: ASYNC109 - the tests' own patience
    ) -> GraphRequest:
        """The first request for an action, past or to come, whatever became of it.

        Args:
            action: Such as "accept".
            call_id: The call; any by default.
            count: 2 for the second such request, and so on.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: It did not come.
        """

        def matches(request: GraphRequest) -> bool:
            return request.action == action and call_id in (None, request.call_id)

        return await self._wait(self.requests, matches, count, timeout)

    async def wait_delivery(
        self,
        kind: str,
        call_id: str | None = None,
        *,
        count: int = 1,
        timeout: float = 10.0,  # noqa: ASYNC109 - the tests' own patience
    ) -> Delivery:
        """The first finished try to deliver a webhook, past or to come.

        Args:
            kind: Such as "terminate".
            call_id: The call; any by default.
            count: 2 for the second such try, and so on.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: It did not come.
        """

        def matches(delivery: Delivery) -> bool:
            return delivery.kind == kind and call_id in (None, delivery.call_id)

        return await self._wait(self.deliveries, matches, count, timeout)

    def _tell(self, record: GraphRequest | Delivery) -> None:
        for watcher in tuple(self._watchers):
            watcher(record)

    async def _wait(
        self,
        records: Sequence[_Record],
        matches: Callable[[_Record], bool],
        count: int,
        patience: float,
    ) -> _Record:
        def found() -> list[_Record]:
            return list(islice(filter(matches, records), count - 1, count))

        async with asyncio.timeout(patience), self._changed:
            return (await self._changed.wait_for(found))[0]

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()
