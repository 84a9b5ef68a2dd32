"""Processes that are killed, frozen, told to end, or broken by a bot."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import numpy as np

from conftest import until
from load_balancer import LoadBalancer
from obedient_bot import BLOCKED, GOODBYE, Wish
from pipecat_whatsapp.calls.neighbours import BEAT_SECONDS, DEAD_SECONDS
from pipecat_whatsapp.simulator.phone import PhoneCall
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.sound import RATE, SOUND_LEVEL
from redis_server import RedisServer, redis_server
from served import caller, calls_of_two_processes, is_heard, requests_of, runs, serving

__all__ = ["redis_server"]

BOT = Path(__file__).parent / "obedient_bot.py"


def send(number: signal.Signals, processes: Iterable[int]) -> None:
    for pid in processes:
        os.kill(pid, number)


def ends_at_meta(whatsapp: WhatsApp, call: PhoneCall) -> list[str]:
    """How Meta was asked to end a call."""
    requests = requests_of(whatsapp, call.id)
    return [action for action, _ in requests.elements() if action in ("terminate", "reject")]


# Killed


async def test_a_killed_worker_is_replaced_and_its_calls_are_ended(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url, "--call-log", tmp_path / "calls")
    async with serving(whatsapp, tmp_path, *options, bot=BOT) as served:
        calls = await calls_of_two_processes(whatsapp, served)
        (victim, orphans), (_, others) = calls.items()
        os.kill(victim, signal.SIGKILL)
        for orphan in orphans:
            assert await orphan.ended() == "terminated"
            assert (await served.logged(orphan))["cause"] == "process died"
            assert ends_at_meta(whatsapp, orphan) == ["terminate"]
        await until(lambda: len(served.workers) == 2 and victim not in served.workers)
        later = await caller(whatsapp, 60)
        for call in [*others, later]:
            await call.hang_up()
            assert (await served.logged(call))["cause"] == "caller hung up"


async def test_the_calls_of_a_killed_machine_are_ended_by_another(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    other_log = ("--call-log", tmp_path / "b" / "calls")
    async with (
        serving(whatsapp, tmp_path / "a", *options, bot=BOT) as killed,
        serving(whatsapp, tmp_path / "b", *options, *other_log, bot=BOT, subscribe=False) as other,
        LoadBalancer(whatsapp, killed) as balancer,
    ):
        orphans = [await caller(whatsapp, number) for number in range(5)]
        balancer.servers = [other]
        on_other = [call for call in orphans if call.id not in " ".join(killed.notes)]
        # All at once: nobody of it may act on the death of the rest.
        machine = [killed.command.pid, *killed.workers]
        send(signal.SIGSTOP, machine)
        send(signal.SIGKILL, machine)
        for orphan in set(orphans) - set(on_other):
            assert await orphan.ended() == "terminated"
            assert (await other.logged(orphan))["cause"] == "process died"
            assert ends_at_meta(whatsapp, orphan) == ["terminate"]
        for call in [*on_other, await caller(whatsapp, 60)]:
            await call.hang_up()


async def test_workers_without_a_parent_end_after_their_last_call(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with AsyncExitStack() as stack:
        serve = partial(serving, whatsapp, bot=BOT)
        headless = await stack.enter_async_context(serve(tmp_path / "a", *options))
        calls = await calls_of_two_processes(whatsapp, headless)
        # Not before: it would be handed the third call of a worker that has two.
        other = await stack.enter_async_context(serve(tmp_path / "b", *options))
        workers = headless.workers
        headless.command.send(signal.SIGKILL)
        later = await caller(whatsapp, 60)
        assert other.pid_of(later)
        for call in [later, *(call for held in calls.values() for call in held)]:
            await call.hang_up()
        await until(lambda: not any(map(runs, workers)))
        assert sum(" ended " in note for note in headless.notes) == sum(map(len, calls.values()))


# Frozen


async def test_a_frozen_worker_loses_its_calls_and_comes_back(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with (
        serving(whatsapp, tmp_path / "a", *options[:1], 1, *options[2:], bot=BOT) as frozen,
        serving(whatsapp, tmp_path / "b", *options[:1], 1, *options[2:], bot=BOT) as other,
        LoadBalancer(whatsapp, frozen) as balancer,
    ):
        call = await caller(whatsapp, 0)
        assert frozen.pid_of(call)
        balancer.servers = [other]
        send(signal.SIGSTOP, frozen.workers)
        assert await call.ended() == "terminated"
        await other.noted(f" ended {call.id} process died")
        send(signal.SIGCONT, frozen.workers)
        await frozen.noted(f" ended {call.id} ")
        # The frozen one cannot know that it was done, and Meta refuses the second.
        await until(lambda: ends_at_meta(whatsapp, call) == ["terminate", "terminate"])
        balancer.servers = [frozen]
        await asyncio.sleep(2 * BEAT_SECONDS)
        later = await caller(whatsapp, 1)
        assert frozen.pid_of(later)
        await later.hang_up()


async def test_processes_that_were_all_frozen_take_nobody_for_dead(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with serving(whatsapp, tmp_path, *options, bot=BOT) as served:
        calls = await calls_of_two_processes(whatsapp, served, wish=Wish.SPEAK)
        send(signal.SIGSTOP, served.workers)
        await asyncio.sleep(DEAD_SECONDS + 2)
        send(signal.SIGCONT, served.workers)
        await asyncio.sleep(5 * BEAT_SECONDS)
        for call in [call for held in calls.values() for call in held]:
            assert ends_at_meta(whatsapp, call) == []
            await is_heard(call)
            await call.hang_up()
            await served.noted(f" ended {call.id} caller hung up")


# Told to end


async def test_bots_say_goodbye_when_the_time_to_drain_is_over(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url, "--drain-timeout", 10)
    async with serving(whatsapp, tmp_path, *options, bot=BOT) as served:
        call, short = [await caller(whatsapp, n, wish=Wish.SPEAK) for n in range(2)]
        await call.wait_sound()
        served.command.send(signal.SIGTERM)
        await served.is_unready()
        # Alone as it is, it has nobody to hand a call to.
        phone = await whatsapp.phone()
        late = await phone.dial()
        assert await late.ended() == "rejected"
        await short.hang_up()
        assert await call.ended() == "terminated"
        outcome = await served.command.ends()
    assert outcome.code == 0
    assert "Traceback" not in outcome.complaint
    await served.noted(f" goodbye {call.id}")
    await served.noted(f" ended {call.id} bot hung up")
    await served.noted(f" ended {short.id} caller hung up")
    assert f" goodbye {short.id}" not in " ".join(served.notes)
    assert ends_at_meta(whatsapp, call) == ["terminate"]
    assert call.recording.sound_seconds > GOODBYE


# A process for each call


async def test_what_a_bot_does_to_its_process_touches_no_other_call(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    pool = ("--process-per-call", "--max-calls", 8, "--warm", 2)
    options = (*pool, "--redis-url", redis_server.url)
    async with serving(whatsapp, tmp_path, *options, bot=BOT) as served:
        good = await caller(whatsapp, 0, wish=Wish.SPEAK)
        await good.wait_sound()
        for number, wish in enumerate((Wish.EXIT, Wish.CRASH), start=1):
            bad = await caller(whatsapp, number, wish=wish)
            pid = served.pid_of(bad)
            assert await bad.ended() == "terminated"
            await until(partial(_has_ended, pid))
            await served.noted(f" ended {bad.id} process died")
        since = good.recording.duration
        slow = await caller(whatsapp, 3, wish=Wish.BLOCK)
        await served.noted(f" blocked {slow.id}")
        await is_heard(good)
        assert longest_hole(good, since) < BLOCKED / 2
        assert good.recording.lost == 0
        pids = [served.pid_of(call) for call in (slow, good)]
        for call in (slow, good):
            await call.hang_up()
            await served.noted(f" ended {call.id} caller hung up")
        await until(lambda: not any(map(runs, pids)))


def _has_ended(pid: int) -> bool:
    return not runs(pid)


def longest_hole(call: PhoneCall, since: float) -> float:
    """Seconds of the longest silence before a sound, in what was heard from a second on."""
    pcm = call.recording.stretch(since)()
    sound = np.flatnonzero(np.abs(np.frombuffer(pcm, np.int16)) > SOUND_LEVEL)
    return float(np.diff(sound, prepend=0).max() / RATE)


async def test_more_calls_at_once_than_idle_processes(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    pool = ("--process-per-call", "--max-calls", 6, "--warm", 2)
    options = (*pool, "--redis-url", redis_server.url)
    async with serving(whatsapp, tmp_path, *options, bot=BOT) as served:
        calls = await asyncio.gather(*(caller(whatsapp, number) for number in range(4)))
        pids = {served.pid_of(call) for call in calls}
        assert len(pids) == len(calls)
        await asyncio.gather(*(call.hang_up() for call in calls))
        await until(lambda: not any(map(runs, pids)))
