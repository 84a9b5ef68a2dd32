"""What a simulated WhatsApp received and sent, kept to be read and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from loguru import logger

from pipecat_whatsapp.simulator.requests import GraphRequest
from pipecat_whatsapp.simulator.webhooks import Delivery

_Record = TypeVar("_Record", GraphRequest, Delivery)


class Journal:
    """Requests and deliveries in the order in which they were done."""

    def __init__(self) -> None:
        self.requests: list[GraphRequest] = []
        self.deliveries: list[Delivery] = []
        self._changed = asyncio.Condition()

    async def note_request(self, request: GraphRequest) -> None:
        """Keep a request that was answered, or never will be."""
        answer = "nothing" if request.status is None else request.status
        logger.debug(f"{request.call_id}: Graph answers {request.action!r} with {answer}")
        self.requests.append(request)
        await self._wake()

    async def note_delivery(self, delivery: Delivery) -> None:
        """Keep a finished try to deliver a webhook."""
        answer = "nothing" if delivery.status is None else delivery.status
        logger.debug(f"{delivery.call_id}: {delivery.kind} webhook answered with {answer}")
        self.deliveries.append(delivery)
        await self._wake()

    async def wait_request(
        self, action: str, call_id: str | None, count: int, patience: float
    ) -> GraphRequest:
        """The `count`-th request for an action, past or to come; `patience` is in seconds.

        Raises:
            TimeoutError: It did not come.
        """

        def matches(request: GraphRequest) -> bool:
            return request.action == action and call_id in (None, request.call_id)

        return await self._wait(self.requests, matches, count, patience)

    async def wait_delivery(
        self, kind: str, call_id: str | None, count: int, patience: float
    ) -> Delivery:
        """The `count`-th finished try of a webhook, past or to come; `patience` is in seconds.

        Raises:
            TimeoutError: It did not come.
        """

        def matches(delivery: Delivery) -> bool:
            return delivery.kind == kind and call_id in (None, delivery.call_id)

        return await self._wait(self.deliveries, matches, count, patience)

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
