"""What a Redis may answer instead of doing its work, and how its connections are used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ResponseError

from pipecat_whatsapp.calls.directory import Delivery, Holding, Standing
from pipecat_whatsapp.calls.redis import RedisDirectory
from pipecat_whatsapp.calls.redis_client import MAX_CONNECTIONS, answers, client_at
from pipecat_whatsapp.errors import DirectoryError
from pipecat_whatsapp.meta.events import Direction
from redis_server import RedisServer, redis_server

__all__ = ["redis_server"]

pytestmark = pytest.mark.usefixtures("patient_redis")

HOLDING = Holding("111", Direction.INBOUND)
PATIENCE = 60.0


@pytest.fixture
async def raw(redis_server: RedisServer) -> AsyncIterator[Any]:
    """A client that may do everything, of a Redis that has known the deployment for long."""
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        await client.set("{whatsapp}:since", 1, ex=3600)
        yield client


@pytest.fixture
async def directory(redis_server: RedisServer, raw: Any) -> AsyncIterator[RedisDirectory]:
    joined = RedisDirectory.from_url(redis_server.url, node="a")
    yield joined
    await joined.close()


async def works(directory: RedisDirectory) -> None:
    """It does its work, at once or soon."""
    own = f"wacid.{directory.node}"
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(DirectoryError):
                await directory.beat(Standing(), {own: HOLDING})
                break
            await asyncio.sleep(0.05)
    assert await directory.deliver(own, None, "x", otherwise=Delivery.DROPPED) is (Delivery.OURS)


async def is_busy(raw: Any) -> bool:
    try:
        await raw.ping()
    except ResponseError:
        return True
    return False


# Connections


async def test_a_burst_of_calls_is_granted_over_few_connections(
    raw: Any, directory: RedisDirectory
) -> None:
    reading = asyncio.create_task(directory.receive())
    claims = [directory.claim(f"wacid.{number}", HOLDING) for number in range(400)]
    assert all(claim.is_ours for claim in await asyncio.gather(*claims))
    assert len(await raw.client_list()) <= MAX_CONNECTIONS + 1
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_an_address_may_allow_fewer_connections(redis_server: RedisServer, raw: Any) -> None:
    directory = RedisDirectory.from_url(redis_server.url + "?max_connections=3", node="a")
    claims = [directory.claim(f"wacid.{number}", HOLDING) for number in range(50)]
    assert all(claim.is_ours for claim in await asyncio.gather(*claims))
    assert len(await raw.client_list()) <= 3 + 1
    await directory.close()


async def test_who_gives_up_waiting_keeps_no_connection(
    raw: Any, directory: RedisDirectory
) -> None:
    for _ in range(3):
        claims = [
            asyncio.create_task(directory.claim(f"wacid.{number}", HOLDING))
            for number in range(2 * MAX_CONNECTIONS)
        ]
        await asyncio.sleep(0)
        for claim in claims:
            claim.cancel()
        await asyncio.gather(*claims, return_exceptions=True)
    claims = [
        asyncio.create_task(directory.claim(f"wacid.{number}", HOLDING)) for number in range(400)
    ]
    assert all(claim.is_ours for claim in await asyncio.gather(*claims))


# Fail-over


class Name:
    """An address that leads to one Redis, and later to another, as a name does."""

    def __init__(self, redis: RedisServer) -> None:
        self.leads_to = redis

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def _connect(self, near: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        far, requests = await asyncio.open_connection("127.0.0.1", self.leads_to.port)
        await asyncio.gather(_pass_on(near, requests), _pass_on(far, answers))


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
    target.close()


async def test_a_master_of_old_is_left_for_the_new_one(redis_server: RedisServer, raw: Any) -> None:
    async with (
        RedisServer() as new,
        Redis.from_url(new.url, decode_responses=True) as new_raw,
        Name(redis_server) as name,
    ):
        directory = RedisDirectory.from_url(name.url, node="a")
        await works(directory)
        reading = asyncio.create_task(directory.receive())
        await asyncio.gather(*(directory.first(f"{number}", 60) for number in range(20)))
        await raw.replicaof("127.0.0.1", new.port)
        # Connections that are open already lead to the old one still.
        name.leads_to = new
        with pytest.raises(DirectoryError):
            await directory.beat(Standing(), {})
        assert len((await directory.beat(Standing(), {"wacid.A": HOLDING})).peers) == 1
        assert await new_raw.get("{whatsapp}:call:wacid.A") == "a"
        with suppress(DirectoryError):
            await reading
        assert await directory.send("a", "hello")
        assert [letter.text for letter in await directory.receive()] == ["hello"]
        await directory.close()


async def test_a_master_of_old_may_say_so_in_the_midst_of_its_answer(
    redis_server: RedisServer,
) -> None:
    says = "return redis.error_reply('ERR Error running script: @user_script:5: -READONLY You')"
    client = client_at(redis_server.url)
    before = await client.client_id()
    with pytest.raises(DirectoryError):
        async with answers(client, PATIENCE):
            await client.eval(says, 0)
    assert await client.client_id() != before
    await client.aclose()


async def test_a_master_that_becomes_one_again_is_used_again(
    raw: Any, directory: RedisDirectory
) -> None:
    await works(directory)
    await raw.replicaof("127.0.0.1", 1)
    for _ in range(3):
        with pytest.raises(DirectoryError):
            await directory.beat(Standing(), {})
    await raw.replicaof("NO", "ONE")
    await works(directory)


# A Redis that does not do its work


async def test_a_full_redis_is_told(raw: Any, directory: RedisDirectory) -> None:
    await works(directory)
    await raw.config_set("maxmemory", 1)
    with pytest.raises(DirectoryError, match="memory"):
        await directory.claim("wacid.A", HOLDING)
    with pytest.raises(DirectoryError):
        await directory.beat(Standing(), {})
    with pytest.raises(DirectoryError):
        await directory.first("token", 60)
    await raw.config_set("maxmemory", 0)
    await works(directory)


async def test_a_busy_redis_is_told(raw: Any, directory: RedisDirectory) -> None:
    await works(directory)
    await raw.config_set("lua-time-limit", 1)
    endless = asyncio.create_task(raw.eval("while true do end", 0))
    async with asyncio.timeout(PATIENCE):
        while not await is_busy(raw):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    with pytest.raises(DirectoryError):
        await directory.beat(Standing(), {})
    await raw.script_kill()
    await asyncio.gather(endless, return_exceptions=True)
    await works(directory)


@pytest.mark.parametrize(
    "answer",
    [
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "-MISCONF Redis is configured to save RDB snapshots",
        "-NOPERM this user has no permissions",
        "-NOAUTH Authentication required.",
        "-WRONGPASS invalid username-password pair",
        "-CLUSTERDOWN Hash slot not served",
        "-MOVED 1 127.0.0.1:1",
        "-ERR Error running script: @user_script: 5: -READONLY You can't write against a replica.",
        "-ERR max number of clients reached",
        "-",
        "junk",
    ],
)
async def test_whatever_redis_says_is_told_as_an_error(answer: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(65_536):
                writer.write(answer.encode() + b"\r\n")
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        directory = RedisDirectory.from_url(f"redis://127.0.0.1:{port}/0", node="a")
        for _ in range(2):
            with pytest.raises(DirectoryError):
                await directory.beat(Standing(), {})
        with pytest.raises(DirectoryError):
            await directory.receive()
        await directory.close()


async def test_a_cluster_that_is_gone_is_told() -> None:
    async with RedisServer(cluster=True) as server:
        early = RedisDirectory(RedisCluster.from_url(server.url, decode_responses=True), node="a")
        late = RedisDirectory(RedisCluster.from_url(server.url, decode_responses=True), node="b")
        await early.beat(Standing(), {})
        await server.kill()
        for directory in (early, late):
            for _ in range(2):
                with pytest.raises(DirectoryError):
                    await directory.beat(Standing(), {})
        await server.start()
        await works(early)
        await works(late)
        for directory in (early, late):
            await directory.close()


async def test_what_cannot_be_decoded_is_told(redis_server: RedisServer, raw: Any) -> None:
    directory = RedisDirectory(Redis.from_url(redis_server.url, decode_responses=True), node="a")
    await raw.hset("{whatsapp}:nodes", "stranger", b"\xff")
    with pytest.raises(DirectoryError):
        await directory.beat(Standing(), {})
    await directory.close()
