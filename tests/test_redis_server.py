from __future__ import annotations

import asyncio

import pytest

from redis_server import RedisServer, redis_server

__all__ = ["redis_server"]


async def ping(server: RedisServer, patience: float = 30.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(b"PING\r\n")
        return await asyncio.wait_for(reader.readline(), patience)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_it_is_killed_and_comes_back(redis_server: RedisServer) -> None:
    await redis_server.kill()
    with pytest.raises(ConnectionRefusedError):
        await ping(redis_server)
    await redis_server.start()
    assert await ping(redis_server) == b"+PONG\r\n"
    await redis_server.restart()
    await redis_server.stop()


async def test_a_frozen_one_answers_nothing(redis_server: RedisServer) -> None:
    redis_server.pause()
    with pytest.raises(TimeoutError):
        await ping(redis_server, patience=0.2)
    redis_server.resume()
    assert await ping(redis_server) == b"+PONG\r\n"
