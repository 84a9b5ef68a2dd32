from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from conftest import until
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from ports import free_port
from redis_server import RedisServer, redis_server
from served import BOT, answered, caller, calls_of_two_processes, runs, serving
from terminal import Outcome, run
from whatsapp_world import CLI

__all__ = ["redis_server"]


async def refused(*options: object, **environ: str) -> Outcome:
    """Try to serve; what it comes to."""
    outcome = await run(*CLI, "serve", BOT, *options, environment=environ)
    assert outcome.code == 1
    assert "Traceback" not in outcome.complaint
    return outcome


# One process


async def test_calls_are_served_and_a_signal_lets_them_come_to_their_end(
    whatsapp: WhatsApp, phone: Phone, tmp_path: Path
) -> None:
    options = ("--call-log", tmp_path / "calls", "--", "--greeting", "servus")
    async with serving(whatsapp, tmp_path, *options) as served:
        call = await answered(phone)
        await served.noted(f" began {call.id} servus")
        served.command.send(signal.SIGTERM)
        await served.is_unready()
        assert await served.answers("/livez")
        await call.hang_up()
        outcome = await served.command.ends()
    assert outcome.code == 0
    assert "Traceback" not in outcome.complaint
    assert "served at" in outcome.complaint
    await served.noted(f" ended {call.id} caller hung up")
    assert json.loads((tmp_path / "calls").read_text())["call_id"] == call.id


async def test_the_second_signal_ends_calls_at_once(
    whatsapp: WhatsApp, phone: Phone, tmp_path: Path
) -> None:
    async with serving(whatsapp, tmp_path) as served:
        call = await answered(phone)
        served.command.interrupt()
        await served.is_unready()
        served.command.interrupt()
        assert await call.ended() == "terminated"
        assert (await served.command.ends()).code == 0


async def test_calls_that_do_not_end_in_time_are_ended(
    whatsapp: WhatsApp, phone: Phone, tmp_path: Path
) -> None:
    options = ("--drain-timeout", 0.1, "--goodbye-timeout", 0.1)
    async with serving(whatsapp, tmp_path, *options) as served:
        call = await answered(phone)
        served.command.send(signal.SIGTERM)
        assert await call.ended() == "terminated"
        assert (await served.command.ends()).code == 0


async def test_a_process_that_died_is_replaced(
    whatsapp: WhatsApp, phone: Phone, tmp_path: Path
) -> None:
    async with serving(whatsapp, tmp_path) as served:
        await served.noted("on_start")
        os.kill(int(served.notes[0].split()[0]), signal.SIGKILL)
        await until(lambda: len(served.notes) == 2)
        call = await answered(phone)
        await call.hang_up()


async def test_lines_of_json(whatsapp: WhatsApp, phone: Phone, tmp_path: Path) -> None:
    async with serving(whatsapp, tmp_path, "--json-logs", "--log-level", "debug") as served:
        call = await answered(phone)
        await call.hang_up()
        served.command.send(signal.SIGTERM)
        outcome = await served.command.ends()
    lines = [json.loads(line)["record"] for line in outcome.complaint.splitlines()]
    assert call.id in {line["extra"]["call_id"] for line in lines}


# What cannot be served


async def test_several_processes_need_redis() -> None:
    outcome = await refused("--workers", 2, WHATSAPP_REDIS_URL="")
    assert "2 processes need Redis, because" in outcome.complaint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--process-per-call",), "needs Redis"),
        (("--process-per-call", "--redis-url", "redis://nowhere"), "needs --max-calls"),
        (("--path", "whatsapp"), "cannot be the webhooks' path"),
        (("--path", "/whatsapp?x=1"), "cannot be the webhooks' path"),
        (("--path", "/whats app"), "cannot be the webhooks' path"),
        (("--log-level", "loud"), "is no log level"),
        (("--metrics", "nowhere"), "is no address"),
    ],
)
async def test_options_that_do_not_fit_are_refused(options: tuple[object, ...], words: str) -> None:
    assert words in (await refused(*options, WHATSAPP_REDIS_URL="")).complaint


@pytest.mark.parametrize("host", [(), ("--host", "")])
async def test_an_address_in_use_is_one_clear_error(host: tuple[object, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = await refused("--port", port, *host)
    assert f"127.0.0.1:{port} cannot be listened at" in outcome.complaint


async def test_a_setting_that_is_missing_is_named() -> None:
    names = ("TOKEN", "PHONE_NUMBER_ID", "APP_SECRET", "WEBHOOK_VERIFICATION_TOKEN")
    environ = {f"WHATSAPP_{name}": "" for name in names} | {"PYTHONPATH": str(BOT.parent)}
    outcome = await refused("--port", 0, "--env-file", os.devnull, **environ)
    assert "WHATSAPP_TOKEN" in outcome.complaint.splitlines()[-1]


# Several processes


def has_ended(pid: int) -> bool:
    return not runs(pid)


async def test_the_calls_of_a_process_that_died_end_at_meta(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with serving(whatsapp, tmp_path, *options) as served:
        calls = await calls_of_two_processes(whatsapp, served)
        (dying, orphans), (_, others) = calls.items()
        os.kill(dying, signal.SIGKILL)
        for orphan in orphans:
            await whatsapp.meta.wait_request("terminate", orphan.id, timeout=30)
            assert await orphan.ended() == "terminated"
        await others[0].hang_up()
        await served.noted(f" ended {others[0].id} caller hung up")


async def test_every_process_gets_its_own_adapter_and_one_of_them_starts_the_application(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    bot = tmp_path / "some_bot.py"
    bot.write_text(
        "from served_bot import bot, note\n"
        "async def on_start(adapter): note('once')\n"
        "async def on_process_start(adapter):\n"
        "    adapter.configure(max_calls=0)\n"
        "    note('each', adapter.config.max_calls)\n"
    )
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with serving(whatsapp, tmp_path, *options, bot=bot) as served:
        await until(lambda: len(served.notes) == 3)
        workers = set(map(str, served.workers))
        notes = [note.split(maxsplit=1) for note in served.notes]
        assert {pid for pid, words in notes if words == "each 0"} == workers
        assert len([pid for pid, words in notes if words == "once"]) == 1


async def test_workers_do_not_outlive_their_parent(
    whatsapp: WhatsApp, redis_server: RedisServer, phone: Phone, tmp_path: Path
) -> None:
    options = ("--workers", 2, "--redis-url", redis_server.url)
    async with serving(whatsapp, tmp_path, *options) as served:
        call = await answered(phone)
        pid = served.pid_of(call)
        served.command.send(signal.SIGKILL)
        async with asyncio.timeout(60):
            while await served.answers():
                pass
        await call.hang_up()
        await until(lambda: not runs(pid))


async def test_prometheus_finds_the_figures_of_all_processes_at_one_place(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    pytest.importorskip("prometheus_client")
    port = free_port()
    options = ("--workers", 2, "--redis-url", redis_server.url, "--metrics", port)
    async with serving(whatsapp, tmp_path, *options) as served:
        calls = await calls_of_two_processes(whatsapp, served)
        number = sum(map(len, calls.values()))
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/metrics") as answer:
            figures = await answer.text()
        assert f"whatsapp_calls_active {number}.0" in figures.splitlines()
        assert not await served.answers("/metrics")


async def test_each_call_has_a_process_of_its_own(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--redis-url", redis_server.url, "--process-per-call", "--max-calls", 3)
    async with serving(whatsapp, tmp_path, *options, "--warm", 1) as served:
        first, second = [await caller(whatsapp, number) for number in range(2)]
        pids = [served.pid_of(call) for call in (first, second)]
        assert len(set(pids)) == 2
        await first.hang_up()
        await until(lambda: not runs(pids[0]))
        assert runs(pids[1])
        served.command.send(signal.SIGTERM)
        await served.is_unready()
        # The door stays open for the webhooks of the running call.
        await second.hang_up()
        assert (await served.command.ends()).code == 0
    await served.noted(f" ended {second.id} caller hung up")


async def test_a_process_that_dies_takes_no_other_call_with_it(
    whatsapp: WhatsApp, redis_server: RedisServer, tmp_path: Path
) -> None:
    options = ("--redis-url", redis_server.url, "--process-per-call", "--max-calls", 4)
    async with serving(whatsapp, tmp_path, *options, "--warm", 1) as served:
        orphan, *others = [await caller(whatsapp, number) for number in range(3)]
        workers = served.workers
        dying = served.pid_of(orphan)
        os.kill(dying, signal.SIGKILL)
        await whatsapp.meta.wait_request("terminate", orphan.id, timeout=30)
        await served.noted(f" ended {orphan.id} process died")
        for call in others:
            await call.hang_up()
            await served.noted(f" ended {call.id} caller hung up")
            await until(partial(has_ended, served.pid_of(call)))
        ended = {dying, *map(served.pid_of, others)}
        assert all(map(runs, set(workers) - ended))


async def test_a_terminal_that_closes_cuts_no_call(
    whatsapp: WhatsApp, phone: Phone, tmp_path: Path
) -> None:
    async with serving(whatsapp, tmp_path) as served:
        call = await answered(phone)
        for pid in (*served.workers, served.command.pid):
            os.kill(pid, signal.SIGHUP)
        await served.is_unready()
        await call.hang_up()
        assert (await served.command.ends()).code == 0
        await served.noted(f" ended {call.id} caller hung up")
