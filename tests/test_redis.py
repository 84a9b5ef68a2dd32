"""What is special to the directory over Redis: an empty, slow or dead one, strangers, and keys."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from pipecat_whatsapp.calls import redis as module
from pipecat_whatsapp.calls.directory import Claim, Delivery, Holding, Peer, Standing
from pipecat_whatsapp.calls.redis import RedisDirectory
from pipecat_whatsapp.calls.redis_client import answers
from pipecat_whatsapp.errors import ConfigError, DirectoryError
from pipecat_whatsapp.meta.events import Direction
from ports import free_port
from redis_server import RedisServer, redis_server

__all__ = ["redis_server"]

pytestmark = pytest.mark.usefixtures("patient_redis")

HOLDING = Holding("111", Direction.INBOUND)
PATIENCE = 60.0
RULE = "~{prefix}:* -@all +@read +@write +@scripting +@connection +time -@dangerous"

T = TypeVar("T")
Join = Callable[..., RedisDirectory]


@pytest.fixture
async def raw(redis_server: RedisServer) -> AsyncIterator[Any]:
    """A client that may do everything."""
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def join(redis_server: RedisServer) -> AsyncIterator[Join]:
    """Gives a directory to each process."""
    joined: list[RedisDirectory] = []

    def at(node: str, url: str = redis_server.url, prefix: str = "whatsapp") -> RedisDirectory:
        joined.append(RedisDirectory.from_url(url, node=node, prefix=prefix))
        return joined[-1]

    yield at
    for directory in joined:
        await directory.close()


async def settle(raw: Any, prefix: str = "whatsapp") -> None:
    """Let Redis have known the deployment for long."""
    await raw.set(f"{{{prefix}}}:since", 1, ex=3600)


async def letters(directory: RedisDirectory) -> list[str]:
    """The next letters, whatever happens to Redis meanwhile."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if received := await directory.receive():
                    await directory.done(received)
                    return [letter.text for letter in received]
            except DirectoryError:
                await asyncio.sleep(0.05)


async def asked_again(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask once more when the answer was lost; newer versions of redis-py do so themselves."""
    try:
        return await ask()
    except DirectoryError:
        return await ask()


async def keys_of(raw: Any, pattern: str) -> list[str]:
    return [key async for key in raw.scan_iter("{whatsapp}:" + pattern)]


async def until_letters_are_awaited(raw: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await raw.info("clients"))["blocked_clients"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def peers(directory: RedisDirectory) -> dict[str, Peer]:
    return {peer.name: peer for peer in (await directory.beat(Standing(), {})).peers}


async def life(a: RedisDirectory, b: RedisDirectory) -> AsyncGenerator[None]:
    """All that processes do, step by step."""
    assert await a.first("token", 60)
    yield
    await a.beat(Standing(), {"wacid.A": HOLDING})
    yield
    assert (await a.claim("wacid.B", HOLDING)).is_ours
    yield
    await a.release("wacid.B")
    await b.seize("wacid.B", HOLDING)
    yield
    assert await b.deliver("wacid.A", None, "one", otherwise=Delivery.PARKED) is Delivery.SENT
    assert (
        await b.deliver("wacid.C", "token", "parked", otherwise=Delivery.PARKED) is Delivery.PARKED
    )
    assert await b.deliver("wacid.D", None, "buried", otherwise=Delivery.BURIED) is Delivery.BURIED
    yield
    assert await a.claim("wacid.C", HOLDING) == Claim(True, ("parked",))
    await a.bury("wacid.C")
    await a.bury("wacid.elsewhere")
    yield
    assert await b.send(a.node, "two")
    assert await letters(a) == ["one", "two"]
    assert await b.send(a.node, "three")
    yield
    assert await b.take_over((await peers(b))[a.node]) == {"wacid.A": HOLDING}
    yield
    assert [letter.text for letter in await b.leave()] == ["three"]
    yield


async def live(a: RedisDirectory, b: RedisDirectory) -> None:
    async for _ in life(a, b):
        pass


def all_requests(directory: RedisDirectory) -> list[Any]:
    return [
        directory.claim("wacid.B", HOLDING),
        directory.release("wacid.B"),
        directory.seize("wacid.C", HOLDING),
        directory.bury("wacid.D"),
        directory.first("token", 60),
        directory.beat(Standing(), {}),
        directory.deliver("wacid.E", None, "hello", otherwise=Delivery.PARKED),
        directory.send("b", "hello"),
        directory.receive(),
        directory.take_over(Peer("b", 1, Standing())),
        directory.leave(),
    ]


async def fails_everywhere(directory: RedisDirectory) -> None:
    """Every request fails, and is not waited for without end."""
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*all_requests(directory), return_exceptions=True)
    assert [type(result) for result in results] == [DirectoryError] * len(results)


# An empty Redis


async def test_nobody_gets_a_call_before_its_owner_could_speak(
    redis_server: RedisServer, raw: Any
) -> None:
    client = Redis.from_url(redis_server.url, decode_responses=True)
    b = RedisDirectory(client, node="b", settle_seconds=3600)
    early = asyncio.create_task(b.claim("wacid.A", HOLDING))
    async with asyncio.timeout(PATIENCE):
        while not await raw.exists("{whatsapp}:since"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not await raw.exists("{whatsapp}:call:wacid.A")
    a = RedisDirectory(client, node="a", settle_seconds=3600)
    await a.beat(Standing(), {"wacid.A": HOLDING})
    assert not early.done()
    early.cancel()
    await asyncio.gather(early, return_exceptions=True)
    await settle(raw)
    assert not (await b.claim("wacid.A", HOLDING)).is_ours
    assert (await b.claim("wacid.B", HOLDING)).is_ours
    await client.aclose()


async def test_a_call_waits_until_an_empty_redis_has_settled(
    redis_server: RedisServer, raw: Any
) -> None:
    client = Redis.from_url(redis_server.url, decode_responses=True)
    a = RedisDirectory(client, node="a", settle_seconds=0.3)
    assert (await a.claim("wacid.A", HOLDING)).is_ours
    seconds, microseconds = await raw.time()
    since = int(await raw.get("{whatsapp}:since"))
    assert seconds * 1000 + microseconds // 1000 - since >= 300
    await client.aclose()


@pytest.mark.parametrize("since", ["99999999999999", "soon", ""])
async def test_a_clock_that_was_set_back_keeps_no_call_waiting(
    redis_server: RedisServer, raw: Any, since: str
) -> None:
    await raw.set("{whatsapp}:since", since)
    client = Redis.from_url(redis_server.url, decode_responses=True)
    a = RedisDirectory(client, node="a", settle_seconds=0.1)
    async with asyncio.timeout(PATIENCE):
        assert (await a.claim("wacid.A", HOLDING)).is_ours
    await client.aclose()


async def test_an_empty_redis_is_healed_by_those_who_know(
    redis_server: RedisServer, join: Join
) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {"wacid.A": HOLDING})
    await redis_server.restart()
    claims = [asyncio.create_task(b.claim(f"wacid.{name}", HOLDING)) for name in "AB"]
    assert (await a.beat(Standing(), {"wacid.A": HOLDING})).lost == {}
    assert [(await claim).is_ours for claim in claims] == [False, True]
    assert sorted(await peers(b)) == ["a", "b"]


# A Redis that is slow, dead, or back


async def test_letters_arrive_after_redis_came_back_empty(
    redis_server: RedisServer, raw: Any, join: Join
) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    await b.send("a", "before")
    assert await letters(a) == ["before"]
    waiting = asyncio.create_task(letters(a))
    await until_letters_are_awaited(raw)
    await redis_server.restart()
    await a.beat(Standing(), {})
    assert await b.send("a", "after")
    assert await waiting == ["after"]


async def test_a_redis_whose_clock_is_behind_numbers_letters_lower(raw: Any, join: Join) -> None:
    a = join("a")
    await raw.xadd("{whatsapp}:inbox:a", {"text": "before"}, id="9999999999999-0")
    assert await letters(a) == ["before"]
    await raw.delete("{whatsapp}:inbox:a")
    await raw.xadd("{whatsapp}:inbox:a", {"text": "after"}, id="1-0")
    assert await letters(a) == ["after"]


async def test_a_dead_redis_is_told_at_once_and_works_when_it_is_back(
    redis_server: RedisServer, join: Join
) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    await redis_server.kill()
    await fails_everywhere(a)
    await redis_server.start()
    await live(a, b)


async def test_a_frozen_redis_is_not_waited_for(
    redis_server: RedisServer, raw: Any, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = join("a"), join("b")
    await settle(raw)
    await a.beat(Standing(), {})
    redis_server.pause()
    with monkeypatch.context() as usual:
        usual.setattr(module, "answers", answers)
        await fails_everywhere(a)
    redis_server.resume()
    # What was asked meanwhile may have been done; no answer to it is taken for that to another.
    assert await b.first("another token", 60)
    assert await a.first("a third token", 60)
    assert not await a.first("another token", 60)
    assert (await a.claim("wacid.F", HOLDING)).is_ours
    assert not (await b.claim("wacid.F", HOLDING)).is_ours


class Line:
    """A way to Redis on which an answer can be lost, and the connection with it."""

    def __init__(self, redis: RedisServer) -> None:
        self._redis = redis
        self._loses = False
        self.lost = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def lose_next_answer(self) -> None:
        self._loses = True

    async def _connect(self, near: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        far, requests = await asyncio.open_connection("127.0.0.1", self._redis.port)
        asking = asyncio.create_task(self._ask(near, requests))
        while (data := await far.read(65_536)) and not self._loses:
            answers.write(data)
        if self._loses:
            self._loses = False
            self.lost += 1
        for writer in (answers, requests):
            writer.close()
        await asking

    async def _ask(self, near: asyncio.StreamReader, requests: asyncio.StreamWriter) -> None:
        while data := await near.read(65_536):
            requests.write(data)
        requests.close()


async def test_a_letter_whose_reply_was_lost_comes_again(
    redis_server: RedisServer, raw: Any, join: Join
) -> None:
    async with Line(redis_server) as line:
        a, b = join("a", line.url), join("b")
        await a.beat(Standing(), {})
        waiting = asyncio.create_task(letters(a))
        await until_letters_are_awaited(raw)
        line.lose_next_answer()
        assert await b.send("a", "hello")
        assert await waiting == ["hello"]
        assert line.lost == 1
        await a.close()


async def test_letters_for_a_call_outlast_a_lost_answer(
    redis_server: RedisServer, raw: Any, join: Join
) -> None:
    await settle(raw)
    async with Line(redis_server) as line:
        a, b = join("a", line.url), join("b")
        for call_id in ("wacid.A", "wacid.B"):
            await b.deliver(call_id, None, call_id, otherwise=Delivery.PARKED)
        line.lose_next_answer()
        claim = await asked_again(lambda: a.claim("wacid.A", HOLDING))
        assert claim == Claim(True, ("wacid.A",))
        line.lose_next_answer()
        calls = {"wacid.A": HOLDING, "wacid.B": HOLDING}
        news = await asked_again(lambda: a.beat(Standing(), calls))
        assert news.letters == ("wacid.B",)
        assert line.lost == 2
        assert await keys_of(raw, "parked:*") == []
        await a.close()


async def test_a_claim_that_nobody_heard_of_brings_its_letters_by_the_beat(
    raw: Any, join: Join
) -> None:
    await settle(raw)
    a, b = join("a"), join("b")
    await b.deliver("wacid.A", None, "hello", otherwise=Delivery.PARKED)
    await raw.set("{whatsapp}:call:wacid.A", "a", ex=60)
    assert (await a.beat(Standing(), {"wacid.A": HOLDING})).letters == ("hello",)


async def test_a_letter_that_was_not_done_comes_again(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    await b.send("a", "hello")
    assert [letter.text for letter in await a.receive()] == ["hello"]
    assert await letters(a) == ["hello"]


async def test_who_stops_waiting_for_letters_loses_none(raw: Any, join: Join) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    waiting = asyncio.create_task(a.receive())
    await until_letters_are_awaited(raw)
    await b.send("a", "hello")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await letters(a) == ["hello"]


# Keys


async def test_every_key_expires_and_stays_behind_the_prefix(raw: Any, join: Join) -> None:
    await settle(raw, "line-1")
    a, b = join("a", prefix="line-1"), join("b", prefix="line-1")
    seen: set[str] = set()
    async with aclosing(life(a, b)) as steps:
        async for _ in steps:
            keys = {key async for key in raw.scan_iter()}
            seen |= keys
            assert all(key.startswith("{line-1}:") for key in keys)
            assert [key for key in keys if await raw.pttl(key) == -1] == []
    kinds = {key.split(":")[1] for key in seen}
    assert kinds == {"nodes", "since", "call", "calls", "inbox", "parked", "once"}


async def test_calls_that_are_no_longer_a_processs_own_are_forgotten(raw: Any, join: Join) -> None:
    a = join("a")
    await raw.hset("{whatsapp}:calls:a", "wacid.A", "user_initiated 111")
    await a.beat(Standing(), {"wacid.B": HOLDING})
    assert await raw.hkeys("{whatsapp}:calls:a") == ["wacid.B"]


async def test_looking_for_letters_leaves_no_key(raw: Any, join: Join) -> None:
    waiting = asyncio.create_task(join("a").receive())
    await until_letters_are_awaited(raw)
    assert await raw.dbsize() == 0
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_deployments_with_other_prefixes_know_nothing_of_each_other(
    raw: Any, join: Join
) -> None:
    await settle(raw, "one")
    await settle(raw, "two")
    one, two = join("a", prefix="one"), join("b", prefix="two")
    assert (await one.claim("wacid.A", HOLDING)).is_ours
    assert await one.first("token", 60)
    await one.beat(Standing(), {"wacid.A": HOLDING})
    assert list(await peers(two)) == ["b"]
    assert (await two.claim("wacid.A", HOLDING)).is_ours
    assert await two.first("token", 60)
    assert not await two.send("a", "hello")
    assert await two.deliver("wacid.A", None, "over", otherwise=Delivery.BURIED) is Delivery.OURS
    await two.bury("wacid.A")
    assert (await one.claim("wacid.A", HOLDING)).is_ours


# Strangers


async def test_a_newer_process_may_tell_more_of_itself(raw: Any, join: Join) -> None:
    a = join("a")
    told: dict[str, Any] = {
        "calls": 3,
        "room": None,
        "region": "eu",
        "host": "one",
        "new": {"list": []},
    }
    await raw.hset("{whatsapp}:nodes", "newer", json.dumps([7, told, 1]))
    await raw.hset("{whatsapp}:nodes", "older", json.dumps([8, {"calls": 2}, 1]))
    await raw.hset("{whatsapp}:nodes", "odd", json.dumps([9, {"calls": "many", "room": "much"}, 1]))
    await raw.hset("{whatsapp}:nodes", "ahead", json.dumps([1, {}, 10**15]))
    known = await peers(a)
    assert known["newer"].beats == 7
    assert known["newer"].standing == Standing(calls=3, room=None, region="eu", host="one")
    assert known["older"].standing == Standing(calls=2)
    assert known["odd"].standing == Standing()
    assert known["newer"].age > 0
    assert known["ahead"].age == 0
    assert await a.take_over(known["newer"]) == {}
    assert sorted(await peers(a)) == ["a", "ahead", "odd", "older"]


@pytest.mark.parametrize(
    "told",
    [
        "",
        "junk",
        "null",
        "[]",
        "7",
        "[1]",
        '["x", {}, 1]',
        "[null, {}, 1]",
        "[1, null, 1]",
        "[1, {}]",
        "[1, {}, null]",
        "[1, {}, 1, 2]",
        "[1, {}, -1" + "0" * 400 + "]",
        "[1e999, {}, 1]",
        "[1, {}, -1e999]",
        '{"1": 2, "3": 4}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
async def test_what_cannot_be_read_of_a_process_hides_no_other(
    raw: Any, join: Join, told: str | bytes
) -> None:
    await raw.hset("{whatsapp}:nodes", "stranger", told)
    await raw.hset("{whatsapp}:nodes", b"\xff", told)
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    assert sorted(await peers(b)) == ["a", "b"]


async def test_what_cannot_be_read_of_a_call_hides_no_other(raw: Any, join: Join) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {"wacid.A": HOLDING, "wacid.B": HOLDING})
    await raw.hset("{whatsapp}:calls:a", "wacid.A", "sideways 111")
    assert await b.take_over((await peers(b))["a"]) == {"wacid.B": HOLDING}


async def test_a_letter_that_cannot_be_read_hides_no_other(raw: Any, join: Join) -> None:
    a, b = join("a"), join("b")
    await raw.xadd("{whatsapp}:inbox:a", {"text": b"\xff"})
    await raw.xadd("{whatsapp}:inbox:a", {"novelty": "x"})
    await a.beat(Standing(), {})
    await b.send("a", "hello")
    assert await letters(a) == ["\ufffd", "", "hello"]


# The address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        "http://127.0.0.1",
        "redis://127.0.0.1:port",
        "redis://127.0.0.1:99999",
        "redis://[::1",
        "redis://user:topsecret@127.0.0.1?db=x",
        "redis://127.0.0.1?novelty=1",
        "rediss://127.0.0.1?ssl_cert_reqs=perhaps",
        "unix://",
    ],
)
def test_an_address_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="address of Redis") as refused:
        RedisDirectory.from_url(url, node="a")
    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize("prefix", ["", "a b", "{a}", "a:b", "a*", "ä", "a\n"])
def test_a_prefix_that_cannot_be_used_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        RedisDirectory.from_url("redis://127.0.0.1", node="a", prefix=prefix)


async def test_without_redis_the_error_tells_no_secret(join: Join) -> None:
    a = join("a", f"redis://user:topsecret@127.0.0.1:{free_port()}")
    with pytest.raises(DirectoryError) as failed:
        await a.beat(Standing(), {})
    assert "topsecret" not in str(failed.value)
    await a.close()
    await a.close()


def test_a_missing_package_is_named() -> None:
    program = "import sys; sys.modules['redis'] = None; import pipecat_whatsapp.calls.redis"
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "pip install 'pipecat-whatsapp[redis]'" in ended.stderr


async def test_a_user_of_redis_may_be_kept_to_the_deployment(
    redis_server: RedisServer, raw: Any, join: Join
) -> None:
    assert RULE in (module.__doc__ or "")
    rule = RULE.format(prefix="{whatsapp}").split()
    await raw.execute_command("ACL", "SETUSER", "bot", "on", ">topsecret", *rule)
    await settle(raw)
    url = redis_server.url.replace("//", "//bot:topsecret@")
    await live(join("a", url), join("b", url))
    with pytest.raises(DirectoryError):
        await join("a", url, "another").beat(Standing(), {})
    async with Redis.from_url(url) as bot:
        for command in ("FLUSHALL", "KEYS *", "CONFIG GET *", "GET elsewhere"):
            with pytest.raises(ResponseError):
                await bot.execute_command(*command.split())


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths = folder / "redis.crt", folder / "redis.key"
    paths[0].write_bytes(signed.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return paths


async def test_redis_may_speak_tls(raw: Any, join: Join, tmp_path: Path) -> None:
    authority, key = certificate(tmp_path)
    port = free_port()
    settings = {
        "tls-cert-file": str(authority),
        "tls-key-file": str(key),
        "tls-auth-clients": "no",
        "tls-port": port,
    }
    try:
        await raw.execute_command("CONFIG", "SET", *(x for pair in settings.items() for x in pair))
    except ResponseError:
        pytest.skip("this redis-server was built without TLS")
    await settle(raw)
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}"
    await live(join("a", url), join("b", url))
    with pytest.raises(DirectoryError):
        await join("c", f"rediss://127.0.0.1:{port}/0").beat(Standing(), {})
