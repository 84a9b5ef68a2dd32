"""Two versions side by side while one replaces the other, and clocks that are wrong.

Letters and standings of another version are tested in test_letters.py and test_redis.py.
"""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from load_balancer import LoadBalancer
from obedient_bot import Wish
from pipecat_whatsapp.calls.neighbours import BEAT_SECONDS
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer, redis_server
from served import caller, is_heard, serving, user_phone

__all__ = ["redis_server"]

BOT = Path(__file__).parent / "obedient_bot.py"


async def test_a_rollout_ends_no_call_and_rejects_none(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with (
        serving(whatsapp, tmp_path / "old", *options, bot=BOT) as old,
        serving(whatsapp, tmp_path / "new", *options, bot=BOT, subscribe=False) as new,
        LoadBalancer(whatsapp, old) as balancer,
    ):
        running = [await caller(whatsapp, number, wish=Wish.SPEAK) for number in range(4)]
        on_old = [call for call in running if f" began {call.id} " in "\n".join(old.notes)]
        assert on_old
        balancer.servers = [old, new]
        await asyncio.sleep(2 * BEAT_SECONDS)
        old.command.send(signal.SIGTERM)
        await old.is_unready()
        # Webhooks still come to both, until the load balancer has asked for readiness.
        for number in range(10, 16):
            call = await caller(whatsapp, number)
            assert new.pid_of(call)
            await call.hang_up()
            await new.noted(f" ended {call.id} caller hung up")
        balancer.servers = [new]
        for call in running:
            await is_heard(call)
            await call.hang_up()
            await (old if call in on_old else new).noted(f" ended {call.id} caller hung up")
        assert (await old.command.ends()).code == 0
        last = await caller(whatsapp, 20)
        await last.hang_up()
        await new.noted(f" ended {last.id} caller hung up")
    assert {r.action for r in whatsapp.meta.requests} == {"pre_accept", "accept"}


@pytest.mark.parametrize(("hours", "is_answered"), [(+1, True), (-1, False)])
async def test_a_clock_that_is_wrong(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path, hours: int, is_answered: bool
) -> None:
    """What Meta says of the time is an hour ahead of our clock, or behind."""

    def shift(webhook: bytes) -> None:
        payload = json.loads(webhook)
        (call,) = payload["entry"][0]["changes"][0]["value"]["calls"]
        call["timestamp"] = str(int(call["timestamp"]) + hours * 3600)
        balancer.send_later(0.0, json.dumps(payload).encode())

    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with (
        serving(whatsapp, tmp_path, *options, bot=BOT) as served,
        LoadBalancer(whatsapp, served) as balancer,
    ):
        right = await caller(whatsapp, 0)
        balancer.pass_on = shift
        call = await (await user_phone(whatsapp, 1)).dial()
        if is_answered:
            await call.answered()
            await call.hang_up()
            await served.noted(f" ended {call.id} caller hung up")
        else:
            await whatsapp.meta.wait_delivery("connect", call.id)
            await balancer.settled()
            balancer.pass_on = None
            later = await caller(whatsapp, 2)
            assert not [r for r in whatsapp.meta.requests if r.call_id == call.id]
            await later.hang_up()
        # A call that runs is timed by a clock that nobody sets.
        await right.hang_up()
        await served.noted(f" ended {right.id} caller hung up")
