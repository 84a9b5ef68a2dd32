"""Every event comes to the process that can serve it: real calls, and several processes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from conftest import until
from deployment import Deployment, Join, Member, brisk, join, steady
from pipecat_whatsapp.calls import exchange, parcel
from pipecat_whatsapp.calls.bot import Accept, IncomingCallHook
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.directory import Standing
from pipecat_whatsapp.calls.letters import Forwarded, seal
from pipecat_whatsapp.calls.memory import MAX_WAITING, Board, MemoryDirectory
from pipecat_whatsapp.calls.neighbours import BALANCE
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.meta.events import CallConnect, Direction, User
from pipecat_whatsapp.simulator import payloads
from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.phone import Phone, PhoneCall
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

__all__ = ["brisk", "join", "steady"]

pytestmark = pytest.mark.usefixtures("brisk", "patient_redis", "steady")


def actions(whatsapp: WhatsApp) -> Counter[str]:
    return Counter(request.action for request in whatsapp.meta.requests)


def started(deployment: Deployment) -> int:
    return sum(len(member.bot.started) for member in deployment.members)


async def dial_many(whatsapp: WhatsApp, count: int) -> list[PhoneCall]:
    users = [User(user_id=f"DE.{number}") for number in range(count)]
    return [await (await whatsapp.phone(user)).dial() for user in users]


# One bot per call


async def test_the_end_of_a_call_reaches_the_process_that_has_it(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a, terminate=b)
        call = await phone.dial()
        await call.answered()
        assert a.calls == [call.id]
        await call.hang_up()
        report = await a.reports.next()
        assert report.cause is Cause.CALLER_HUNG_UP
        assert report.terminate is not None
        assert (a.adapter.calls, b.adapter.calls) == ((), ())
        assert actions(whatsapp) == Counter(pre_accept=1, accept=1)
        assert (a.log.began, a.log.ended, b.log.began) == ([call.id], [call.id], [])


async def test_duplicates_at_all_processes_start_one_bot(whatsapp: WhatsApp, join: Join) -> None:
    whatsapp.meta.faults.duplicate = 5
    async with Deployment(whatsapp, join) as deployment:
        members = [await deployment.add() for _ in range(3)]
        calls = await dial_many(whatsapp, 4)
        await asyncio.gather(*(call.answered() for call in calls))
        await asyncio.gather(*(call.hang_up() for call in calls))
        await until(lambda: sum(m.reports.qsize() for m in members) == 4)
        began = [call_id for m in members for call_id in m.log.began]
        assert sorted(began) == sorted(call.id for call in calls)
        assert started(deployment) == 4
        assert actions(whatsapp) == Counter(pre_accept=4, accept=4)


async def test_duplicates_at_a_process_whose_hook_is_slow_ring_once(whatsapp: WhatsApp) -> None:
    release = asyncio.Event()

    async def region_of(_: CallConnect) -> None:
        await release.wait()

    async with Deployment(whatsapp) as deployment:
        a, _ = await deployment.add(region_of=region_of), await deployment.add()
        await deployment.acquainted()
        deployment.route(a)
        whatsapp.meta.faults.duplicate = 3
        phone = await whatsapp.phone()
        call = await phone.dial()
        await whatsapp.meta.wait_delivery("connect", call.id, count=4)
        release.set()
        await call.answered()
        assert a.calls == [call.id]
        await call.hang_up()
        assert (await a.reports.next()).cause is Cause.CALLER_HUNG_UP
        assert started(deployment) == 1


async def test_a_batch_in_any_order_is_served(whatsapp: WhatsApp, join: Join) -> None:
    async with Deployment(whatsapp, join) as deployment:
        members = [await deployment.add() for _ in range(2)]
        whatsapp.meta.faults.hold()
        whatsapp.meta.faults.duplicate = 1
        gone, *calls = await dial_many(whatsapp, 3)
        hanging_up = asyncio.create_task(gone.hang_up())
        await until(lambda: whatsapp.meta.calls[gone.id].ended_reason is not None)
        await whatsapp.meta.release(batch=True, reverse=True)
        await asyncio.gather(*(call.answered() for call in calls))
        await hanging_up
        await asyncio.gather(*(call.hang_up() for call in calls))
        await until(lambda: sum(m.reports.qsize() for m in members) == 2)
        assert started(deployment) == 2
        assert actions(whatsapp) == Counter(pre_accept=2, accept=2)


async def test_an_end_before_the_beginning_at_another_process(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a, terminate=b)
        whatsapp.meta.faults.hold()
        call = await phone.dial()
        hanging_up = asyncio.create_task(call.hang_up())
        await until(lambda: whatsapp.meta.calls[call.id].ended_reason is not None)
        a.line.hold()
        await whatsapp.meta.release()
        await hanging_up
        await until(lambda: ("CallTerminate", "over") in b.log.webhooks)
        a.line.resume()
        await until(lambda: ("CallConnect", "served") in a.log.webhooks)
        assert await a.adapter.drain(timeout=30)
        assert started(deployment) == 0
        assert (a.log.began, b.log.began) == ([], [])
        assert actions(whatsapp) == Counter()


@pytest.mark.parametrize("action", ["pre_accept", "accept"])
async def test_an_end_at_another_process_while_meta_is_asked(
    whatsapp: WhatsApp, phone: Phone, join: Join, action: str
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a, terminate=b)
        whatsapp.meta.faults.hang.add(action)
        call = await phone.dial()
        await whatsapp.meta.wait_request(action, call.id)
        await call.hang_up()
        assert (await a.reports.next()).cause is Cause.CALLER_HUNG_UP
        await until(lambda: a.missed == [call.id])
        assert a.bot.running == 0
        assert set(actions(whatsapp)) <= {"pre_accept", "accept"}


async def test_an_end_at_another_process_while_the_claim_is_under_way(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a, terminate=b)
        a.line.hold()
        call = await phone.dial()
        await until(lambda: a.calls == [call.id])
        await call.hang_up()
        await until(lambda: ("CallTerminate", "over") in b.log.webhooks)
        a.line.resume()
        assert await a.adapter.drain(timeout=30)
        assert started(deployment) == 0
        assert actions(whatsapp) == Counter()


async def test_an_end_at_a_process_that_is_about_to_learn_whose_call_it_is(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        await deployment.acquainted()
        whatsapp.meta.faults.duplicate = 1
        whatsapp.meta.faults.hang.add("pre_accept")
        turns = itertools.cycle([a, b])
        deployment.choose = lambda body: next(turns) if b'"connect"' in body else b
        b.line.hold()
        call = await phone.dial()
        await until(lambda: a.calls == b.calls == [call.id])
        await whatsapp.meta.wait_request("pre_accept", call.id)  # The call is a's.
        await call.hang_up()
        await until(lambda: b.calls == [])
        b.line.resume()
        assert (await a.reports.next()).cause is Cause.CALLER_HUNG_UP
        assert b.log.began == []


async def test_terms_of_a_call_come_back_with_its_end(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async def hook(_: Call) -> Accept:
        return Accept(biz_opaque_callback_data="order 66")

    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(on_incoming_call=hook), await deployment.add()
        deployment.route(a, terminate=b)
        call = await phone.dial()
        await call.answered()
        await call.hang_up()
        report = await a.reports.next()
        assert report.cause is Cause.CALLER_HUNG_UP
        assert report.biz_opaque_callback_data == "order 66"


# Handed on


async def serves(call: PhoneCall, member: Member) -> None:
    """A call is answered by one process, and its end comes there, too."""
    await call.answered()
    assert member.calls == [call.id]
    await call.hang_up()
    report = await member.reports.next()
    assert (report.call_id, report.cause) == (call.id, Cause.CALLER_HUNG_UP)


async def test_a_full_process_hands_the_call_on(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        full, free = await deployment.add(max_calls=0), await deployment.add(max_calls=1)
        deployment.route(full)
        await deployment.acquainted()
        await serves(await phone.dial(), free)
        assert full.log.began == []
        assert ("CallConnect", "sent on") in full.log.webhooks
        assert ("CallTerminate", "sent on") in full.log.webhooks


async def test_a_process_that_drains_hands_the_call_on(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        leaving, free = await deployment.add(), await deployment.add()
        deployment.route(leaving)
        await leaving.adapter.drain(timeout=0)
        await deployment.acquainted()
        await serves(await phone.dial(), free)


async def test_a_process_that_is_late_hands_the_call_on(whatsapp: WhatsApp, phone: Phone) -> None:
    async with Deployment(whatsapp) as deployment:
        late, free = await deployment.add(max_lag=1e-9), await deployment.add()
        deployment.route(late)
        await until(lambda: late.adapter.hindrance() is None and _is_late(late))
        await deployment.acquainted()
        await serves(await phone.dial(), free)


def _is_late(member: Member) -> bool:
    """Whether a process has told that it takes no call."""
    told = [peer.standing for peer in member.line.news[-1].peers if peer.name == member.node]
    return told == [Standing(calls=0, room=0, host=told[0].host)]


async def test_a_call_is_served_where_it_shall_be(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async def region_of(connect: CallConnect) -> str:
        assert connect.user.phone == phone.user.phone
        return "south"

    async with Deployment(whatsapp, join) as deployment:
        north = await deployment.add(region="north", region_of=region_of)
        south = await deployment.add(region="south", region_of=region_of)
        deployment.route(north)
        await deployment.acquainted()
        await serves(await phone.dial(), south)
        deployment.route(south)
        await serves(await phone.dial(), south)


async def _no_region_at_all(_: CallConnect) -> str:
    raise RuntimeError("a bug of the application")


async def _south(_: CallConnect) -> str:
    return "south"


async def _nowhere(_: CallConnect) -> str:
    return "atlantis"


async def _never(_: CallConnect) -> str:
    await asyncio.Event().wait()
    return "south"


@pytest.mark.parametrize("region_of", [_no_region_at_all, _south, _nowhere, _never])
async def test_a_wish_that_cannot_be_fulfilled_stops_no_call(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch, region_of: Any
) -> None:
    monkeypatch.setattr(exchange, "REGION_SECONDS", 0.1)
    async with Deployment(whatsapp) as deployment:
        north = await deployment.add(region="north", region_of=region_of)
        await deployment.add(region="south", max_calls=0)
        deployment.route(north)
        await deployment.acquainted()
        await serves(await phone.dial(), north)


async def test_where_calls_shall_be_is_not_asked_of_a_process_that_is_alone(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    async with Deployment(whatsapp) as deployment:
        alone = await deployment.add(region_of=_never)
        await serves(await phone.dial(), alone)


async def test_calls_spread_over_the_processes(whatsapp: WhatsApp, join: Join) -> None:
    async with Deployment(whatsapp, join) as deployment:
        members = [await deployment.add() for _ in range(3)]
        deployment.route(members[0])
        await deployment.acquainted()
        calls = await dial_many(whatsapp, 9)
        await asyncio.gather(*(call.answered() for call in calls))
        shares = [len(member.calls) for member in members]
        assert sum(shares) == 9
        assert min(shares) > 0
        assert actions(whatsapp)["reject"] == 0


async def test_many_calls_at_once_all_find_room(whatsapp: WhatsApp, join: Join) -> None:
    async with Deployment(whatsapp, join) as deployment:
        members = [await deployment.add(max_calls=20) for _ in range(3)]
        deployment.route(members[0])
        await deployment.acquainted()
        calls = await dial_many(whatsapp, 50)
        await asyncio.gather(*(call.answered() for call in calls))
        assert sum(len(member.calls) for member in members) == 50
        assert max(len(member.calls) for member in members) <= 20
        assert actions(whatsapp) == Counter(pre_accept=50, accept=50)


async def test_without_room_anywhere_a_call_is_rejected_once(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    whatsapp.meta.faults.duplicate = 2
    async with Deployment(whatsapp, join) as deployment:
        members = [await deployment.add(max_calls=0) for _ in range(3)]
        await deployment.acquainted()
        call = await phone.dial()
        assert await call.ended() == "rejected"
        await until(lambda: sum(m.reports.qsize() for m in members) == 1)
        assert actions(whatsapp) == Counter(reject=1)
        assert [missed for member in members for missed in member.missed] == [call.id]


async def test_who_was_chosen_takes_the_call_though_another_has_less_to_do(
    whatsapp: WhatsApp,
) -> None:
    """Whoever chose may know more."""
    board = Board()
    async with Deployment(whatsapp, lambda node: MemoryDirectory(node, board)) as deployment:
        busy, idle = await deployment.add(), await deployment.add()
        deployment.route(busy)
        await asyncio.gather(*(c.answered() for c in await dial_many(whatsapp, BALANCE)))
        assert len(busy.calls) == BALANCE
        await deployment.acquainted()
        whatsapp.meta.faults.hold()
        caller = User(user_id="DE.99")
        call = await (await whatsapp.phone(caller)).dial()
        letter = seal(Forwarded(_connect(whatsapp, call, caller), hops=1), Account().app_secret)
        assert await MemoryDirectory("elsewhere", board).send(busy.node, letter)
        await call.answered()
        assert (len(busy.calls), idle.calls) == (BALANCE + 1, [])


@pytest.mark.parametrize("first", ["busy", "idle"])
async def test_of_two_that_take_a_call_whose_letter_was_late_meta_takes_one(
    whatsapp: WhatsApp, join: Join, first: str
) -> None:
    """The call was handed on, but the directory did not say so in time."""
    caller = User(user_id="DE.99")
    members: dict[str, Member] = {}
    taken: set[str] = set()

    def hook_of(name: str) -> IncomingCallHook:
        async def hook(call: Call) -> None:
            if call.user.user_id == caller.user_id:
                members[name].line.hold()
                taken.add(name)
                await until(lambda: len(taken) == 2)
                if name != first:
                    await whatsapp.meta.wait_request("accept", call.id)

        return hook

    async with Deployment(whatsapp, join) as deployment:
        for name in ("busy", "idle"):
            members[name] = await deployment.add(on_incoming_call=hook_of(name))
        busy, idle = members.values()
        deployment.route(busy)
        await asyncio.gather(*(c.answered() for c in await dial_many(whatsapp, BALANCE)))
        await deployment.acquainted()
        busy.line.unanswered.add("send")
        call = await (await whatsapp.phone(caller)).dial()
        await call.answered()
        await whatsapp.meta.wait_request("pre_accept", call.id, count=2)
        for member in (busy, idle):
            member.line.unanswered.clear()
            member.line.resume()
        winner, loser = members.pop(first), *members.values()
        report = await loser.reports.next()
        assert report.cause is Cause.SERVED_ELSEWHERE
        assert "accepted already" in report.detail
        await deployment.acquainted()
        assert call.id in winner.calls
        deployment.route(loser)
        await call.hang_up()
        assert (await winner.reports.next()).cause is Cause.CALLER_HUNG_UP
        heard = Counter(r.action for r in whatsapp.meta.requests if r.call_id == call.id)
        assert heard == Counter(pre_accept=2, accept=1)


async def test_a_call_is_not_handed_on_for_ever(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes each of which takes the other for one that has room."""
    async with Deployment(whatsapp) as deployment:
        a, b = await deployment.add(max_calls=1), await deployment.add(max_calls=1)
        await deployment.acquainted()
        for member in (a, b):
            member.line.hold()
            member.adapter.configure(max_calls=0)
        # What they know of each other is old now, and their letters go on.
        for member in (a, b):
            member.line.resume()
        call = await phone.dial()
        assert await call.ended() == "rejected"
        sent = [log for m in (a, b) for log in m.log.webhooks].count(("CallConnect", "sent on"))
        assert sent <= exchange.MAX_HOPS
        assert actions(whatsapp) == Counter(reject=1)


# Waiting for room


async def test_a_call_waits_until_a_process_comes_up(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        full = await deployment.add(max_calls=0, timing=Timing(room_patience=20))
        deployment.route(full)
        call = await phone.dial()
        await until(lambda: ("CallConnect", "waiting") in full.log.webhooks)
        await serves(call, await deployment.add())


async def test_a_call_waits_until_there_is_room_here(whatsapp: WhatsApp) -> None:
    whatsapp.meta.faults.duplicate = 2
    async with Deployment(whatsapp) as deployment:
        member = await deployment.add(max_calls=1, timing=Timing(room_patience=20))
        first, second = await dial_many(whatsapp, 2)
        await until(lambda: ("CallConnect", "waiting") in member.log.webhooks)
        (served,) = {call for call in (first, second) if call.id in member.calls}
        (waiting,) = {first, second} - {served}
        await whatsapp.meta.wait_delivery("connect", waiting.id, count=3)
        await served.answered()
        await served.hang_up()
        await waiting.answered()
        await waiting.hang_up()
        ended = [(await member.reports.next()).call_id for _ in range(2)]
        assert ended == [served.id, waiting.id]
        assert actions(whatsapp) == Counter(pre_accept=2, accept=2)


async def test_a_call_that_waits_in_vain_is_rejected(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Deployment(whatsapp) as deployment:
        full = await deployment.add(max_calls=0, timing=Timing(room_patience=1.0))
        waiting = ("CallConnect", "waiting")
        # It grows old only once it waits.
        monkeypatch.setattr(
            parcel, "age_of", lambda _: 2.0 if waiting in full.log.webhooks else 0.0
        )
        call = await phone.dial()
        await until(lambda: waiting in full.log.webhooks)
        assert await call.ended() == "rejected"
        assert (await full.reports.next()).cause is Cause.BUSY
        assert actions(whatsapp) == Counter(reject=1)


async def test_who_hangs_up_while_waiting_is_forgotten(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        full = await deployment.add(max_calls=0, timing=Timing(room_patience=20))
        other = await deployment.add(max_calls=0)
        deployment.route(full, terminate=other)
        call = await phone.dial()
        await until(lambda: ("CallConnect", "waiting") in full.log.webhooks)
        await call.hang_up()
        await until(lambda: ("CallTerminate", "over") in other.log.webhooks)
        full.adapter.configure(max_calls=5)
        await until(lambda: full.line.asked["claim"] == 1)
        assert await full.adapter.drain(timeout=30)
        assert started(deployment) == 0
        assert (full.log.began, full.missed) == ([], [])
        assert actions(whatsapp) == Counter()


async def test_who_waits_at_the_second_process_and_hangs_up_is_forgotten(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    """The beginning and the end are handed on together, to a process that is full by then."""
    async with Deployment(whatsapp) as deployment:
        full = await deployment.add(max_calls=0)
        other = await deployment.add(max_calls=1, timing=Timing(room_patience=20))
        deployment.route(full)
        await deployment.acquainted()
        other.line.hold()
        whatsapp.meta.faults.hold()
        call = await phone.dial()
        hanging_up = asyncio.create_task(call.hang_up())
        await until(lambda: whatsapp.meta.calls[call.id].ended_reason is not None)
        await whatsapp.meta.release(batch=True)
        await hanging_up
        await until(lambda: ("CallTerminate", "sent on") in full.log.webhooks)
        other.adapter.configure(max_calls=0)
        other.line.resume()
        await until(lambda: ("CallConnect", "waiting") in other.log.webhooks)
        other.adapter.configure(max_calls=1)
        await until(lambda: other.line.asked["claim"] == 1)
        assert await other.adapter.drain(timeout=30)
        assert other.log.began == []
        assert actions(whatsapp) == Counter()


# One process alone


@pytest.mark.parametrize("batch", [1, 5000])
async def test_a_flood_of_ends_of_unknown_calls_leaves_little(
    whatsapp: WhatsApp, batch: int
) -> None:
    board = Board()
    async with Deployment(whatsapp, lambda node: MemoryDirectory(node, board)) as deployment:
        member = await deployment.add()
        for first in range(0, 10_000, batch):
            body = _terminates(whatsapp, range(first, first + batch))
            assert (await member.adapter.handle("POST", {}, _signed(body), body)).status == 200
        assert await member.adapter.drain(timeout=60)
        assert member.log.webhooks.count(("CallTerminate", "over")) == 10_000
        assert len(board.parked) <= MAX_WAITING
        assert (member.log.began, member.offered) == ([], [])


def _connect(whatsapp: WhatsApp, call: PhoneCall, user: User) -> bytes:
    assert call.offer_sdp is not None
    account, facts = whatsapp.meta.account, payloads.CallFacts(call.id, user, Direction.INBOUND)
    told = payloads.connect(account, facts, call.offer_sdp, timestamp=int(time.time()))
    return payloads.serialise(payloads.envelope(account, [{"field": "calls", "value": told}]))


def _terminates(whatsapp: WhatsApp, numbers: Iterable[int]) -> bytes:
    account, user = whatsapp.meta.account, User(user_id="DE.9")
    facts = (payloads.CallFacts(f"wacid.{n}", user, Direction.INBOUND) for n in numbers)
    told = (
        payloads.terminate(account, call, timestamp=1, start_time=None, error=None)
        for call in facts
    )
    changes = [{"field": "calls", "value": value} for value in told]
    return payloads.serialise(payloads.envelope(account, changes))


def _signed(body: bytes) -> dict[str, str]:
    return {"x-hub-signature-256": payloads.signature(body, Account().app_secret)}
