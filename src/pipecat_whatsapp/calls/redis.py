"""The directory over Redis: several processes, on one machine or many.

Needs the extra `redis`. Redis 6.2 or newer, standalone, with Sentinel, or as a cluster; what it
stores is small and expires, so persistence is not needed.

Letters are signed with the app secret, so nobody without it can forge one. Nothing is encrypted,
and nothing else is signed:

- Who can write to this Redis can end calls, can keep processes from taking any, and can swallow
  those that are handed on, by telling of a process with room that is not there.
- Who can read it sees users' phone numbers and session descriptions with their ICE passwords: in
  letters, until they are done, and at most 60 s while they wait for a call's owner. And it sees
  callback data in the names of keys, as long as a call that is being placed has no id.

So use TLS (`rediss://`), and give each deployment a user of its own, with these rules, where
{prefix} is the prefix in braces::

    ~{prefix}:* -@all +@read +@write +@scripting +@connection +time -@dangerous
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, cast

from pipecat_whatsapp.calls import redis_scripts
from pipecat_whatsapp.calls.directory import (
    MAX_PARKED,
    PARK_SECONDS,
    TOMBSTONE_SECONDS,
    Claim,
    Delivery,
    Holding,
    Letter,
    News,
    Peer,
    Standing,
    is_alias,
)
from pipecat_whatsapp.calls.redis_client import (
    ANSWER_SECONDS,
    MAX_CONNECTIONS,
    WAIT_SECONDS,
    Client,
    answers,
    client_at,
)
from pipecat_whatsapp.calls.redis_records import (
    flat,
    holdings_of,
    letters_of,
    pairs,
    peer_of,
    written,
)
from pipecat_whatsapp.errors import ConfigError

BEAT_ANSWER_SECONDS = 4.0
"""How long Redis may take to answer a beat. No call waits for it, and a process that is busy must
not seem dead."""

KEEP_SECONDS = 120.0
"""How long a claim stands that its owner does not renew."""

SETTLE_SECONDS = 2.5
"""How long a Redis that knows nothing of the deployment grants no claim. Until then every process
has told it, once a second, of the calls that run: none of them is answered twice."""

MAX_LETTERS = 10_000
"""Letters kept in an inbox."""

_START = "0-0"

_KEEP_MS = round(KEEP_SECONDS * 1000)

_PREFIX = re.compile(r"[\w.-]+", re.ASCII)


class RedisDirectory:
    """A `CallDirectory` in Redis.

    Args:
        client: A client of redis-py that decodes answers; it is closed with the directory.
        node: The name of this process, which no process had before.
        prefix: What all keys begin with: one Redis serves several deployments.
        tombstone_seconds: How long an ended call is remembered.
        settle_seconds: How long an empty Redis grants no claim.

    Raises:
        ConfigError: The prefix cannot be used.
    """

    def __init__(
        self,
        client: Client,
        *,
        node: str,
        prefix: str = "whatsapp",
        tombstone_seconds: float = TOMBSTONE_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ConfigError(
                "The prefix of keys in Redis cannot be used: "
                "take letters, digits, dots, dashes and underscores."
            )
        self._client = client
        self._node = node
        self._tag = f"{{{prefix}}}"
        self._tombstone_ms = round(tombstone_seconds * 1000)
        self._settle_ms = round(settle_seconds * 1000)
        self._read_to = _START
        # Of redis-py's pools, those for Sentinel and for a cluster fail where others wait. One
        # connection is for the inbox.
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS - 1)

    @classmethod
    def from_url(cls, url: str, *, node: str, prefix: str = "whatsapp") -> RedisDirectory:
        """Use the Redis at an address.

        Args:
            url: Such as "redis://host:6379/0", "rediss://user:password@host" or "unix://path".
            node: The name of this process, which no process had before.
            prefix: What all keys begin with.

        Raises:
            ConfigError: The address or the prefix cannot be used.
        """
        return cls(client_at(url), node=node, prefix=prefix)

    @property
    def node(self) -> str:
        """The name of this process."""
        return self._node

    async def claim(self, call_id: str, holding: Holding) -> Claim:
        """Take a call; see `CallDirectory`."""
        keys = [self._call(call_id), self._calls(), self._parked(call_id), self._key("since")]
        arguments = [self._node, written(holding), _KEEP_MS, self._settle_ms]
        while True:
            word, *rest = await self._run(redis_scripts.CLAIM, keys, arguments)
            if word != "settling":
                if rest:
                    await self._unpark([call_id])
                return Claim(word == "ours", tuple(rest))
            await asyncio.sleep(int(rest[0]) / 1000)

    async def release(self, call_id: str) -> None:
        """Give a call back, as if it had never been claimed here."""
        keys = [self._call(call_id), self._calls()]
        await self._run(redis_scripts.RELEASE, keys, [self._node])

    async def seize(self, call_id: str, holding: Holding) -> None:
        """Take a call whoever has it; not if it is over."""
        arguments = [self._node, written(holding), _KEEP_MS, self._key("calls:")]
        await self._run(redis_scripts.SEIZE, [self._call(call_id), self._calls()], arguments)

    async def bury(self, call_id: str) -> None:
        """Mark a call as ended; does nothing when another process has it."""
        keys = [self._call(call_id), self._calls(), self._parked(call_id)]
        await self._run(redis_scripts.BURY, keys, [self._node, self._tombstone_ms])

    async def first(self, token: str, seconds: float) -> bool:
        """Whether a token is used for the first time within so many seconds."""
        async with self._asking(ANSWER_SECONDS):
            key = self._key("once:" + token)
            return bool(await self._client.set(key, "1", nx=True, px=round(seconds * 1000)))

    async def beat(self, standing: Standing, calls: Mapping[str, Holding]) -> News:
        """Say that this process lives, and renew its claims."""
        keys = [self._key("nodes"), self._calls(), self._key("since"), self._inbox()]
        told = json.dumps(asdict(standing))
        nodes, lost, parked, unnamed, now = await self._run(
            redis_scripts.BEAT,
            [*keys, *map(self._call, calls)],
            [self._node, told, _KEEP_MS, self._key("call:"), *map(written, calls.values())],
            BEAT_ANSWER_SECONDS,
        )
        await self._unpark({call_id for call_id, _ in pairs(parked)})
        peers = (peer_of(name, told, now) for name, told in pairs(nodes))
        return News(
            tuple(peer for peer in peers if peer is not None),
            {call_id: owner or None for call_id, owner in pairs(lost)},
            tuple(letter for _, letter in pairs(parked)),
            holdings_of((name, told) for name, told in pairs(unnamed) if not is_alias(name)),
        )

    async def deliver(
        self, call_id: str, alias: str | None, text: str, *, otherwise: Delivery
    ) -> Delivery:
        """Send a letter to the owner of a call."""
        call = self._call(call_id)
        other = call if alias is None else self._call(alias)
        told = await self._run(
            redis_scripts.DELIVER,
            [call, other, self._parked(call_id)],
            [
                self._node,
                text,
                otherwise.value,
                self._tombstone_ms,
                round(PARK_SECONDS * 1000),
                MAX_PARKED,
                self._key("inbox:"),
                MAX_LETTERS,
                _KEEP_MS,
            ],
        )
        return Delivery(told)

    async def send(self, node: str, text: str) -> bool:
        """Send a letter to a process. Returns whether there is such a process."""
        keys = [self._key("nodes"), self._inbox(node)]
        return bool(await self._run(redis_scripts.SEND, keys, [node, text, MAX_LETTERS, _KEEP_MS]))

    async def receive(self) -> list[Letter]:
        """Wait, a while, for letters. Each comes again until it is `done`."""
        inboxes: dict[Any, Any] = {self._inbox(): self._read_to}
        async with answers(self._client, WAIT_SECONDS + ANSWER_SECONDS):
            answer: Any = await self._client.xread(
                inboxes, count=100, block=round(WAIT_SECONDS * 1000)
            )
        streams = answer.items() if isinstance(answer, dict) else answer or ()
        letters = [letter for _, entries in streams for letter in letters_of(flat(entries))]
        # After a while without news from the start again: something may not have been done, and a
        # Redis that has lost its memory may number letters lower than before.
        self._read_to = letters[-1].id if letters else _START
        return letters

    async def done(self, letters: list[Letter]) -> None:
        """Letters have been dealt with."""
        if letters:
            async with self._asking(ANSWER_SECONDS):
                await self._client.xdel(self._inbox(), *(letter.id for letter in letters))

    async def take_over(self, peer: Peer) -> Mapping[str, Holding]:
        """Take over what a dead process has left: its calls and its letters."""
        taken = await self._run(
            redis_scripts.TAKE_OVER,
            [
                self._key("nodes"),
                self._calls(peer.name),
                self._inbox(peer.name),
                self._calls(),
                self._inbox(),
            ],
            [peer.name, peer.beats, self._node, _KEEP_MS, self._key("call:")],
        )
        return holdings_of(pairs(taken))

    async def leave(self) -> list[Letter]:
        """This process takes no letter any more. Returns what it has not read."""
        keys = [self._key("nodes"), self._inbox(), self._calls()]
        return letters_of(await self._run(redis_scripts.LEAVE, keys, [self._node]))

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._client.aclose()

    async def _run(
        self,
        script: str,
        keys: list[str],
        arguments: list[Any],
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        async with self._asking(seconds):
            # `Script` sends a digest, and the script itself only to a server that lacks it.
            run = cast(Any, self._client.register_script(script))
            return await cast(Awaitable[Any], run(keys=keys, args=arguments))

    async def _unpark(self, call_ids: Iterable[str]) -> None:
        """Remove letters once they are here. If that fails, the next beat brings them again."""
        if keys := list(map(self._parked, call_ids)):
            async with self._asking(ANSWER_SECONDS):
                await self._client.delete(*keys)

    @asynccontextmanager
    async def _asking(self, seconds: float) -> AsyncIterator[None]:
        async with answers(self._client, seconds), self._turns:
            yield

    def _key(self, rest: str) -> str:
        return f"{self._tag}:{rest}"

    def _call(self, call_id: str) -> str:
        return self._key("call:" + call_id)

    def _parked(self, call_id: str) -> str:
        return self._key("parked:" + call_id)

    def _calls(self, node: str | None = None) -> str:
        return self._key("calls:" + (node or self._node))

    def _inbox(self, node: str | None = None) -> str:
        return self._key("inbox:" + (node or self._node))
