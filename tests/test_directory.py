from __future__ import annotations

import pytest

from pipecat_whatsapp.calls import directory
from pipecat_whatsapp.calls.directory import TOMBSTONE_SECONDS, MemoryDirectory


async def test_a_call_is_claimed_once() -> None:
    calls = MemoryDirectory()
    assert await calls.claim("wacid.A")
    assert not await calls.claim("wacid.A")
    assert await calls.claim("wacid.B")


async def test_an_ended_call_is_never_claimed_again() -> None:
    calls = MemoryDirectory()
    await calls.claim("wacid.A")
    await calls.bury("wacid.A")
    assert not await calls.claim("wacid.A")


async def test_a_call_that_ends_before_it_begins_is_never_claimed() -> None:
    calls = MemoryDirectory()
    await calls.bury("wacid.A")
    await calls.bury("wacid.A")
    assert not await calls.claim("wacid.A")


async def test_tombstones_are_forgotten_in_time() -> None:
    now = 0.0
    calls = MemoryDirectory(clock=lambda: now)
    await calls.bury("wacid.A")
    now = TOMBSTONE_SECONDS - 1
    assert not await calls.claim("wacid.A")
    now = TOMBSTONE_SECONDS + 1
    assert await calls.claim("wacid.A")


async def test_tombstones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_TOMBSTONES", 2)
    calls = MemoryDirectory()
    for call_id in ("wacid.A", "wacid.B", "wacid.C"):
        await calls.bury(call_id)
    assert await calls.claim("wacid.A")
    assert not await calls.claim("wacid.B")
    assert not await calls.claim("wacid.C")
