"""Runs many short calls in a process of their own, and prints what they leave behind.

In a process that has done other things before, memory says nothing of the calls.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import threading
from collections import Counter
from pathlib import Path

from aiortc import RTCPeerConnection
from loguru import logger
from pipecat.pipeline.worker import PipelineWorker

from bots import Echo, PipelineBot
from conftest import Reports
from pipecat_whatsapp.calls.session import CallSession
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

CALLS = 600
AT_ONCE = 5
WARM_UP = 400
"""Some allocators take memory for long until they have what they need."""

LEAK = (CALLS - WARM_UP) // 4
"""Growth from which it is a leak: what a call leaves behind it leaves every time, while the last
calls may still be being put away, and connections to HTTP servers come and go."""

PROC = Path("/proc/self")


def leftovers() -> Counter[str]:
    """What a finished call must not leave behind."""
    gc.collect()
    kinds = {"peers": RTCPeerConnection, "pipelines": PipelineWorker, "sessions": CallSession}
    objects = gc.get_objects()
    found = Counter(
        {name: sum(isinstance(o, kind) for o in objects) for name, kind in kinds.items()}
    )
    return found + Counter(
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        files=len(os.listdir(PROC / "fd")),
    )


def memory() -> int:
    """Resident memory, bytes."""
    pages = int((PROC / "statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Forgetful(list[PipelineWorker]):
    """A list that keeps nothing, so that the bot itself holds no pipeline."""

    def append(self, _: PipelineWorker) -> None:
        """Forget."""


async def one_call(meta: SimulatedMeta, number: int) -> None:
    async with Phone(meta, User(user_id=f"DE.{number}")) as phone:
        call = await phone.dial()
        await call.answered()
        await call.hang_up()


async def calls(meta: SimulatedMeta, reports: Reports, count: int) -> None:
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(one_call(meta, number) for number in range(AT_ONCE)))
        for _ in range(AT_ONCE):
            await reports.next()
        # What the simulator itself remembers is not the question.
        for journal in (meta.requests, meta.deliveries, meta.calls):
            journal.clear()


async def main() -> None:
    logger.remove()
    async with SimulatedMeta() as meta:
        whatsapp, reports, bot = WhatsApp(meta), Reports(), PipelineBot(Echo)
        bot.workers = Forgetful()
        await whatsapp.serve(bot, on_call_ended=reports)
        await calls(meta, reports, WARM_UP)
        before, memory_before = leftovers(), memory()
        await calls(meta, reports, CALLS - WARM_UP)
        after, memory_after = leftovers(), memory()
        await whatsapp.close()
    print(  # noqa: T201 - it is read by the test
        json.dumps(
            {
                "returned": bot.returned,
                "grown": {name: n for name, n in (after - before).items() if n >= LEAK},
                "memory": memory_after - memory_before,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
