"""Waits for something, but not for ever."""

from __future__ import annotations

import asyncio


async def comes(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event. Returns whether it came within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
