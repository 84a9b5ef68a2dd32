"""`simulate --at`: servers that run already are called from a simulated WhatsApp."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from page_tab import PATIENCE, open_tab
from pipecat_whatsapp.simulator.demo import QUESTION
from pipecat_whatsapp.simulator.graph import Account
from ports import free_port
from redis_server import RedisServer, redis_server
from terminal import Command, run, running
from whatsapp_world import CLI, variables

__all__ = ["redis_server"]

ECHO = Path(__file__).parent.parent / "examples" / "echo.py"
SOMEWHERE = "http://127.0.0.1:1/whatsapp"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What servers have in their environment, with a port for the Graph API that is free."""
    account = Account(token="T", phone_number_id="42", app_secret="S", verification_token="V")
    graph_url = f"http://127.0.0.1:{free_port()}"
    # Each running simulation leaves its address there.
    return variables(account, graph_url) | {"XDG_RUNTIME_DIR": str(tmp_path)}


@asynccontextmanager
async def serving(environ: dict[str, str], port: int, *options: object) -> AsyncIterator[Command]:
    # A machine that runs many tests at once is late.
    arguments = ("serve", ECHO, "--port", port, "--max-lag", 100, "--env-file", os.devnull)
    async with running(*CLI, *arguments, *options, environment=environ) as command:
        yield command


async def test_a_call_comes_to_one_server_and_its_end_to_the_other(
    environ: dict[str, str], redis_server: RedisServer
) -> None:
    ports = [free_port(), free_port()]
    options = ("--workers", 1, "--redis-url", redis_server.url)
    urls = [f"http://127.0.0.1:{port}/whatsapp" for port in ports]
    async with (
        serving(environ, ports[0], *options) as first,
        serving(environ, ports[1], *options) as second,
    ):
        at = ("--at", urls[0], "--at", urls[1])
        order = (*at, "--call", QUESTION, "--env-file", os.devnull)
        outcome = await run(*CLI, "simulate", *order, environment=environ)
        assert outcome.code == 0, outcome
        for command in (first, second):
            command.interrupt()
        logs = [(await command.ends()).complaint for command in (first, second)]
    assert f"connect to 127.0.0.1:{ports[0]} -> 200" in outcome.output
    assert f"terminate to 127.0.0.1:{ports[1]} -> 200" in outcome.output
    assert "caller hung up" in logs[0]
    assert "caller hung up" not in logs[1]


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "http://127.0.0.1:99999", "http://[::1"])
async def test_servers_of_a_real_account_are_left_alone(environ: dict[str, str], url: str) -> None:
    environ["WHATSAPP_GRAPH_URL"] = url
    arguments = ("simulate", "--at", SOMEWHERE, "--env-file", os.devnull)
    outcome = await run(*CLI, *arguments, environment=environ)
    assert outcome.code == 1
    assert outcome.complaint.startswith("WHATSAPP_GRAPH_URL does not say where")


async def test_a_port_in_use_is_one_sentence(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ["WHATSAPP_GRAPH_URL"] = f"http://127.0.0.1:{port}"
        arguments = ("simulate", "--at", SOMEWHERE, "--env-file", os.devnull)
        outcome = await run(*CLI, *arguments, environment=environ)
    assert outcome.code == 1
    assert outcome.complaint.startswith(f"The Graph API cannot be served at port {port}")


async def test_a_browser_calls_a_server_that_runs(environ: dict[str, str]) -> None:
    port, page_port = free_port(), free_port()
    at = ("--at", f"http://127.0.0.1:{port}/whatsapp", "--page-port", page_port)
    command = (*CLI, "simulate", *at, "--env-file", os.devnull)
    async with (
        serving(environ, port) as server,
        running(*command, environment=environ) as simulation,
    ):
        await simulation.prints("Ctrl-C")
        async with open_tab(f"http://127.0.0.1:{page_port}") as tab:
            sound = await tab.calls()
            await sound.hears(0.5, PATIENCE)
            await tab.send("hang_up")
            await tab.hears("call", state="ended")
        simulation.interrupt()
        assert (await simulation.ends()).code == 0
        server.interrupt()
        await server.ends()


@pytest.mark.parametrize("arguments", [(), (ECHO, "--at", SOMEWHERE)])
async def test_either_a_bot_or_servers_are_called(arguments: tuple[object, ...]) -> None:
    outcome = await run(*CLI, "simulate", *arguments)
    assert outcome.code == 2
    assert "either a bot's file" in outcome.complaint
