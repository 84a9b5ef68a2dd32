"""Many calls at once, and webhooks that come twice, late, in heaps and in any order."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis

from conftest import until
from load_balancer import LoadBalancer
from obedient_bot import Wish
from pipecat_whatsapp.simulator.phone import PhoneCall, PhoneError
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer, redis_server
from served import Served, caller, requests_of, runs, serving, user_phone

__all__ = ["redis_server"]

BOT = Path(__file__).parent / "obedient_bot.py"
CALLS = 500
AT_ONCE = 20


class Storm:
    """Passes webhooks on in shuffled heaps, each up to three times.

    Args:
        balancer: Where they come from, and go out again.
    """

    def __init__(self, balancer: LoadBalancer) -> None:
        self._balancer = balancer
        self._random = random.Random(1)  # noqa: S311 - no secret
        self._pile: list[bytes] = []

    def __call__(self, webhook: bytes) -> None:
        if not self._pile:
            asyncio.get_running_loop().call_later(0.02, self._blow)
        self._pile.append(webhook)

    def _blow(self) -> None:
        pile, self._pile = self._pile, []
        for seconds in [0.0, *self._random.sample([0.0, 0.05, 0.3, 1.0], 2)]:
            self._random.shuffle(pile)
            heaps = list(pile)
            while heaps:
                size = self._random.randint(1, 4)
                self._balancer.send_later(seconds, *heaps[:size])
                del heaps[:size]


async def short_call(whatsapp: WhatsApp, number: int) -> tuple[str, str]:
    """A short call of one of several kinds. Returns its id and its kind."""
    kind = ("caller", "bot", "caller", "bot", "impatient")[number % 5]
    phone = await user_phone(whatsapp, number)
    call = await phone.dial(cta_payload=Wish.HANG_UP if kind == "bot" else None)
    if kind != "impatient":
        await call.answered()
    if kind == "bot":
        assert await call.ended() == "terminated"
    else:
        await call.hang_up()
    return call.id, kind


@dataclass(frozen=True)
class Belongings:
    """What a worker holds.

    Parameters:
        tasks: How many run.
        datagram_sockets: How many are open.
        files: How many are open, sockets of all kinds included.
    """

    tasks: int
    datagram_sockets: int
    files: int

    def are_none_of(self, calls: int, before: Belongings) -> bool:
        """Whether nothing is left of calls; connections to HTTP servers and Redis may be."""
        is_same = (self.tasks, self.datagram_sockets) == (before.tasks, before.datagram_sockets)
        return is_same and self.files < calls // 2


async def belongings(served: Served) -> dict[int, Belongings]:
    """What each worker holds, by its process id."""
    found: dict[int, Belongings] = {}
    async with asyncio.timeout(30):
        while found.keys() != set(served.workers):
            async with aiohttp.request("GET", served.url + "/readyz") as answer:
                told = await answer.json()
                found[told["pid"]] = Belongings(**told["holds"])
    return found


async def test_a_storm_of_webhooks(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with serving(whatsapp, tmp_path, *options, bot=BOT) as served:
        workers = served.workers
        before = await belongings(served)
        async with LoadBalancer(whatsapp, served) as balancer:
            balancer.pass_on = Storm(balancer)
            room = asyncio.Semaphore(AT_ONCE)

            async def in_turn(number: int) -> tuple[str, str]:
                async with room:
                    return await short_call(whatsapp, number)

            kinds = dict(await asyncio.gather(*map(in_turn, range(CALLS))))
            await balancer.settled()
        assert set(balancer.statuses) == {200}
        for call_id, kind in kinds.items():
            _check(whatsapp, call_id, kind)
        answered = [call_id for call_id, kind in kinds.items() if kind != "impatient"]
        await until(lambda: all(served.ends_at_owner_of(call_id) for call_id in answered))
        assert {len(served.ends_at_owner_of(call_id)) for call_id in answered} == {1}
        assert {len(served.ends_at_owner_of(call_id)) for call_id in kinds} <= {0, 1}
        await _leave_nothing(served, before)
        await _keys_expire(redis_server)
        served.command.send(signal.SIGTERM)
        assert (await served.command.ends()).code == 0
        assert not any(map(runs, workers))


def _check(whatsapp: WhatsApp, call_id: str, kind: str) -> None:
    # Who has not heard yet of a call's end, or of another who has it, tries, and Meta refuses it.
    done = {
        action: times
        for (action, status), times in requests_of(whatsapp, call_id).items()
        if status == 200
    }
    if kind == "impatient":
        assert done.keys() <= {"pre_accept"}
    else:
        ends = {"terminate": 1} if kind == "bot" else {}
        assert done == {"pre_accept": 1, "accept": 1} | ends


async def _leave_nothing(served: Served, before: dict[int, Belongings]) -> None:
    async with asyncio.timeout(30):
        while True:
            after = await belongings(served)
            if all(after[pid].are_none_of(CALLS, before[pid]) for pid in before):
                return


async def _keys_expire(redis_server: RedisServer) -> None:
    async with Redis.from_url(redis_server.url) as client:
        keys = [key async for key in client.scan_iter()]
        assert len(keys) >= CALLS
        assert [key for key in keys if await client.pttl(key) < 0] == []


async def test_more_calls_than_there_is_room_for(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--max-calls", 10, "--redis-url", redis_server.url)
    async with serving(whatsapp, tmp_path, *options, bot=BOT) as served:
        await _acquainted(redis_server)
        phones = [await user_phone(whatsapp, number) for number in range(50)]
        calls = await asyncio.gather(*(phone.dial() for phone in phones))
        outcomes = await asyncio.gather(*map(_outcome, calls))
        assert Counter(outcomes) == {"answered": 20, "rejected": 30}
        for call, outcome in zip(calls, outcomes, strict=True):
            asked = {("pre_accept", 200): 1, ("accept", 200): 1}
            if outcome == "rejected":
                asked = {("reject", 200): 1}
            assert requests_of(whatsapp, call.id) == asked
        await asyncio.gather(*(call.hang_up() for call in calls))
        await until(lambda: all(len(served.ends_at_owner_of(call.id)) == 1 for call in calls))
        last = await caller(whatsapp, 50)
        await last.hang_up()


async def _acquainted(redis_server: RedisServer) -> None:
    """Wait until two processes have beaten twice more: each knows of the other then."""
    async with Redis.from_url(redis_server.url) as client, asyncio.timeout(60):
        first = beats = await _beats(client)
        while len(first) < 2 or any(beats[node] < first[node] + 2 for node in first):
            await asyncio.sleep(0.05)
            beats = await _beats(client)
            first = beats if len(first) < 2 else first


async def _beats(client: Any) -> dict[bytes, int]:
    """How often each process has told of itself."""
    nodes = await client.hgetall("{whatsapp}:nodes")
    return {node: json.loads(told)[0] for node, told in nodes.items()}


async def _outcome(call: PhoneCall) -> str:
    """Whether a call is answered, or how it ends."""
    try:
        await call.answered()
    except PhoneError as error:
        return error.reason
    return "answered"


async def test_webhooks_that_come_again_start_nothing(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with (
        serving(whatsapp, tmp_path, *options, bot=BOT) as served,
        LoadBalancer(whatsapp, served) as balancer,
    ):
        call = await caller(whatsapp, 0)
        await call.hang_up()
        await until(lambda: bool(served.ends_at_owner_of(call.id)))
        requests = len(whatsapp.meta.requests)
        # One call that the directory remembers, and one of which it knows nothing any more.
        forgotten = [an_hour_old(webhook) for webhook in balancer.webhooks]
        for webhook in [*balancer.webhooks, *forgotten] * 3:
            assert await balancer.send(webhook) == 200
        last = await caller(whatsapp, 1)
        await last.hang_up()
        await until(lambda: bool(served.ends_at_owner_of(last.id)))
        assert len(whatsapp.meta.requests) == requests + 2
        assert {note.split()[2] for note in served.notes} == {call.id, last.id}


def an_hour_old(webhook: bytes) -> bytes:
    """The same of a call that was an hour earlier."""
    payload = json.loads(webhook)
    (call,) = payload["entry"][0]["changes"][0]["value"]["calls"]
    call |= {"id": "wacid.AN_HOUR_AGO", "timestamp": str(int(call["timestamp"]) - 3600)}
    return json.dumps(payload).encode()
