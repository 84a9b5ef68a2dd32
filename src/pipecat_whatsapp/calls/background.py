"""Tasks that somebody watches over."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from loguru import logger


class Background:
    """Runs coroutines as tasks; what one raises is logged.

    Args:
        failure: What the log says then.
    """

    def __init__(self, failure: str = "A task of the adapter failed") -> None:
        self._failure = failure
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def wait(self, seconds: float | None) -> None:
        """Wait until all tasks but the one that asks are done, or for so many seconds."""
        if tasks := self._others():
            await asyncio.wait(tasks, timeout=seconds)

    async def cancel(self) -> None:
        """Cancel all tasks but the one that asks for it, and wait for their end."""
        tasks = self._others()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _others(self) -> set[asyncio.Task[None]]:
        return self._tasks - {asyncio.current_task()}

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.opt(exception=error).error(self._failure)
