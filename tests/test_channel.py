from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from pipecat_whatsapp.serving.channel import (
    Alive,
    CallBegan,
    Channel,
    Close,
    Drain,
    Failed,
    Message,
    NodeDied,
    Ready,
    decode,
    encode,
)

MESSAGES: list[Message] = [
    Ready(),
    Alive(),
    CallBegan(),
    Failed("bot.py has no function bot.\nDefine it: é."),
    Drain(),
    Close(),
    NodeDied("host-1"),
]


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, socket.socket]]:
    """A channel, and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours)
    with theirs:
        yield channel, theirs
    channel.close()


async def heard(channel: Channel) -> list[Message]:
    async with asyncio.timeout(30):
        return [message async for message in channel]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_one_line(message: Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


async def test_what_is_sent_is_heard_in_order(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    for message in MESSAGES:
        channel.send(message)
    far = await Channel.over(other.dup())
    channel.close()
    other.close()
    assert await heard(far) == MESSAGES
    far.close()


async def test_half_a_line_of_a_process_that_was_killed_is_nothing(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, other = ends
    other.sendall(encode(Ready()) + encode(Drain())[:5])
    other.close()
    assert await heard(channel) == [Ready()]


async def test_what_is_sent_to_nobody_is_lost(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.close()
    for _ in range(10):
        channel.send(Drain())
        await asyncio.sleep(0)
    assert await heard(channel) == []
