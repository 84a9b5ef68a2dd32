from __future__ import annotations

import asyncio

import pytest

from pipecat_whatsapp.calls.call import CallReport


class Reports(asyncio.Queue[CallReport]):
    """An `on_call_ended` hook that keeps what it is given."""

    async def __call__(self, report: CallReport) -> None:
        await self.put(report)

    async def next(self) -> CallReport:
        """The next report, waited for."""
        async with asyncio.timeout(30):
            return await self.get()


@pytest.fixture
def reports() -> Reports:
    return Reports()
