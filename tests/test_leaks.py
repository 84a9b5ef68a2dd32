"""After many short calls nothing is left: no task, thread, socket, peer, pipeline or memory."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import threading
from collections import Counter
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection
from pipecat.pipeline.worker import PipelineWorker

from bots import Echo, PipelineBot
from conftest import Reports
from pipecat_whatsapp.calls.session import CallSession
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

CALLS = 200
AT_ONCE = 5
WARM_UP = 100
MAX_GROWTH_BYTES = 10_000_000
"""Far below what 100 leaked calls would cost, at 1 to 2 MB each."""

PROC = Path("/proc/self")


def leftovers() -> Counter[str]:
    """What a finished call must not leave behind."""
    gc.collect()
    kinds = (RTCPeerConnection, PipelineWorker, CallSession)
    found = Counter(type(o).__name__ for o in gc.get_objects() if isinstance(o, kinds))
    return found + Counter(
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        files=len(os.listdir(PROC / "fd")),
    )


def memory() -> int:
    """Resident memory, bytes."""
    pages = int((PROC / "statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(not PROC.exists(), reason="counts open files in /proc, which Linux has")
async def test_many_short_calls_leave_nothing(whatsapp: WhatsApp, reports: Reports) -> None:
    bot = PipelineBot(Echo)
    await whatsapp.serve(bot, on_call_ended=reports)
    bot.workers = Forgetful()

    async def one_call(number: int) -> None:
        async with Phone(whatsapp.meta, User(user_id=f"DE.{number}")) as phone:
            call = await phone.dial()
            await call.answered()
            await call.hang_up()

    async def calls(count: int) -> None:
        for _ in range(count // AT_ONCE):
            await asyncio.gather(*(one_call(number) for number in range(AT_ONCE)))
            for _ in range(AT_ONCE):
                await reports.next()
            # What the simulator itself remembers is not the question.
            for journal in (whatsapp.meta.requests, whatsapp.meta.deliveries, whatsapp.meta.calls):
                journal.clear()

    await calls(WARM_UP)
    before, memory_before = leftovers(), memory()
    await calls(CALLS - WARM_UP)
    after, memory_after = leftovers(), memory()
    assert bot.returned == CALLS
    assert {name: (before[name], n) for name, n in after.items() if n > before[name]} == {}
    assert memory_after - memory_before < MAX_GROWTH_BYTES


class Forgetful(list[PipelineWorker]):
    """A list that keeps nothing, so that the test itself holds no pipeline."""

    def append(self, _: PipelineWorker) -> None:
        """Forget."""
