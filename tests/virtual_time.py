"""An event loop whose time passes only while nothing is to be done, and then at once."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import ParamSpec

P = ParamSpec("P")


_TURN = 1e-9
"""Seconds that a turn of the loop takes: time never stands still."""

_LONGEST = 10_000.0
"""Virtual seconds that a test may take."""


class _Selector(selectors.SelectSelector):
    """Where a loop would wait for its next timer, the clock is put forward instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("nothing will ever happen any more")
            self.now += timeout
        self.now += _TURN
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeps exactly, and in no time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def stall(self, seconds: float) -> None:
        """Let time pass as if something had blocked the loop."""
        self._virtual.now += seconds


def in_virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an asynchronous test on a `VirtualLoop`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def body() -> None:
            async with asyncio.timeout(_LONGEST):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(body())

    return run


def virtual_loop() -> VirtualLoop:
    """The loop of the running test."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
