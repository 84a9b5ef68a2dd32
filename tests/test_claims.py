"""Which calls a process may serve, above all while Redis is away: nobody waits, and all heals."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

import pytest

from conftest import until
from deployment import Deployment, Member, brisk, over
from pipecat_whatsapp.calls import claims as module
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.claims import Claims
from pipecat_whatsapp.calls.directory import Claim, Delivery, Holding, Standing
from pipecat_whatsapp.calls.law import State
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.calls.outcome import Cause, Outcome
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.errors import DirectoryError
from pipecat_whatsapp.meta.events import Direction, User
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer, redis_server

__all__ = ["brisk", "redis_server"]

pytestmark = pytest.mark.usefixtures("brisk")

HOLDING = Holding("111", Direction.INBOUND)


def call(call_id: str = "wacid.A") -> Call:
    return Call(
        call_id=call_id, phone_number_id="111", direction=Direction.INBOUND, user=User(phone="49")
    )


@pytest.fixture
def whatsapp(whatsapp: WhatsApp, monkeypatch: pytest.MonkeyPatch) -> WhatsApp:
    """Its business waits long for the webhook that tells who hung up: it comes by way of Redis."""
    timing = Timing(link_lost_grace=30)
    monkeypatch.setattr(whatsapp, "config", partial(whatsapp.config, timing=timing))
    return whatsapp


class Office:
    """One process's claims, and a directory that a test may take away."""

    def __init__(self, board: Board, node: str) -> None:
        self.directory = MemoryDirectory(node, board)
        self.letters: list[str] = []
        self.is_reachable = True
        self.asked = 0
        self.claims = Claims(self, self.open)  # type: ignore[arg-type]

    def open(self, letters: Iterable[str]) -> None:
        self.letters.extend(letters)

    async def beat(self) -> Mapping[str, str | None]:
        lost = (await self.directory.beat(Standing(), self.claims.held)).lost
        self.claims.regain_sight()
        await self.claims.catch_up()
        return lost

    async def claim(self, call_id: str, holding: Holding) -> Claim:
        self._reach()
        return await self.directory.claim(call_id, holding)

    async def bury(self, call_id: str) -> None:
        self._reach()
        await self.directory.bury(call_id)

    async def first(self, token: str, seconds: float) -> bool:
        self._reach()
        return await self.directory.first(token, seconds)

    def _reach(self) -> None:
        self.asked += 1
        if not self.is_reachable:
            raise DirectoryError("It is away.")


@pytest.fixture
def offices() -> tuple[Office, Office]:
    board = Board()
    return Office(board, "a"), Office(board, "b")


# By themselves


async def test_a_call_is_taken_once(offices: tuple[Office, Office]) -> None:
    a, b = offices
    assert [await o.claims.claim(call()) for o in (a, b, a)] == [True, False, False]
    assert (dict(a.claims.held), dict(b.claims.held)) == ({"wacid.A": HOLDING}, {})
    assert not a.claims.is_unsure("wacid.A")
    await a.claims.bury("wacid.A")
    assert dict(a.claims.held) == {}
    assert not await b.claims.claim(call())


async def test_letters_that_waited_for_a_call_are_opened(offices: tuple[Office, Office]) -> None:
    a, b = offices
    assert (
        await b.directory.deliver("wacid.A", None, "hello", otherwise=Delivery.PARKED)
        is Delivery.PARKED
    )
    await a.claims.claim(call())
    assert a.letters == ["hello"]


async def test_nobody_asks_twice_while_the_directory_is_away(
    offices: tuple[Office, Office],
) -> None:
    a, _ = offices
    a.is_reachable = False
    assert await a.claims.claim(call("wacid.A"))
    assert await a.claims.claim(call("wacid.B"))
    assert not await a.claims.claim(call("wacid.B"))
    assert await a.claims.first("nonce", 60)
    assert not await a.claims.first("nonce", 60)
    assert (a.asked, a.claims.is_away) == (1, True)
    assert a.claims.is_unsure("wacid.A")


async def test_calls_taken_alone_are_told_later(offices: tuple[Office, Office]) -> None:
    a, b = offices
    a.is_reachable = b.is_reachable = False
    await a.claims.claim(call())
    await b.claims.claim(call())
    a.is_reachable = b.is_reachable = True
    assert await a.beat() == {}
    assert await b.beat() == {"wacid.A": "a"}
    assert b.claims.is_unsure("wacid.A")
    b.claims.drop("wacid.A")
    assert dict(b.claims.held) == {}
    assert await a.beat() == {}


async def test_ends_are_told_later(offices: tuple[Office, Office]) -> None:
    a, b = offices
    b.is_reachable = False
    ids = ["wacid.A", "wacid.B", "wacid.C"]
    for call_id in ids:
        assert await b.claims.claim(call(call_id))
        await b.claims.bury(call_id)
        assert b.claims.knows(call_id)
    b.is_reachable = True
    await b.beat()
    for call_id in ids:
        assert not b.claims.knows(call_id)
        assert not await a.claims.claim(call(call_id))


async def test_who_has_lost_a_call_ends_it_for_nobody(offices: tuple[Office, Office]) -> None:
    a, b = offices
    await a.claims.claim(call("wacid.A"))
    b.is_reachable = False
    assert await b.claims.claim(call("wacid.A"))
    await b.claims.bury("wacid.A")
    b.is_reachable = True
    await b.beat()
    assert await a.beat() == {}


async def test_ends_that_nobody_can_be_told_are_not_kept_without_bound(
    offices: tuple[Office, Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OWED", 1)
    a, b = offices
    a.is_reachable = False
    for call_id in ("wacid.A", "wacid.B"):
        await a.claims.bury(call_id)
    a.is_reachable = True
    await a.beat()
    assert await b.claims.claim(call("wacid.A"))
    assert not await b.claims.claim(call("wacid.B"))


# Redis is away


async def is_away(*members: Member) -> None:
    """Until the processes have noticed: a beat has failed that began after now."""
    for member in members:
        before = member.line.failed["beat"]
        await until(lambda m=member, n=before: m.line.failed["beat"] > n)  # type: ignore[misc]


async def test_calls_go_on_without_redis(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer
) -> None:
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a)
        running = await phone.dial()
        await running.answered()
        await redis_server.kill()
        await is_away(a, b)
        new = await (await whatsapp.phone(User(user_id="DE.2"))).dial()
        await new.answered()
        assert a.calls == [running.id, new.id]
        await running.hang_up()
        assert (await a.reports.next()).cause is Cause.CALLER_HUNG_UP
        await redis_server.start()
        await deployment.acquainted()
        deployment.route(b)
        await new.hang_up()
        report = await a.reports.next()
        assert (report.call_id, report.cause) == (new.id, Cause.CALLER_HUNG_UP)
        assert whatsapp.meta.requests[-1].action == "accept"


async def test_a_redis_that_is_away_from_the_start_is_found_later(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    server = RedisServer()
    async with Deployment(whatsapp, over(server)) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a, terminate=b)
        call = await phone.dial()
        await call.answered()
        async with server:
            await deployment.acquainted()
            await call.hang_up()
            assert (await a.reports.next()).cause is Cause.CALLER_HUNG_UP


async def test_a_redis_that_stands_still_holds_no_call(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer
) -> None:
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        a, b = await deployment.add(), await deployment.add(max_calls=0)
        await deployment.acquainted()
        deployment.route(a, terminate=b)
        redis_server.pause()
        call = await phone.dial()
        await call.answered()
        await call.hang_up()
        assert b.log.began == []
        redis_server.resume()
        assert (await a.reports.next()).cause in (Cause.ENDED_ELSEWHERE, Cause.CALLER_HUNG_UP)


async def test_an_end_that_comes_elsewhere_while_redis_is_away_is_heard_later(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer
) -> None:
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a, terminate=b)
        call = await phone.dial()
        await call.answered()
        await redis_server.kill()
        await is_away(a, b)
        await whatsapp.meta.calls[call.id].hang_up()
        await until(lambda: ("CallTerminate", "over") in b.log.webhooks)
        assert a.calls == [call.id]
        b.line.hold()
        told = a.line.asked["beat"]
        await redis_server.start()
        # Redis, which has lost its memory, must know whose the call is.
        await until(lambda: a.line.asked["beat"] > told)
        b.line.resume()
        assert (await a.reports.next()).cause is Cause.CALLER_HUNG_UP
        assert Counter(r.action for r in whatsapp.meta.requests) == Counter(pre_accept=1, accept=1)


async def test_of_two_that_take_a_call_without_redis_meta_takes_one(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer
) -> None:
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        members = [await deployment.add(), await deployment.add()]
        await redis_server.kill()
        await is_away(*members)
        whatsapp.meta.faults.duplicate = 1
        call = await phone.dial()
        await call.answered()
        await until(lambda: sum(len(member.calls) for member in members) == 1)
        (winner,) = (member for member in members if member.calls)
        (loser,) = (member for member in members if not member.calls)
        assert (await loser.reports.next()).cause is Cause.SERVED_ELSEWHERE
        assert loser.log.began == loser.log.ended == [call.id]

        await redis_server.start()
        await deployment.acquainted()
        await deployment.acquainted()
        assert winner.calls == [call.id]
        whatsapp.meta.faults.duplicate = 0
        deployment.route(loser)
        await call.hang_up()
        assert (await winner.reports.next()).cause is Cause.CALLER_HUNG_UP
        assert loser.missed == winner.missed == []
        heard = Counter(r.action for r in whatsapp.meta.requests)
        assert heard == Counter(pre_accept=2, accept=1)


async def test_redis_comes_back_while_two_set_up_the_same_call(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer
) -> None:
    """Whom Meta has not heard yet lets the other have it."""
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        decide = asyncio.Event()

        async def hook(_: Call) -> None:
            await decide.wait()

        quick, slow = await deployment.add(), await deployment.add(on_incoming_call=hook)
        await redis_server.kill()
        await is_away(quick, slow)
        whatsapp.meta.faults.duplicate = 1
        call = await phone.dial()
        await call.answered()
        await redis_server.start()
        await deployment.acquainted()
        assert (await slow.reports.next()).cause is Cause.SERVED_ELSEWHERE
        await deployment.acquainted()
        assert quick.calls == [call.id]
        assert slow.bot.started == []
        await call.hang_up()
        assert (await quick.reports.next()).cause is Cause.CALLER_HUNG_UP
        heard = Counter(r.action for r in whatsapp.meta.requests)
        assert heard == Counter(pre_accept=1, accept=1)


@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_what_is_said_of_a_call_of_ours_while_redis_is_away_comes_late(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer, first: str
) -> None:
    """Whichever process is the first to find Redis again."""
    whatsapp.meta.permissions.grant(phone.user)
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a, accepted=b)
        calling = asyncio.create_task(a.adapter.call(phone.user))
        ringing = await phone.rings()
        await until(lambda: a.adapter.calls[0].state is State.ALERTING)
        await redis_server.kill()
        await is_away(a, b)
        # No voice tells of it either.
        whatsapp.meta.calls[ringing.id].pick_up()  # type: ignore[attr-defined]
        await whatsapp.meta.wait_delivery("accepted", ringing.id)
        assert not calling.done()
        late, early = (b, a) if first == "ours" else (a, b)
        late.line.hold()
        told = early.line.asked.copy()
        await redis_server.start()
        await until(lambda: early.line.asked["beat"] > told["beat"])
        await until(lambda: early is a or early.line.asked["deliver"] > told["deliver"])
        late.line.resume()
        assert (await calling).outcome is Outcome.ANSWERED
        await ringing.hang_up()


async def test_nobody_waits_for_what_cannot_be_passed_on(
    whatsapp: WhatsApp, redis_server: RedisServer
) -> None:
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        member = await deployment.add()
        await redis_server.kill()
        await is_away(member)
        status = {"id": "wacid.SOMEBODYS", "type": "call", "status": "RINGING"}
        await whatsapp.meta.deliver({"statuses": [status]})
        await until(lambda: len(member.offered) == 1)
        async with asyncio.timeout(30):
            assert await member.adapter.drain()


async def test_an_outage_that_a_call_notices_first_is_told(
    offices: tuple[Office, Office], warnings: list[str]
) -> None:
    a, _ = offices
    a.is_reachable = False
    await a.claims.first("nonce", 60)
    await a.claims.first("another", 60)
    assert warnings[0].endswith("It is away.\n")
    assert len(warnings) == 1


async def test_a_redis_that_lost_its_memory_is_told_again(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer
) -> None:
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a)
        call = await phone.dial()
        await call.answered()
        await redis_server.restart()
        await deployment.acquainted()
        assert a.calls == [call.id]
        deployment.route(b)
        await call.hang_up()
        assert (await a.reports.next()).cause is Cause.CALLER_HUNG_UP
        await until(lambda: b.log.webhooks == [("CallTerminate", "sent on")])


async def test_a_request_to_call_counts_once_without_redis(redis_server: RedisServer) -> None:
    directory = over(redis_server)("a")
    claims = Claims(directory, lambda _: None)
    await redis_server.kill()
    assert await claims.first("dial:nonce", 60)
    assert not await claims.first("dial:nonce", 60)
    await directory.close()
