"""What every directory must do, whether in memory, over Redis or over a Redis cluster."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from redis.asyncio import Redis, RedisCluster

from pipecat_whatsapp.calls.directory import (
    MAX_PARKED,
    CallDirectory,
    Claim,
    Delivery,
    Holding,
    Peer,
    Standing,
    alias_of,
)
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.calls.redis import RedisDirectory
from pipecat_whatsapp.meta.events import Direction
from redis_server import RedisServer

pytestmark = pytest.mark.usefixtures("patient_redis")

HOLDING = Holding("111", Direction.INBOUND)
Join = Callable[[str], CallDirectory]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[str | None]:
    """Where a deployment keeps what its processes have in common; the address of a Redis."""
    if request.param == "memory":
        yield None
        return
    async with RedisServer(cluster=request.param == "cluster") as server:
        yield ("cluster " if request.param == "cluster" else "") + server.url


@pytest.fixture
async def join(store: str | None) -> AsyncIterator[Join]:
    """Gives a directory to each process of a deployment of its own."""
    if store is None:
        board = Board()
        yield lambda node: MemoryDirectory(node, board)
        return
    kind = RedisCluster if store.startswith("cluster") else Redis
    prefix = secrets.token_hex(4)
    joined: list[RedisDirectory] = []

    def over_redis(node: str) -> CallDirectory:
        client = kind.from_url(store.split()[-1], decode_responses=True)
        joined.append(RedisDirectory(client, node=node, prefix=prefix, settle_seconds=0))
        return joined[-1]

    yield over_redis
    for directory in joined:
        await directory.close()


async def peer(directory: CallDirectory, name: str) -> Peer:
    news = await directory.beat(Standing(), {})
    return next(peer for peer in news.peers if peer.name == name)


async def letters(directory: CallDirectory) -> list[str]:
    async with asyncio.timeout(30):
        received = await directory.receive()
    await directory.done(received)
    return [letter.text for letter in received]


async def test_one_process_gets_a_call(join: Join) -> None:
    a, b = join("a"), join("b")
    results = await asyncio.gather(*(d.claim("wacid.A", HOLDING) for d in (a, b, a, b)))
    assert sorted(result.is_ours for result in results) == [False, False, True, True]
    assert results[0] == results[2]


async def test_an_ended_call_is_never_claimed(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.claim("wacid.A", HOLDING)
    await a.bury("wacid.A")
    await b.bury("wacid.B")
    await b.bury("wacid.B")
    for directory in (a, b):
        assert not (await directory.claim("wacid.A", HOLDING)).is_ours
        assert not (await directory.claim("wacid.B", HOLDING)).is_ours


async def test_a_call_that_meta_connected_is_seized(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.claim("wacid.A", HOLDING)
    await b.seize("wacid.A", HOLDING)
    assert not (await a.claim("wacid.A", HOLDING)).is_ours
    lost = (await a.beat(Standing(), {"wacid.A": HOLDING})).lost
    assert lost == {"wacid.A": "b"}


async def test_a_call_that_is_over_is_not_seized(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.claim("wacid.A", HOLDING)
    await a.bury("wacid.A")
    await b.seize("wacid.A", HOLDING)
    assert (await b.beat(Standing(), {})).unnamed == {}
    assert await b.deliver("wacid.A", None, "late", otherwise=Delivery.PARKED) is Delivery.OVER


async def test_who_has_not_got_a_call_does_not_end_it(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.claim("wacid.A", HOLDING)
    await b.bury("wacid.A")
    assert (await a.beat(Standing(), {"wacid.A": HOLDING})).lost == {}
    await b.seize("wacid.A", HOLDING)
    await a.bury("wacid.A")
    assert (await b.beat(Standing(), {"wacid.A": HOLDING})).lost == {}
    await b.bury("wacid.A")
    assert not (await a.claim("wacid.A", HOLDING)).is_ours


async def test_a_burst_of_calls_is_granted(join: Join) -> None:
    a = join("a")
    claims = [a.claim(f"wacid.{number}", HOLDING) for number in range(400)]
    assert all(claim.is_ours for claim in await asyncio.gather(*claims))


async def test_a_token_is_first_once(join: Join) -> None:
    a, b = join("a"), join("b")
    assert await a.first("nonce", 60)
    assert not await a.first("nonce", 60)
    assert not await b.first("nonce", 60)
    assert await b.first("another", 60)


async def test_processes_know_of_each_other(join: Join) -> None:
    a, b = join("a"), join("b")
    standing = Standing(calls=3, room=None, region="eu", host="one")
    await a.beat(standing, {})
    news = await b.beat(Standing(room=7), {})
    assert {peer.name: peer.standing for peer in news.peers} == {
        "a": standing,
        "b": Standing(room=7),
    }
    first = await peer(b, "a")
    await a.beat(standing, {})
    assert (await peer(b, "a")).beats == first.beats + 1


async def test_a_beat_heals_claims_that_were_forgotten(join: Join) -> None:
    a, b = join("a"), join("b")
    assert (await a.beat(Standing(), {"wacid.A": HOLDING})).lost == {}
    assert not (await b.claim("wacid.A", HOLDING)).is_ours


async def test_a_beat_brings_what_waited_for_a_call_that_was_forgotten(join: Join) -> None:
    a, b = join("a"), join("b")
    await b.deliver("wacid.A", None, "one", otherwise=Delivery.PARKED)
    await b.deliver("wacid.A", None, "two", otherwise=Delivery.PARKED)
    await b.deliver("wacid.B", None, "three", otherwise=Delivery.PARKED)
    await b.deliver("wacid.C", None, "four", otherwise=Delivery.PARKED)
    calls = {"wacid.A": HOLDING, "wacid.B": HOLDING}
    assert (await a.beat(Standing(), calls)).letters == ("one", "two", "three")
    assert (await a.beat(Standing(), calls)).letters == ()
    assert await b.claim("wacid.C", HOLDING) == Claim(True, ("four",))


async def test_a_beat_brings_what_waited_for_a_call_that_was_seized(join: Join) -> None:
    a, b = join("a"), join("b")
    await b.deliver("wacid.A", None, "hello", otherwise=Delivery.PARKED)
    await a.seize("wacid.A", HOLDING)
    assert (await a.beat(Standing(), {"wacid.A": HOLDING})).letters == ("hello",)


async def test_a_beat_tells_of_calls_that_it_did_not_name(join: Join) -> None:
    a, b = join("a"), join("b")
    for call_id in ("wacid.A", "wacid.B", "wacid.over", "wacid.released", "wacid.seized"):
        await a.claim(call_id, HOLDING)
    await a.claim(alias_of("token"), HOLDING)
    await a.bury("wacid.over")
    await a.release("wacid.released")
    await b.seize("wacid.seized", HOLDING)
    named = {"wacid.A": HOLDING}
    assert (await a.beat(Standing(), named)).unnamed == {"wacid.B": HOLDING}
    assert (await a.beat(Standing(), named)).unnamed == {"wacid.B": HOLDING}
    assert (await b.beat(Standing(), {})).unnamed == {"wacid.seized": HOLDING}


async def test_what_was_taken_over_is_told_once_more(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {"wacid.A": HOLDING})
    dead = await peer(b, "a")
    assert await b.take_over(dead) == {"wacid.A": HOLDING}
    # The answer may have been lost.
    assert await b.take_over(dead) == {}
    assert (await b.beat(Standing(), {})).unnamed == {"wacid.A": HOLDING}
    await b.bury("wacid.A")
    assert (await b.beat(Standing(), {})).unnamed == {}


async def test_a_process_is_as_old_as_its_last_beat(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    await asyncio.sleep(0.1)
    before = await peer(b, "a")
    assert before.age > 0
    await asyncio.sleep(0.1)
    assert (await peer(b, "a")).age > before.age
    # It is no part of what a process says of itself.
    assert await peer(b, "a") == before


async def test_a_beat_tells_of_a_call_that_is_over(join: Join) -> None:
    a, b = join("a"), join("b")
    await b.deliver("wacid.A", None, "over", otherwise=Delivery.BURIED)
    assert (await a.beat(Standing(), {"wacid.A": HOLDING})).lost == {"wacid.A": None}


async def test_a_letter_reaches_the_owner_of_a_call(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.claim("wacid.A", HOLDING)
    assert await b.deliver("wacid.A", None, "over", otherwise=Delivery.BURIED) is Delivery.SENT
    assert await a.deliver("wacid.A", None, "over", otherwise=Delivery.BURIED) is Delivery.OURS
    assert await letters(a) == ["over"]
    # It is the owner who says when it is over.
    assert not (await b.claim("wacid.A", HOLDING)).is_ours
    await a.bury("wacid.A")
    assert await b.deliver("wacid.A", None, "again", otherwise=Delivery.BURIED) is Delivery.OVER


async def test_a_letter_finds_a_call_by_its_other_name(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.claim("token", HOLDING)
    assert await b.deliver("wacid.A", "token", "rings", otherwise=Delivery.PARKED) is Delivery.SENT
    assert await letters(a) == ["rings"]


async def test_the_end_of_a_call_that_nobody_has_buries_it(join: Join) -> None:
    a, b = join("a"), join("b")
    assert await b.deliver("wacid.A", None, "over", otherwise=Delivery.BURIED) is Delivery.BURIED
    # Who has placed the call hears it nevertheless.
    assert await a.claim("wacid.A", HOLDING) == Claim(False, ("over",))
    assert await a.claim("wacid.A", HOLDING) == Claim(False)


async def test_a_letter_for_nobody_may_be_dropped(join: Join) -> None:
    a, b = join("a"), join("b")
    assert await b.deliver("wacid.A", None, "hello", otherwise=Delivery.DROPPED) is Delivery.DROPPED
    assert await a.claim("wacid.A", HOLDING) == Claim(True)
    assert await b.deliver("wacid.A", None, "hello", otherwise=Delivery.DROPPED) is Delivery.SENT
    await a.bury("wacid.A")
    assert await b.deliver("wacid.A", None, "hello", otherwise=Delivery.DROPPED) is Delivery.OVER


async def test_a_released_call_is_anybodys(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.claim("wacid.A", HOLDING)
    await b.release("wacid.A")
    assert not (await b.claim("wacid.A", HOLDING)).is_ours
    await a.release("wacid.A")
    assert (await b.claim("wacid.A", HOLDING)).is_ours


async def test_letters_wait_for_a_calls_owner(join: Join) -> None:
    a, b = join("a"), join("b")
    for number in range(MAX_PARKED + 1):
        told = await b.deliver("wacid.A", None, str(number), otherwise=Delivery.PARKED)
        assert told is Delivery.PARKED
    letters = tuple(str(number) for number in range(1, MAX_PARKED + 1))
    assert await a.claim("wacid.A", HOLDING) == Claim(True, letters)
    assert await a.claim("wacid.A", HOLDING) == Claim(True)


async def test_a_letter_comes_again_until_it_is_done(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    assert await b.send("a", "one")
    async with asyncio.timeout(30):
        assert [letter.text for letter in await a.receive()] == ["one"]
    # The process reconnects, or is another instance of the same name.
    again = join("a")
    assert await b.send("a", "two")
    assert await letters(again) == ["one", "two"] or not isinstance(again, RedisDirectory)


async def test_nothing_is_sent_to_a_process_that_is_not_there(join: Join) -> None:
    a, b = join("a"), join("b")
    assert not await b.send("a", "hello")
    await a.beat(Standing(), {})
    assert await b.send("a", "hello")
    await a.leave()
    assert not await b.send("a", "hello")
    assert [peer.name for peer in (await b.beat(Standing(), {})).peers] == ["b"]


async def test_what_a_process_leaves_unread_stays_until_it_is_done(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    await b.send("a", "one")
    await b.send("a", "two")
    unread = await a.leave()
    assert [letter.text for letter in unread] == ["one", "two"]
    # The answer may have been lost.
    assert await a.leave() == unread
    await a.done(unread)
    assert await a.leave() == []


async def test_everything_may_be_repeated(join: Join) -> None:
    a, b = join("a"), join("b")
    for _ in range(2):
        await a.beat(Standing(), {"wacid.A": HOLDING})
        assert await b.deliver("wacid.A", None, "x", otherwise=Delivery.BURIED) is Delivery.SENT
        await b.seize("wacid.B", HOLDING)
        assert (await b.claim("wacid.C", HOLDING)).is_ours
        assert not (await a.claim("wacid.C", HOLDING)).is_ours
    assert set(await letters(a)) == {"x"}
    await a.done([])
    for directory in (b, b, a, a):
        await directory.bury("wacid.B")
        await directory.release("wacid.C")
    assert await a.claim("wacid.B", HOLDING) == Claim(False)
    assert await a.claim("wacid.C", HOLDING) == Claim(True)
    await b.release("wacid.C")
    assert (await a.beat(Standing(), {})).unnamed == {"wacid.A": HOLDING, "wacid.C": HOLDING}


async def test_one_process_takes_over_what_a_dead_one_left(join: Join) -> None:
    a, b, c = join("a"), join("b"), join("c")
    for directory in (a, b, c):
        await directory.beat(Standing(), {})
    await a.claim("wacid.A", HOLDING)
    await a.claim("wacid.over", HOLDING)
    await a.bury("wacid.over")
    await b.send("a", "unread")
    dead = await peer(b, "a")
    taken = await asyncio.gather(b.take_over(dead), c.take_over(dead))
    assert sorted(map(dict, taken), key=len) == [{}, {"wacid.A": HOLDING}]
    heir = b if taken[0] else c
    assert await letters(heir) == ["unread"]
    # The heir owns them now: if it dies too, the next takes over.
    assert (await a.beat(Standing(), {"wacid.A": HOLDING})).lost == {"wacid.A": heir.node}
    other = c if heir is b else b
    assert await other.take_over(await peer(other, heir.node)) == {"wacid.A": HOLDING}


async def test_who_shows_life_is_not_taken_over(join: Join) -> None:
    a, b = join("a"), join("b")
    await a.beat(Standing(), {})
    await a.claim("wacid.A", HOLDING)
    seen = await peer(b, "a")
    await a.beat(Standing(), {"wacid.A": HOLDING})
    assert await b.take_over(seen) == {}
    assert not (await b.claim("wacid.A", HOLDING)).is_ours
