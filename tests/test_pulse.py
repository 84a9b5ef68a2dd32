"""Who lives and who has died: what a process leaves is dealt with once, by one other process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from bots import PlainBot
from conftest import until
from deployment import Deployment, Join, Member, brisk, join, over, steady
from pipecat_whatsapp.calls import neighbours
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.claims import Claims
from pipecat_whatsapp.calls.directory import Claim, Delivery, Holding, News, Peer, Standing
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.calls.neighbours import Neighbours
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.calls.pulse import Pulse
from pipecat_whatsapp.errors import DirectoryError
from pipecat_whatsapp.meta.events import Direction, User
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer, redis_server

__all__ = ["brisk", "join", "redis_server", "steady"]

pytestmark = pytest.mark.usefixtures("brisk", "patient_redis")

HOLDING = Holding("111", Direction.INBOUND)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent for a moment counts as dead."""
    monkeypatch.setattr(neighbours, "DEAD_SECONDS", 0.5)


def actions(whatsapp: WhatsApp) -> Counter[str]:
    return Counter(request.action for request in whatsapp.meta.requests)


def reported(*members: Member) -> int:
    return sum(member.reports.qsize() for member in members)


# Processes that die


@pytest.mark.usefixtures("impatient")
async def test_the_calls_of_a_dead_process_are_ended_once(whatsapp: WhatsApp, join: Join) -> None:
    async with Deployment(whatsapp, join) as deployment:
        dead, *others = [await deployment.add(max_calls=limit) for limit in (None, 0, 0)]
        deployment.route(dead)
        users = [User(user_id=f"DE.{number}") for number in range(3)]
        calls = [await (await whatsapp.phone(user)).dial() for user in users]
        await asyncio.gather(*(call.answered() for call in calls))
        await deployment.acquainted()
        await deployment.die(dead)
        deployment.route(others[0])
        assert [await call.ended() for call in calls] == ["terminated"] * 3
        await until(lambda: reported(*others) == 3)
        await deployment.acquainted()
        reports = [m.reports.get_nowait() for m in others for _ in range(m.reports.qsize())]
        assert {report.call_id for report in reports} == {call.id for call in calls}
        assert {report.cause for report in reports} == {Cause.PROCESS_DIED}
        ended = [call_id for member in others for call_id in member.log.ended]
        assert sorted(ended) == sorted(call.id for call in calls)
        assert actions(whatsapp)["terminate"] == 3
        assert [missed for member in others for missed in member.missed] == []


async def test_a_process_that_is_known_to_be_dead_is_not_waited_for(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        dead, *others = [await deployment.add() for _ in range(3)]
        deployment.route(dead)
        call = await phone.dial()
        await call.answered()
        await deployment.acquainted()
        await deployment.die(dead)
        deployment.route(others[0])
        for other in others:
            other.adapter.node_died(dead.node)
        assert await call.ended() == "terminated"
        await until(lambda: reported(*others) == 1)
        await deployment.acquainted()
        assert reported(*others) == 1
        assert actions(whatsapp) == Counter(pre_accept=1, accept=1, terminate=1)


async def test_a_call_that_rang_at_a_dead_process_is_ended(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    async with Deployment(whatsapp) as deployment:
        dead, other = await deployment.add(bot=PlainBot(ready=False)), await deployment.add()
        deployment.route(dead)
        call = await phone.dial()
        await call.connected()
        await deployment.acquainted()
        await deployment.die(dead)
        other.adapter.node_died(dead.node)
        assert await call.ended() in ("terminated", "rejected")
        report = await other.reports.next()
        assert (report.cause, report.answered) == (Cause.PROCESS_DIED, False)


async def test_a_call_that_was_being_placed_by_a_dead_process_is_nobodys(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    """Its id is not known, and what stands for it is no call."""
    whatsapp.meta.faults.hang.add("connect")
    whatsapp.meta.permissions.grant(phone.user)
    async with Deployment(whatsapp, join) as deployment:
        dead, other = await deployment.add(), await deployment.add()
        calling = asyncio.create_task(dead.adapter.call(phone.user))
        await whatsapp.meta.wait_request("connect")
        await deployment.acquainted()
        await deployment.die(dead)
        await calling
        deployment.route(other)
        other.adapter.node_died(dead.node)
        await until(lambda: len(other.line.news[-1].peers) == 1)
        await deployment.acquainted()
        await other.adapter.close()
        assert (reported(other), other.log.ended) == (0, [])
        assert actions(whatsapp) == Counter(connect=1)


@pytest.mark.usefixtures("steady")
async def test_a_call_that_a_dead_process_had_not_taken_yet_is_served_by_another(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        full = await deployment.add(max_calls=0)
        dead = await deployment.add()
        await deployment.acquainted()
        deployment.route(full)
        dead.line.hold()
        call = await phone.dial()
        await until(lambda: ("CallConnect", "sent on") in full.log.webhooks)
        await deployment.die(dead)
        heir = await deployment.add()
        await deployment.acquainted()
        for member in (full, heir):
            member.adapter.node_died(dead.node)
        await call.answered()
        assert heir.calls == [call.id]
        await call.hang_up()
        assert (await heir.reports.next()).cause is Cause.CALLER_HUNG_UP


async def test_nobody_ends_a_call_of_its_own_that_a_dead_process_had_too(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    board = Board()
    dead = MemoryDirectory("dead", board)
    async with Deployment(whatsapp, lambda node: MemoryDirectory(node, board)) as deployment:
        member = await deployment.add()
        call = await phone.dial()
        await call.answered()
        await dead.beat(Standing(), {})
        await deployment.acquainted()
        await dead.seize(call.id, HOLDING)
        member.adapter.node_died("dead")
        await deployment.acquainted()
        assert member.calls == [call.id]
        assert actions(whatsapp) == Counter(pre_accept=1, accept=1)
        await call.hang_up()
        assert (await member.reports.next()).cause is Cause.CALLER_HUNG_UP


# Processes that come back


@pytest.mark.usefixtures("impatient")
async def test_a_process_that_stood_still_ends_what_was_taken_from_it_and_goes_on(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        paused, other = await deployment.add(), await deployment.add()
        deployment.route(paused)
        call = await phone.dial()
        await call.answered()
        await deployment.acquainted()
        paused.line.hold()
        deployment.route(other)
        assert await call.ended() == "terminated"
        assert (await other.reports.next()).cause is Cause.PROCESS_DIED
        paused.line.resume()
        assert (await paused.reports.next()).cause is Cause.ENDED_ELSEWHERE
        assert paused.bot.running == 0
        # Once more than Meta needs, lest a user be left on a dead line.
        await until(lambda: actions(whatsapp)["terminate"] == 2)

        await deployment.acquainted()
        deployment.route(other, connect=paused)
        again = await phone.dial()
        await again.answered()
        assert paused.calls == [again.id]
        await again.hang_up()
        assert (await paused.reports.next()).cause is Cause.CALLER_HUNG_UP


@pytest.mark.usefixtures("impatient")
async def test_who_was_away_itself_takes_nobody_for_dead(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer
) -> None:
    async with Deployment(whatsapp, over(redis_server)) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a)
        call = await phone.dial()
        await call.answered()
        await deployment.acquainted()
        await redis_server.kill()
        failed = b.line.failed["beat"]
        # Longer than it takes to die.
        await until(lambda: b.line.failed["beat"] > failed + 12)
        await redis_server.start()
        await deployment.acquainted()
        assert (a.calls, reported(a, b)) == ([call.id], 0)
        await call.hang_up()


# The pulse by itself


class Heart:
    def __init__(self) -> None:
        self.standing = Standing(room=3)
        self.told: list[tuple[str, str | None]] = []
        self.inherited: list[str] = []
        self.letters: list[str] = []

    def lost(self, call_id: str, owner: str | None) -> None:
        self.told.append((call_id, owner))

    def inherit(self, call_id: str, holding: Holding) -> None:
        self.inherited.append(call_id)

    def open_letters(self, letters: Sequence[str]) -> None:
        self.letters.extend(letters)


class Failing(MemoryDirectory):
    """A directory that fails in whatever way it is told to."""

    errors: Sequence[Exception] = ()

    async def beat(self, standing: Standing, calls: Mapping[str, Holding]) -> News:
        if self.errors:
            error, *self.errors = self.errors
            raise error
        return await super().beat(standing, calls)


def pulse(directory: MemoryDirectory) -> tuple[Pulse, Heart, Claims]:
    heart, claims = Heart(), Claims(directory, lambda _: None)
    return Pulse(heart, directory, claims, Neighbours(directory.node)), heart, claims


async def test_an_outage_is_told_once_and_so_is_its_end(warnings: list[str]) -> None:
    directory = Failing()
    directory.errors = [DirectoryError("It is away."), DirectoryError("It is away.")]
    beating, _, claims = pulse(directory)
    for away in (True, True, False):
        await beating.beat()
        assert claims.is_away is away
    assert len(warnings) == 1


async def test_a_pulse_outlives_an_error_that_nobody_thought_of(warnings: list[str]) -> None:
    board = Board()
    directory = Failing("a", board)
    directory.errors = [ValueError("a bug of ours")]
    beating, _, _ = pulse(directory)
    running = asyncio.create_task(beating.run())
    await until(lambda: board.member("a").beats > 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(warnings) == 1


async def test_who_took_nothing_over_says_nothing(warnings: list[str]) -> None:
    board = Board()
    a, b, dead = (MemoryDirectory(node, board) for node in ("a", "b", "dead"))
    await dead.claim("wacid.A", HOLDING)
    await dead.beat(Standing(), {"wacid.A": HOLDING})
    (one, first, _), (other, second, _) = pulse(a), pulse(b)
    for beating in (one, other):
        await beating.beat()
        beating.node_died("dead")
    await one.beat()
    await other.beat()
    await other.beat()
    assert (first.inherited, second.inherited) == (["wacid.A"], [])
    assert len(warnings) == 1


async def test_peers_are_told_how_a_process_stands() -> None:
    board = Board()
    a, b = MemoryDirectory("a", board), MemoryDirectory("b", board)
    await pulse(a)[0].beat()
    (peer, _) = sorted((await b.beat(Standing(), {})).peers, key=lambda p: p.name)
    assert peer == Peer("a", 1, Standing(room=3))


async def test_what_was_taken_over_by_a_request_whose_answer_was_lost_is_ended() -> None:
    board = Board()
    dead, directory = MemoryDirectory("dead", board), MemoryDirectory("heir", board)
    await dead.claim("wacid.A", HOLDING)
    await dead.beat(Standing(), {"wacid.A": HOLDING})
    beating, heart, _ = pulse(directory)
    await beating.beat()
    # Carried out, but nobody here has heard the answer.
    (peer,) = [p for p in (await directory.beat(Standing(), {})).peers if p.name == "dead"]
    await directory.take_over(peer)
    await beating.beat()
    assert heart.inherited == []
    await beating.beat()
    assert heart.inherited == ["wacid.A"]


class Slow(MemoryDirectory):
    """A directory whose answers to claims are on their way for long."""

    def __init__(self) -> None:
        super().__init__()
        self.claimed = asyncio.Event()
        self.arrives = asyncio.Event()

    async def claim(self, call_id: str, holding: Holding) -> Claim:
        claim = await super().claim(call_id, holding)
        self.claimed.set()
        await self.arrives.wait()
        return claim


async def test_a_call_whose_claim_is_still_on_its_way_is_not_ended() -> None:
    directory = Slow()
    beating, heart, claims = pulse(directory)
    call = Call(call_id="wacid.A", phone_number_id="111", direction=Direction.INBOUND, user=User())
    claiming = asyncio.create_task(claims.claim(call))
    await directory.claimed.wait()
    for _ in range(3):
        await beating.beat()
    directory.arrives.set()
    assert await claiming
    await beating.beat()
    assert heart.inherited == []


async def test_letters_that_waited_for_a_forgotten_claim_are_read() -> None:
    board = Board()
    directory, other = MemoryDirectory("a", board), MemoryDirectory("b", board)
    beating, heart, claims = pulse(directory)
    call = Call(call_id="wacid.A", phone_number_id="111", direction=Direction.OUTBOUND, user=User())
    await claims.claim(call)
    await directory.release("wacid.A")
    await other.deliver("wacid.A", None, "it rings", otherwise=Delivery.PARKED)
    await beating.beat()
    assert heart.letters == ["it rings"]


async def test_a_claim_that_comes_into_effect_too_late_ends_nobodys_call() -> None:
    board = Board()
    directory = MemoryDirectory("a", board)
    beating, heart, claims = pulse(directory)
    await claims.release("wacid.A")
    await directory.claim("wacid.A", HOLDING)
    for _ in range(3):
        await beating.beat()
    assert heart.inherited == []
    assert (await MemoryDirectory("b", board).claim("wacid.A", HOLDING)).is_ours
