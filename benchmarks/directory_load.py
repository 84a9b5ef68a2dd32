"""What the calls and the processes of a deployment cost Redis.

The calls: each is claimed by one process, its end reaches another, which writes to the owner, and
the owner reads the letter and buries the call: what a call costs at the most. They come at even
intervals, whether or not those before are done.

The processes: each tells of itself once a second, renews the claims of its running calls, and
hears of all others.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis_meter import Meter, Spent
from report import percentile

from pipecat_whatsapp.calls.directory import Delivery, Holding, Standing
from pipecat_whatsapp.calls.letters import Forwarded, seal
from pipecat_whatsapp.calls.redis import RedisDirectory
from pipecat_whatsapp.meta.events import Direction
from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.payloads import CallFacts, envelope, serialise, terminate
from pipecat_whatsapp.simulator.phone import ADA

STEPS = ("claim", "relay", "bury")
"""Until the call is ours; from the letter's writing to its reading; until it is remembered."""

PATIENCE = 10.0
"""Seconds for what is still under way when no further calls come."""

_ACCOUNT = Account()
_HOLDING = Holding(_ACCOUNT.phone_number_id, Direction.INBOUND)


@dataclass(frozen=True)
class CallCosts:
    """What calls cost.

    Parameters:
        rate: How many came a second.
        calls: How many came.
        done: How many were buried in the end.
        spent: What all of them cost.
        times: How long each of `STEPS` took, ms, of every call.
    """

    rate: float
    calls: int
    done: int
    spent: Spent
    times: dict[str, list[float]]

    def row(self) -> dict[str, Any]:
        """The figures for programs; of one call where nothing else is said."""
        calls, spent = self.done, self.spent
        return {
            "calls_per_s": self.rate,
            "calls": self.calls,
            "done": calls,
            "redis_cpu_us": round(1e6 * spent.redis_cpu / calls, 1),
            "client_cpu_us": round(1e6 * spent.client_cpu / calls, 1),
            "requests": round(spent.requests / calls, 2),
            "commands": round(spent.commands / calls, 2),
            "bytes": round(spent.octets / calls),
            "kept_bytes": round(spent.memory / calls),
        } | {
            f"{step}_ms": {"p50": round(percentile(t, 50), 2), "p99": round(percentile(t, 99), 2)}
            for step, t in self.times.items()
        }


class _Relay:
    """Two processes of one deployment, and the calls that go through them.

    Args:
        owner: Claims the calls.
        other: Gets the webhooks of their ends.
    """

    def __init__(self, owner: RedisDirectory, other: RedisDirectory) -> None:
        self.times: dict[str, list[float]] = {step: [] for step in STEPS}
        self._owner = owner
        self._other = other
        self._sent: dict[str, float] = {}
        self._letter = _terminate_letter()

    async def call(self) -> None:
        """A call begins, and its end comes to the wrong process."""
        call_id = f"wacid.{secrets.token_hex(16)}"
        began = time.perf_counter()
        await self._owner.claim(call_id, _HOLDING)
        self._note("claim", began)
        self._sent[call_id] = time.perf_counter()
        await self._other.deliver(
            call_id, None, f"{call_id} {self._letter}", otherwise=Delivery.BURIED
        )

    async def read(self) -> None:
        """Read the letters, and bury the calls."""
        async with asyncio.TaskGroup() as burials:
            while True:
                letters = await self._owner.receive()
                for letter in letters:
                    call_id = letter.text.partition(" ")[0]
                    self._note("relay", self._sent.pop(call_id))
                    burials.create_task(self._bury(call_id))
                await self._owner.done(letters)

    async def _bury(self, call_id: str) -> None:
        began = time.perf_counter()
        await self._owner.bury(call_id)
        self._note("bury", began)

    def _note(self, step: str, began: float) -> None:
        self.times[step].append(1000 * (time.perf_counter() - began))

    @property
    def done(self) -> int:
        """How many calls are over."""
        return len(self.times["bury"])


async def measure_calls(url: str, rate: float, seconds: float) -> CallCosts:
    """Let calls come.

    Args:
        url: The Redis.
        rate: How many come a second.
        seconds: For how long.
    """
    async with _members(url, 2) as (owner, other), Redis.from_url(url) as client:
        relay = _Relay(owner, other)
        reading = asyncio.create_task(relay.read())
        try:
            await relay.call()
            await _until_done(relay, 1)
            relay.times = {step: [] for step in STEPS}
            meter = await Meter.start(client)
            calls = max(1, round(rate * seconds))
            await _come(relay, calls, rate)
            await _until_done(relay, calls)
            return CallCosts(rate, calls, relay.done, await meter.spent(), relay.times)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _come(relay: _Relay, calls: int, rate: float) -> None:
    """Let calls begin at even intervals."""
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for i in range(calls):
            await asyncio.sleep(max(0.0, start + i / rate - time.perf_counter()))
            group.create_task(relay.call())


async def _until_done(relay: _Relay, calls: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while relay.done < calls:  # noqa: ASYNC110 - a look now and then costs less than an event
            await asyncio.sleep(0.05)


@dataclass(frozen=True)
class BeatCosts:
    """What processes with running calls cost.

    Parameters:
        processes: How many there are.
        calls: How many calls each of them has.
        seconds: How long they were watched.
        spent: What all of them cost.
        times: How long each beat took, ms.
    """

    processes: int
    calls: int
    seconds: float
    spent: Spent
    times: list[float]

    def row(self) -> dict[str, Any]:
        """The figures for programs; of one second, all processes together."""
        return {
            "processes": self.processes,
            "calls_each": self.calls,
            "redis_cpu": round(self.spent.redis_cpu / self.seconds, 5),
            "client_cpu": round(self.spent.client_cpu / self.seconds, 5),
            "commands": round(self.spent.commands / self.seconds, 1),
            "bytes": round(self.spent.octets / self.seconds),
            "beat_ms": {
                "p50": round(percentile(self.times, 50), 2),
                "p99": round(percentile(self.times, 99), 2),
            },
        }


async def measure_beats(url: str, processes: int, calls: int, seconds: float) -> BeatCosts:
    """Let processes live, each with so many calls; once a second they tell of themselves."""
    times: list[float] = []
    async with _members(url, processes) as members, Redis.from_url(url) as client:
        tasks = [
            asyncio.create_task(_live(member, calls, i / processes, times))
            for i, member in enumerate(members)
        ]
        try:
            # From the second beat on all know of all.
            await asyncio.sleep(2)
            times.clear()
            meter, began = await Meter.start(client), time.perf_counter()
            await asyncio.sleep(seconds)
            spent, elapsed = await meter.spent(), time.perf_counter() - began
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return BeatCosts(processes, calls, elapsed, spent, times)


async def _live(member: RedisDirectory, calls: int, phase: float, times: list[float]) -> None:
    held = {f"wacid.{secrets.token_hex(16)}": _HOLDING for _ in range(calls)}
    standing = Standing(calls=calls, room=None, host=member.node)
    await asyncio.sleep(phase)
    while True:
        began = time.perf_counter()
        await member.beat(standing, held)
        times.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(1 - (time.perf_counter() - began))


@asynccontextmanager
async def _members(url: str, count: int) -> AsyncIterator[list[RedisDirectory]]:
    """Some processes of a deployment of its own, in a Redis that grants claims."""
    prefix = secrets.token_hex(4)
    members = [
        RedisDirectory.from_url(url, node=f"node-{secrets.token_hex(4)}", prefix=prefix)
        for _ in range(count)
    ]
    try:
        for member in members:
            await member.beat(Standing(), {})
        yield members
    finally:
        for member in members:
            await member.leave()
            await member.close()


def _terminate_letter() -> str:
    """What a process writes when a call's end comes to it."""
    facts = CallFacts(f"wacid.{secrets.token_hex(16)}", ADA, Direction.INBOUND)
    now = int(time.time())
    value = terminate(_ACCOUNT, facts, timestamp=now, start_time=now - 60, error=None)
    body = serialise(envelope(_ACCOUNT, [{"field": "calls", "value": value}]))
    return seal(Forwarded(body), _ACCOUNT.app_secret)
