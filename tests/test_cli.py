from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest

from conftest import until
from pipecat_whatsapp.simulator.bot_process import BotProcess
from pipecat_whatsapp.simulator.control import (
    ControlServer,
    NoSimulationError,
    request_call,
    state_file,
)
from pipecat_whatsapp.simulator.demo import FOLDER, QUESTION
from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.story import CallSummary, Echo
from recordings import PARTLY, share_found
from terminal import run, running

CLI = ("-m", "pipecat_whatsapp.cli")

DEMO_BOT = """
import os, pathlib
from pipecat_whatsapp.simulator.demo.bot import bot, main
if __name__ == "__main__":
    new = pathlib.Path(__file__).with_suffix(".new")
    new.write_text(str(os.getpid()))
    new.replace(new.with_suffix(".pid"))
    main()
"""

BOTS = {
    "raises": (
        "raise RuntimeError('no luck')",
        "bot.py ended with exit code 1.",
    ),
    "no main": (
        "async def bot(runner_args): ...",
        "bot.py ended at once: does it call main() of pipecat_whatsapp.runner?",
    ),
    "main of pipecat": (
        "from pipecat.runner.run import main\nmain()",
        "bot.py does not know -t whatsapp: import main from pipecat_whatsapp.runner.",
    ),
    "dies in the call": (
        "import os\nfrom pipecat_whatsapp.runner import main\n"
        "async def bot(runner_args):\n    os._exit(3)\nmain()",
        "bot.py ended with exit code 3.",
    ),
    "fails in the call": (
        "from pipecat_whatsapp.runner import main\n"
        "async def bot(runner_args):\n    raise RuntimeError('no luck')\nmain()",
        "The call was not answered: the bot's side declined.",
    ),
}


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.fixture
def demo_bot(tmp_path: Path) -> Path:
    """The demo bot in a file that tells its process id."""
    bot = tmp_path / "bot.py"
    bot.write_text(DEMO_BOT)
    return bot


def is_running(bot: Path) -> bool:
    try:
        os.kill(int(bot.with_suffix(".pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_demo_is_a_whole_conversation(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    outcome = await run(*CLI, "demo", "--record", heard)
    assert outcome.code == 0, outcome
    assert outcome.complaint == ""
    for line in ("connect -> 200", "pre_accept -> 200", "accept -> 200", "says question.wav"):
        assert line in outcome.output
    assert "Call report" in outcome.output
    assert share_found(FOLDER / "greeting.wav", heard) > PARTLY
    assert share_found(QUESTION, heard) > PARTLY


@pytest.mark.parametrize("kind", BOTS)
async def test_one_sentence_says_why_a_bot_cannot_be_called(kind: str, tmp_path: Path) -> None:
    source, sentence = BOTS[kind]
    bot = tmp_path / "bot.py"
    bot.write_text(source)
    outcome = await run(*CLI, "simulate", bot, "--call", QUESTION)
    assert outcome.code == 1
    assert outcome.complaint.splitlines()[-1] == sentence


async def test_one_sentence_says_that_the_question_cannot_be_played(demo_bot: Path) -> None:
    outcome = await run(*CLI, "simulate", demo_bot, "--call", demo_bot)
    assert outcome.code == 1
    assert "bot.py cannot be played" in outcome.complaint


async def test_a_second_terminal_calls_again_and_ctrl_c_ends_both(
    demo_bot: Path, tmp_path: Path
) -> None:
    heard = tmp_path / "heard.wav"
    async with running(*CLI, "simulate", demo_bot, "--stay") as simulation:
        await simulation.prints("Ctrl-C")
        assert state_file().stat().st_mode & 0o777 == 0o600
        call = await run(*CLI, "ring", "--record", heard)
        assert call.code == 0, call
        assert "Call report" in call.output
        assert share_found(QUESTION, heard) > PARTLY
        assert is_running(demo_bot)
        simulation.interrupt()
        outcome = await simulation.ends()
    assert outcome.code == 0, outcome
    assert not is_running(demo_bot)
    assert not state_file().exists()


async def test_ctrl_c_in_a_call_leaves_no_bot(demo_bot: Path) -> None:
    async with running(*CLI, "simulate", demo_bot, "--call", QUESTION) as simulation:
        await simulation.prints("answered")
        simulation.interrupt()
        outcome = await simulation.ends()
    assert outcome.code == 130, outcome
    assert "Traceback" not in outcome.complaint
    assert not is_running(demo_bot)


async def test_ctrl_c_at_the_start_leaves_no_bot(demo_bot: Path) -> None:
    async with running(*CLI, "simulate", demo_bot, "-v") as simulation:
        await simulation.prints("Pipecat")
        simulation.interrupt()
        outcome = await simulation.ends()
    assert outcome.code == 130, outcome
    assert not demo_bot.with_suffix(".pid").exists() or not is_running(demo_bot)


async def test_a_call_without_a_simulation() -> None:
    outcome = await run(*CLI, "ring")
    assert outcome.code == 1
    assert outcome.complaint == (
        "No simulation is running: start one with `pipecat-whatsapp demo --stay`.\n"
    )


async def test_the_simulated_account_wins_over_the_bots_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WHATSAPP_TOKEN=real\nOTHER_KEY=kept\n")
    bot = tmp_path / "bot.py"
    bot.write_text(
        "import os\nfrom dotenv import load_dotenv\nload_dotenv(override=True)\n"
        "print(os.environ['WHATSAPP_TOKEN'], os.environ['OTHER_KEY'])"
    )
    account = Account(token="simulated")
    async with BotProcess(bot, account=account, graph_url="http://127.0.0.1:1") as process:
        await process.death()
    assert process.last_output == ["simulated kept"]


async def test_a_bot_that_cannot_be_stopped_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat_whatsapp.simulator.bot_process.STOP_PATIENCE", 0.1)
    bot = tmp_path / "bot.py"
    bot.write_text(
        "import os, pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(__file__).with_suffix('.pid').write_text(str(os.getpid()))\n"
        "print('x' * 3_000_000)\nprint('ready')\ntime.sleep(1000)"
    )
    lines: list[str] = []
    async with BotProcess(bot, account=Account(), graph_url="", echo=lines.append):
        await until(lambda: "ready" in lines)
        assert is_running(bot)
    assert not is_running(bot)


async def test_control_wants_the_secret_and_tells_the_story() -> None:
    async def place(question: Path, record: Path | None, echo: Echo) -> str | None:
        echo(f"{question.name} {record}")
        return "It failed."

    told: list[str] = []
    async with ControlServer(place) as server:
        async with (
            aiohttp.ClientSession() as client,
            client.post(server.url, json={"question": "q", "record": None}) as response,
        ):
            assert response.status == 401
        assert await request_call(QUESTION, None, told.append) == "It failed."
    assert told == ["question.wav None"]
    with pytest.raises(NoSimulationError):
        await request_call(QUESTION, None, told.append)


async def test_a_simulation_that_breaks_down_in_a_call() -> None:
    async def place(question: Path, record: Path | None, echo: Echo) -> str | None:
        raise RuntimeError("no luck")

    async with ControlServer(place):
        assert await request_call(QUESTION, None, print) == "The simulation broke down."


async def test_a_second_terminal_that_goes_away_hangs_up() -> None:
    ended = asyncio.Event()

    async def place(question: Path, record: Path | None, echo: Echo) -> str | None:
        echo("dialling")
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return None

    async with ControlServer(place):
        told: list[str] = []
        asking = asyncio.create_task(request_call(QUESTION, None, told.append))
        await until(lambda: "dialling" in told)
        asking.cancel()
        async with asyncio.timeout(30):
            await ended.wait()
    await asyncio.gather(asking, return_exceptions=True)


def test_a_summary_says_what_was_wrong() -> None:
    unanswered = CallSummary(None, None, 0.0, 0, 0, "nobody answered in time")
    assert unanswered.failure == "The call was not answered: nobody answered in time."
    silent = CallSummary(0.1, None, 0.0, 10, 0, "the caller hung up")
    assert silent.failure == "The call was answered, but the bot was never heard."
    heard = CallSummary(0.1, 0.2, 3.0, 90, 10, "the bot hung up")
    assert heard.failure is None
    assert "  packets      90 received, 10 lost" in heard.lines()
