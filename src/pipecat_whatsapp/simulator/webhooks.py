"""Meta's webhook sender: signed, repeated until HTTP 200, and as unreliable as one wants it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
from loguru import logger

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.simulator.payloads import (
    Json,
    describe,
    envelope,
    reaches_standby,
    serialise,
    signature,
)
from pipecat_whatsapp.simulator.settings import Account, Faults, Timing

SIGNATURE = "X-Hub-Signature-256"


class SubscriptionError(SimulatorError):
    """The business's webhook address did not pass Meta's verification."""


class UnreachableError(SubscriptionError):
    """Nothing answers at the business's webhook address."""


@dataclass(frozen=True)
class Delivery:
    """One try to deliver a webhook.

    Parameters:
        at: When it was sent, monotonic seconds.
        kind: What it told: "connect", "terminate", "ringing", else the webhook field; several
            joined with "+" for a batch; "raw" for bytes that were sent as given.
        call_id: The call concerned, if it is exactly one.
        attempt: 1 for the first try of a webhook, and of each duplicate; 0 for a webhook that
            was never sent: it was to be lost, nobody had subscribed, or the simulator ended.
        status: HTTP status of the answer; None when none came in time.
        url: Where it was sent; empty when it was not.
        took: Seconds until it was answered, or given up.
        signature: Its `X-Hub-Signature-256`; empty when it was not signed, or not sent.
        body: What was sent.
    """

    at: float
    kind: str
    call_id: str | None
    attempt: int
    status: int | None
    url: str = ""
    took: float = 0.0
    signature: str = ""
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class _Webhook:
    kind: str
    call_id: str | None
    changes: tuple[Json, ...]

    def undelivered(self) -> Delivery:
        return Delivery(time.monotonic(), self.kind, self.call_id, attempt=0, status=None)

    @property
    def field(self) -> str:
        return str(self.changes[0]["field"]) if self.changes else "calls"

    @classmethod
    def merge(cls, webhooks: Sequence[_Webhook]) -> _Webhook:
        call_ids = {webhook.call_id for webhook in webhooks}
        return cls(
            kind="+".join(webhook.kind for webhook in webhooks),
            call_id=call_ids.pop() if len(call_ids) == 1 else None,
            changes=tuple(change for webhook in webhooks for change in webhook.changes),
        )


_Held = tuple[_Webhook, asyncio.Future[Delivery]]


class WebhookSender:
    """Sends webhooks to where they are subscribed, in tasks of its own.

    Webhooks of one call go out in the order in which they came up: each waits until the one
    before has been tried once. Repeats of a failed one do not hold back the next. `Faults`
    change all of it.

    Args:
        account: Whose secret signs.
        timing: Time-out and retry delays.
        faults: Losses, duplicates, delays and holding; read when a webhook comes up or is released.
        address: Gives the URL for the webhooks of a field; None for nowhere.
        on_delivery: Awaited after each try.
    """

    def __init__(
        self,
        account: Account,
        timing: Timing,
        faults: Faults,
        *,
        address: Callable[[str], str | None],
        on_delivery: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        self._account = account
        self._timing = timing
        self._faults = faults
        self._address = address
        self._on_delivery = on_delivery
        self._client: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[Delivery]] = set()
        self._held: list[_Held] = []
        self._turns: defaultdict[str | None, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self) -> None:
        """Open the HTTP client."""
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self._timing.webhook_timeout),
        )

    async def close(self) -> None:
        """Give up all deliveries and close the HTTP client."""
        client, self._client = self._client, None
        _settle(self._held, None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if client is not None:
            await client.close()

    async def verify(self, url: str, token: str) -> None:
        """Ask a webhook address whether it wants webhooks (Meta: webhooks, verification).

        Args:
            url: The address.
            token: The business's verification token.

        Raises:
            UnreachableError: Nothing answers there.
            SubscriptionError: The answer was not 200 with the challenge as its whole body.
        """
        # A leading zero shows whether the business echoes the challenge or parses it.
        challenge = f"0{secrets.randbelow(10**9):09}"
        status, body = await self._challenge(url, challenge, token)
        if status != 200:
            raise SubscriptionError(f"The webhook answered the verification with HTTP {status}.")
        if body != challenge.encode():
            raise SubscriptionError("The webhook did not answer with the challenge as it was sent.")

    def send(self, field: str, value: Json) -> asyncio.Future[Delivery]:
        """Sign and deliver a change in the background, or keep or lose it if faults say so.

        Returns:
            The last try, once it is done or given up. Need not be awaited.
        """
        kind, call_id = describe(field, value)
        webhook = _Webhook(kind, call_id, ({"field": field, "value": value},))
        item = webhook, asyncio.get_running_loop().create_future()
        if self._client is None or self._is_lost(webhook):
            _settle([item], None)
        elif self._faults.holding:
            self._held.append(item)
        else:
            self._start([item])
        return item[1]

    async def send_raw(self, body: bytes, headers: Mapping[str, str]) -> Delivery:
        """Post bytes once, as they are and unsigned, to where webhooks about calls go."""
        return await self._post(_Webhook("raw", None, ()), body, headers, attempt=1)

    async def release(self, *, batch: bool = False, reverse: bool = False) -> list[Delivery]:
        """Deliver what was held, and hold no longer.

        Args:
            batch: All of it as the changes of one POST.
            reverse: Youngest first.

        Returns:
            The last try of each POST.
        """
        self._faults.holding = False
        held, self._held = self._held, []
        if reverse:
            held.reverse()
        groups = [held] if batch and held else [[item] for item in held]
        return await asyncio.gather(*map(self._start, groups))

    def _is_lost(self, webhook: _Webhook) -> bool:
        if self._address(webhook.field) is None:
            return True
        if self._faults.standby and not all(map(reaches_standby, webhook.changes)):
            return True
        return self._faults.loses(webhook.kind)

    def _start(self, group: Sequence[_Held]) -> asyncio.Task[Delivery]:
        def done(task: asyncio.Task[Delivery]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                logger.opt(exception=error).error(f"{webhook.kind} webhook: delivery broke down")
            _settle(group, None if task.cancelled() or error else task.result())

        webhook = _Webhook.merge([webhook for webhook, _ in group])
        copies = 1 + self._faults.duplicate
        delay = self._faults.delay + self._faults.late.get(webhook.kind, 0.0)
        task = asyncio.create_task(self._deliver(webhook, copies=copies, delay=delay))
        self._tasks.add(task)
        task.add_done_callback(done)
        return task

    async def _deliver(self, webhook: _Webhook, *, copies: int, delay: float) -> Delivery:
        body = serialise(envelope(self._account, webhook.changes))
        await asyncio.sleep(delay)
        async with self._turns[webhook.call_id]:
            tries = [self._try(webhook, body, attempt=1) for _ in range(copies)]
            firsts = await asyncio.gather(*tries)
        lasts = await asyncio.gather(*(self._repeat(webhook, body, first) for first in firsts))
        return lasts[0]

    async def _repeat(self, webhook: _Webhook, body: bytes, delivery: Delivery) -> Delivery:
        for delay in self._timing.retry_delays:
            if delivery.status == 200:
                return delivery
            await asyncio.sleep(delay)
            delivery = await self._try(webhook, body, attempt=delivery.attempt + 1)
        if delivery.status != 200:
            logger.warning(f"{webhook.call_id}: gave up delivering the {webhook.kind} webhook")
        return delivery

    async def _try(self, webhook: _Webhook, body: bytes, *, attempt: int) -> Delivery:
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: signature(body, self._account.app_secret),
        }
        return await self._post(webhook, body, headers, attempt=attempt)

    async def _post(
        self, webhook: _Webhook, body: bytes, headers: Mapping[str, str], *, attempt: int
    ) -> Delivery:
        url, client = self._address(webhook.field), self._open_client()
        at = time.monotonic()
        status: int | None = None
        if url is None:
            return webhook.undelivered()
        try:
            async with client.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.debug(f"{webhook.call_id}: {webhook.kind} webhook: {type(error).__name__}")
        delivery = Delivery(
            at,
            webhook.kind,
            webhook.call_id,
            attempt,
            status,
            url,
            took=time.monotonic() - at,
            signature=headers.get(SIGNATURE, ""),
            body=body,
        )
        await self._on_delivery(delivery)
        return delivery

    async def _challenge(self, url: str, challenge: str, token: str) -> tuple[int, bytes]:
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": challenge,
            "hub.verify_token": token,
        }
        try:
            async with self._open_client().get(
                url, params=query, allow_redirects=False
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            # aiohttp's own words can hold the whole address, and the verification token in it.
            why = type(error).__name__
            raise UnreachableError(f"The webhook could not be reached: {why}") from None

    def _open_client(self) -> aiohttp.ClientSession:
        if self._client is None:
            raise RuntimeError("The simulator is not running: call start() first.")
        return self._client


def _settle(group: Sequence[_Held], delivery: Delivery | None) -> None:
    # Whoever waits for a webhook must not be cancelled along with the simulator.
    for webhook, future in group:
        if not future.done():
            future.set_result(delivery or webhook.undelivered())
