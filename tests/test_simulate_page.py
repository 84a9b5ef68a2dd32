"""`simulate` and `demo` with the phone page, from the command line to a call."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import pytest

from conftest import until
from page_tab import PATIENCE, open_tab
from pipecat_whatsapp.simulator.demo import BOT, FOLDER
from ports import free_port
from recordings import MOSTLY, share_found
from terminal import run, running

CLI = ("-m", "pipecat_whatsapp.cli")
TOKEN = "a-token-that-is-long"

DEADLY_BOT = """
import os
from pipecat_whatsapp.runner import main
async def bot(runner_args):
    print("I am dying")
    os._exit(3)
main()
"""


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.fixture
def url() -> str:
    return f"http://127.0.0.1:{free_port()}"


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


async def test_a_bot_is_called_from_the_browser_and_the_terminal_tells(url: str) -> None:
    async with running(*CLI, "simulate", BOT, "--page-port", port_of(url)) as simulation:
        await simulation.prints("Talk to it in the browser:")
        await simulation.prints(f"  {url}/\n")
        await simulation.prints("Ctrl-C")
        async with open_tab(url) as tab:
            sound = await tab.calls()
            await sound.hears(1.0, PATIENCE)
            await tab.send("hang_up")
            await tab.hears("call", state="ended")
        for line in (
            "Ada Example dials +493055501111",
            "webhook  connect -> 200",
            "graph    pre_accept -> 200",
            "graph    accept -> 200",
            "phone    answered",
            "phone    call over: the caller hung up",
        ):
            await simulation.prints(line)
        simulation.interrupt()
        outcome = await simulation.ends()
    assert outcome.code == 0, outcome
    assert outcome.complaint == ""
    # No call was placed by itself.
    assert outcome.output.count(" dials ") == 1


async def test_people_call_while_a_call_is_placed_by_itself(url: str, tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    command = (*CLI, "demo", "--stay", "--record", heard, "--page-port", port_of(url))
    async with running(*command) as simulation:
        await simulation.prints(f"  {url}/\n")
        async with open_tab(url) as tab:
            await tab.calls()
            await simulation.prints("Call report")
            await tab.send("hang_up")
            await tab.hears("call", state="ended")
        await simulation.prints("Ctrl-C")
        simulation.interrupt()
        outcome = await simulation.ends()
    assert outcome.code == 0, outcome
    assert outcome.output.index(url) < outcome.output.index("Robin Example dials")
    assert "Ada Example dials" in outcome.output
    assert share_found(FOLDER / "greeting.wav", heard) > MOSTLY


async def test_another_terminal_is_answered_while_a_call_is_placed_by_itself(url: str) -> None:
    command = (*CLI, "demo", "--stay", "--page-port", port_of(url))
    async with running(*command) as simulation:
        await simulation.prints("phone    answered")
        ring = await run(*CLI, "ring")
        simulation.interrupt()
        await simulation.ends()
    assert ring.code == 1
    assert ring.complaint == "User and business are on a call already: end it first.\n"


async def test_a_bot_that_dies_ends_everything(url: str, tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text(DEADLY_BOT)
    async with running(*CLI, "simulate", bot, "--page-port", port_of(url)) as simulation:
        await simulation.prints("Ctrl-C")
        async with open_tab(url) as tab:
            await tab.send("dial")
            await tab.is_sent_away()
        outcome = await simulation.ends()
    assert outcome.code == 1, outcome
    assert outcome.complaint.splitlines()[-1] == "bot.py ended with exit code 3."
    assert "    | I am dying" in outcome.output


async def test_ctrl_c_in_a_call_ends_it(url: str) -> None:
    async with running(*CLI, "simulate", BOT, "--page-port", port_of(url)) as simulation:
        await simulation.prints("Ctrl-C")
        async with open_tab(url) as tab:
            await tab.calls()
            simulation.interrupt()
            await tab.is_sent_away()
        outcome = await simulation.ends()
    assert outcome.code == 0, outcome
    assert outcome.complaint == ""
    assert "terminate -> 200" in outcome.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--page-host", "0.0.0.0"), "Others could use the page at 0.0.0.0"),  # noqa: S104
        (("--page-token", "short"), "The page's token can be guessed"),
    ],
)
async def test_a_page_for_everybody_is_refused_before_anything_starts(
    options: tuple[str, ...], sentence: str
) -> None:
    outcome = await run(*CLI, "simulate", BOT, *options)
    assert outcome.code == 1
    assert outcome.output == ""
    assert outcome.complaint.startswith(sentence)
    assert outcome.complaint.count("\n") == 1


async def test_a_port_in_use_is_one_sentence(url: str) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", int(port_of(url)))
    async with server:
        outcome = await run(*CLI, "simulate", BOT, "--page-port", port_of(url))
    assert outcome.code == 1
    assert outcome.complaint.startswith("The page cannot be served at 127.0.0.1")
    assert outcome.complaint.count("\n") == 1


async def test_a_token_is_asked_for_and_not_shown(url: str) -> None:
    command = (*CLI, "simulate", BOT, "--page-port", port_of(url))
    environment = {"WHATSAPP_PAGE_TOKEN": TOKEN}
    async with running(*command, environment=environment) as simulation:
        await simulation.prints(f"{url}/?token=YOUR_TOKEN")
        await simulation.prints("Ctrl-C")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await open_tab(url).__aenter__()
        simulation.interrupt()
        outcome = await simulation.ends()
    assert TOKEN not in outcome.output + outcome.complaint


@pytest.mark.skipif(sys.platform != "linux", reason="the screen is asked for as on Linux")
@pytest.mark.parametrize("options", [(), ("--no-browser",)])
async def test_a_browser_is_opened_for_who_sits_before_a_screen(
    url: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    opened = tmp_path / "opened"
    opener = tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$1" > {opened}.new\nmv {opened}.new {opened}\n')
    opener.chmod(0o755)
    terminal, stdout = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*CLI, "simulate", str(BOT), "--page-port", port_of(url), *options),
        stdout=stdout,
        stderr=stdout,
        env=os.environ | {"DISPLAY": ":9", "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    os.close(stdout)
    shown = b""
    while b"Ctrl-C" not in shown:
        shown += await asyncio.to_thread(os.read, terminal, 4096)
    if not options:
        await until(opened.exists)
        assert opened.read_text() == f"{url}/\n"
    process.terminate()
    await process.wait()
    os.close(terminal)
    assert opened.exists() is not bool(options)
