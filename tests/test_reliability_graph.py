"""A Graph API that is slow, refuses, breaks down, hangs or loses answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from conftest import until
from obedient_bot import Wish
from pipecat_whatsapp.simulator.graph import CallState, Faults
from pipecat_whatsapp.simulator.phone import PhoneCall, PhoneError
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer, redis_server
from served import caller, requests_of, serving, user_phone

__all__ = ["redis_server"]

BOT = Path(__file__).parent / "obedient_bot.py"
AT_ONCE = 6

_Break = Callable[[Faults], None]


def slow(faults: Faults) -> None:
    faults.latency = 1.0


def too_many_requests(faults: Faults) -> None:
    faults.fail = {"pre_accept": [(429, 80007)] * 3, "accept": [(429, 80007)] * 3}


def internal_errors(faults: Faults) -> None:
    faults.fail = {"pre_accept": [(500, 1)] * 3, "accept": [(500, 1)] * 3}


def all_refused(faults: Faults) -> None:
    faults.fail = {"pre_accept": [(500, 1)] * 100}


def lost_answers(faults: Faults) -> None:
    faults.drop_response = ["pre_accept", "accept", "terminate"] * 2


def hanging_ends(faults: Faults) -> None:
    faults.hang = {"terminate"}


FAULTS: tuple[_Break, ...] = (
    slow,
    too_many_requests,
    internal_errors,
    all_refused,
    lost_answers,
    hanging_ends,
)


async def test_whatever_graph_does_every_call_comes_to_one_end(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    numbers = iter(range(1000))
    calls: list[PhoneCall] = []
    async with serving(whatsapp, tmp_path, *options, bot=BOT) as served:

        async def all_end() -> None:
            await until(lambda: all(served.ends_at_owner_of(call.id) for call in calls))

        for break_graph in FAULTS:
            break_graph(whatsapp.meta.faults)
            wishes = [None, Wish.HANG_UP] * (AT_ONCE // 2)
            callers = [_one_call(whatsapp, next(numbers), wish) for wish in wishes]
            calls += await asyncio.gather(*callers)
            await all_end()
            vars(whatsapp.meta.faults).update(vars(Faults()))
            healthy = await caller(whatsapp, next(numbers))
            await healthy.hang_up()
            calls.append(healthy)
        await all_end()
        for call in calls:
            assert len(served.ends_at_owner_of(call.id)) == 1
            requests = requests_of(whatsapp, call.id)
            assert requests["accept", 200] <= 1
            assert requests["terminate", 200] + requests["reject", 200] <= 1
        at_meta = whatsapp.meta.calls.values()
        await until(lambda: all(call.state is CallState.ENDED for call in at_meta))


async def _one_call(whatsapp: WhatsApp, number: int, wish: Wish | None) -> PhoneCall:
    call = await (await user_phone(whatsapp, number)).dial(cta_payload=wish)
    try:
        await call.answered()
    except PhoneError:
        return call
    if wish is None:
        await call.hang_up()
    return call
