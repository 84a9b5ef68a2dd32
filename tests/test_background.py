"""Tasks that somebody watches over."""

from __future__ import annotations

import asyncio

from pipecat_whatsapp.calls.background import Background


async def test_what_a_task_raises_is_logged(warnings: list[str]) -> None:
    background = Background()

    async def broken() -> None:
        raise RuntimeError("a bug of ours")

    background(broken())
    await background.wait(30)
    assert len(warnings) == 1
    assert "a bug of ours" in warnings[0]


async def test_waiting_ends_when_its_time_is_over() -> None:
    background = Background()
    await background.wait(None)
    background(asyncio.Event().wait())  # type: ignore[arg-type]
    await background.wait(0)
    await background.cancel()
    await background.wait(None)


async def test_a_task_that_waits_for_all_does_not_wait_for_itself() -> None:
    background, waited = Background(), asyncio.Event()

    async def waits() -> None:
        await background.wait(None)
        waited.set()

    background(waits())
    async with asyncio.timeout(30):
        await waited.wait()


async def test_all_but_the_one_that_asks_are_cancelled() -> None:
    background, cancelled, done = Background(), asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def asks() -> None:
        await background.cancel()
        done.set()

    background(waits())
    await asyncio.sleep(0)
    background(asks())
    async with asyncio.timeout(30):
        await done.wait()
    assert cancelled.is_set()


async def test_a_task_that_is_cancelled_is_no_failure(warnings: list[str]) -> None:
    background = Background()
    background(asyncio.Event().wait())  # type: ignore[arg-type]
    await background.cancel()
    await asyncio.sleep(0)
    assert warnings == []
