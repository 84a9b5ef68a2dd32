"""The connections to Redis: how it is reached, and what it means when it does not do its work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from pipecat_whatsapp.errors import ConfigError, DirectoryError

try:
    from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError
except ModuleNotFoundError as error:
    raise ConfigError(
        "Redis is not used, because its package is missing: "
        "install it with pip install 'pipecat-whatsapp[redis]'."
    ) from error

Client: TypeAlias = "Redis | RedisCluster"

ANSWER_SECONDS = 1.0
"""How long Redis may take to answer. A call cannot wait longer."""

WAIT_SECONDS = 5.0
"""How long one look into the inbox waits for letters."""

MAX_CONNECTIONS = 50
"""Connections to Redis. What needs one more waits."""


def client_at(url: str) -> Client:
    """A client of the Redis at an address.

    Args:
        url: Such as "redis://host:6379/0", "rediss://user:password@host" or "unix://path".

    Raises:
        ConfigError: The address cannot be used.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            # What others have written is judged where it is read.
            encoding_errors="replace",
            max_connections=MAX_CONNECTIONS,
            timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=WAIT_SECONDS + ANSWER_SECONDS,
            socket_keepalive=True,
            # One more try, for a connection that was idle and has been cut.
            retry=Retry(NoBackoff(), 1),
        )
        # An option that redis-py does not know would be found at the first request only.
        pool.make_connection()
    except (ValueError, TypeError, RedisError):
        raise ConfigError(
            "The address of Redis cannot be read: write it as redis://host:port/number, "
            "rediss:// for TLS, or unix:///path/to/socket, with redis-py's options after a ?."
        ) from None
    return Redis.from_pool(pool)


@asynccontextmanager
async def answers(client: Client, seconds: float) -> AsyncIterator[None]:
    """Wait for answers of Redis.

    Args:
        client: Who asks.
        seconds: How long it may take.

    Raises:
        DirectoryError: It did not do what was asked, for whatever reason.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    # What cannot be encoded or decoded is a ValueError.
    except (RedisError, RedisClusterException, OSError, TimeoutError, ValueError) as error:
        if _is_read_only(error):
            await _connect_anew(client)
        raise DirectoryError(
            f"Redis did not do what was asked ({type(error).__name__}), so other processes know "
            "nothing of this one's calls meanwhile: check that it runs, can be reached, and has "
            "memory left."
        ) from error


def _is_read_only(error: Exception) -> bool:
    """Whether the answer is that of a master of old. Redis 6 says so in the midst of the answer."""
    return isinstance(error, ReadOnlyError) or "READONLY" in str(error)


async def _connect_anew(client: Client) -> None:
    """Ask for the address once more: it is that of the new master by now, or will be."""
    if isinstance(client, Redis):
        with suppress(RedisError, OSError):
            await client.connection_pool.disconnect()
