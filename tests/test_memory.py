from __future__ import annotations

import pytest

from pipecat_whatsapp.calls import memory
from pipecat_whatsapp.calls.directory import (
    PARK_SECONDS,
    TOMBSTONE_SECONDS,
    Claim,
    Delivery,
    Holding,
)
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.meta.events import Direction

HOLDING = Holding("111", Direction.INBOUND)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_tombstones_are_forgotten_in_time() -> None:
    clock = Clock()
    calls = MemoryDirectory(board=Board(clock=clock))
    await calls.bury("wacid.A")
    clock.now = TOMBSTONE_SECONDS - 1
    assert await calls.claim("wacid.A", HOLDING) == Claim(False)
    clock.now = TOMBSTONE_SECONDS + 1
    assert await calls.claim("wacid.A", HOLDING) == Claim(True)


async def test_tombstones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_KEPT", 2)
    calls = MemoryDirectory()
    for call_id in ("wacid.A", "wacid.B", "wacid.C"):
        await calls.bury(call_id)
    assert await calls.claim("wacid.A", HOLDING) == Claim(True)
    assert await calls.claim("wacid.B", HOLDING) == Claim(False)
    assert await calls.claim("wacid.C", HOLDING) == Claim(False)


async def test_letters_do_not_wait_for_ever() -> None:
    clock = Clock()
    board = Board(clock=clock)
    calls = MemoryDirectory(board=board)
    await calls.deliver("wacid.A", None, "late", otherwise=Delivery.PARKED)
    clock.now = PARK_SECONDS + 1
    assert await calls.claim("wacid.A", HOLDING) == Claim(True)
    await calls.deliver("wacid.B", None, "other", otherwise=Delivery.PARKED)
    assert list(board.parked) == ["wacid.B"]
