"""The callers of a soak, who call again and again, and the looks at the server meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from callers import LeanCall, forever
from echo_quality import judge
from production import RedisServer, Server, Usage
from soak_records import Heard, Sample
from sounds import encode, speech

SHORTEST, LONGEST = 20.0, 60.0
"""Seconds that a caller stays."""

BETWEEN_CALLS = 1.0
"""Seconds until somebody calls again."""

LEAST = 5.0
"""Seconds from which a call is long enough to be judged."""

PATIENCE = 10.0
"""Seconds in which a server without calls puts everything away."""

START_SECONDS = 6.0
"""Seconds until a server that has just started is as quick as it will be."""


@dataclass
class Soak:
    """A run.

    Parameters:
        server: The server.
        redis: Its Redis.
        samples: The server's processes, over time.
        calls: The calls that were heard to their ends.
        failed: How many calls ended otherwise, by what happened.
        running: How many calls there are now.
        began: When, monotonic s.
        seen: All processes of the server that there were.
        ending: No further calls.
    """

    server: Server
    redis: RedisServer
    samples: list[Sample] = field(default_factory=list)
    calls: list[Heard] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    running: int = 0
    began: float = field(default_factory=time.monotonic)
    seen: set[int] = field(default_factory=set)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, idle: Sample) -> None:
        """Begin the run.

        Args:
            idle: The server before the first call.
        """
        self.samples.append(replace(idle, at=0.0))
        self.began = time.monotonic()

    def look(self) -> Sample:
        """Take a sample, which is not kept.

        Raises:
            OSError: A process has ended meanwhile.
        """
        processes = self.server.processes
        self.seen.update(processes)
        usage = Usage.of(*processes)
        now = time.monotonic() - self.began
        load = 0.0
        if self.samples:
            last = self.samples[-1]
            load = (usage.cpu - last.server.cpu) / (now - last.at)
        return Sample(now, usage, Usage.of(self.redis.pid), self.running, load)


async def warm_up(soak: Soak, calls: int) -> None:
    """Call some times, one call at each time."""
    await asyncio.sleep(START_SECONDS)
    for _ in range(calls):
        call = await LeanCall.dial(soak.server.meta, forever(encode(speech())))
        await call.heard()
        await call.hang_up()


async def at_rest(soak: Soak) -> Sample:
    """The server when it has put away what calls have left."""
    await asyncio.sleep(PATIENCE)
    return soak.look()


@dataclass(frozen=True)
class Callers:
    """Who calls.

    Parameters:
        count: How many.
        seed: Of the lengths of their calls.
    """

    count: int
    seed: int


async def churn(
    soak: Soak, judges: ProcessPoolExecutor, callers: Callers, *, seconds: float, every: float
) -> None:
    """Let callers call again and again, and take samples, until the time is over.

    Args:
        soak: The run.
        judges: Processes that judge calls.
        callers: Who calls.
        seconds: How long.
        every: Seconds between two samples.
    """
    timer = asyncio.get_running_loop().call_later(seconds, soak.ending.set)
    talk = encode(speech())
    async with asyncio.TaskGroup() as group:
        for i in range(callers.count):
            draw = random.Random(f"{callers.seed} {i}")  # noqa: S311 - repeatable, not secret
            caller = Caller(soak, judges, talk, draw, i / callers.count)
            group.create_task(caller.run())
        group.create_task(_sample(soak, every))
    timer.cancel()


async def _sample(soak: Soak, every: float) -> None:
    while not await _ends_within(soak, every):
        with suppress(OSError):
            soak.samples.append(soak.look())


async def _ends_within(soak: Soak, seconds: float) -> bool:
    """Wait so long, or until the end of the run, and say which it was."""
    with suppress(TimeoutError):
        await asyncio.wait_for(soak.ending.wait(), seconds)
    return soak.ending.is_set()


@dataclass
class Caller:
    """Somebody who calls again and again.

    Parameters:
        soak: The run.
        judges: Processes that judge calls.
        talk: What is said, again and again, Opus.
        draw: Draws how long each call is.
        phase: Where among the callers this one is, 0 to 1.
    """

    soak: Soak
    judges: ProcessPoolExecutor
    talk: Sequence[bytes]
    draw: random.Random
    phase: float

    async def run(self) -> None:
        """Call until the run ends."""
        if await _ends_within(self.soak, self.phase * SHORTEST):
            return
        async with asyncio.TaskGroup() as judging:
            while True:
                try:
                    call, rung = await self._call()
                except (ConnectionError, TimeoutError) as error:
                    self.soak.failed[str(error) or "no answer"] += 1
                else:
                    # It takes a moment, in which the next call may begin.
                    judging.create_task(self._judge(call, rung))
                if await _ends_within(self.soak, BETWEEN_CALLS):
                    return

    async def _call(self) -> tuple[LeanCall, float]:
        """Place a call, stay, and hang up; returns also when it rang, monotonic s."""
        rung = time.monotonic()
        call = await LeanCall.dial(self.soak.server.meta, forever(self.talk), phase=self.phase)
        self.soak.running += 1
        try:
            await call.heard()
            await self._stay(call, self.draw.uniform(SHORTEST, LONGEST))
        finally:
            self.soak.running -= 1
            await call.hang_up()
        return call, rung

    async def _stay(self, call: LeanCall, seconds: float) -> None:
        """Speak and listen; `ConnectionError` when the call ends first."""
        saying = asyncio.create_task(call.said())
        ending = asyncio.create_task(self.soak.ending.wait())
        done, pending = await asyncio.wait(
            {saying, ending}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in pending:
            task.cancel()
        if saying in done:
            saying.result()

    async def _judge(self, call: LeanCall, rung: float) -> None:
        """Judge a call elsewhere, and keep nothing else of it: the simulated Meta keeps the leg."""
        ended = time.monotonic()
        sent, received = call.sent, call.received
        call.sent, call.received = [], []
        if call.accepted_at is None or ended - call.accepted_at < LEAST:
            return
        loop = asyncio.get_running_loop()
        quality = await loop.run_in_executor(self.judges, judge, sent, received)
        self.soak.calls.append(
            Heard(
                at=call.accepted_at - self.soak.began,
                seconds=ended - call.accepted_at,
                ringing=1000 * (call.accepted_at - rung),
                first_sound=1000 * (quality.first_sound - call.accepted_at),
                quality=quality,
                lateness=1000 * call.lateness,
            )
        )
