from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pipecat_whatsapp.calls import adapter
from pipecat_whatsapp.calls.call import CallReport


class Reports(asyncio.Queue[CallReport]):
    """An `on_call_ended` hook that keeps what it is given."""

    async def __call__(self, report: CallReport) -> None:
        await self.put(report)

    async def next(self) -> CallReport:
        """The next report, waited for."""
        async with asyncio.timeout(30):
            return await self.get()


@pytest.fixture(autouse=True)
def _closes_briskly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Graph API that hangs on purpose is not waited for at the end of a test."""
    monkeypatch.setattr(adapter, "CLOSE_TIMEOUT", 0.5)


@pytest.fixture
def reports() -> Reports:
    return Reports()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
