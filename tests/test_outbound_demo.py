"""`demo --outbound` and `simulate --outbound`: the bot asks for permission, and calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecat_whatsapp.simulator.demo import BOT, FOLDER, QUESTION
from recordings import PARTLY, share_found
from terminal import run, running

CLI = ("-m", "pipecat_whatsapp.cli")

LINES = (
    'Ada Example writes "Please call me."',
    "order    call +4915550002222",
    'is asked "May we call you?"',
    "allows calls",
    "connect -> 200",
    "phone    rings",
    "phone    answered",
    "says question.wav",
    "call over: the ",
    "Call report",
)
"""What the story tells, in this order."""

BRIEF_BOT = """
from pipecat_whatsapp.simulator.demo import bot as demo
demo.SILENCE_SECONDS = 0.5
bot = demo.bot
demo.main()
"""

BOTS: dict[str, tuple[str, str | tuple[str, ...]]] = {
    "takes no calls": (
        "from pipecat_whatsapp.runner import main\n"
        "async def bot(runner_args): ...\n"
        "async def limit(adapter):\n    adapter.configure(max_calls=0)\n"
        "main(on_start=limit)",
        "The bot did not call: limit: this process places no calls",
    ),
    "fails in the call": (
        "from pipecat_whatsapp.runner import main\n"
        "async def bot(runner_args):\n    raise RuntimeError('no luck')\nmain()",
        # A bot that is late to end lets the user pick up first.
        (
            "The call was not answered: the bot hung up.",
            "The call was answered, but the bot was never heard.",
        ),
    ),
    "serves other orders": (
        "from pipecat_whatsapp.runner import main\n"
        "async def bot(runner_args): ...\n"
        "async def forget(adapter):\n    adapter.configure(app_secrets=('another',))\n"
        "main(on_start=forget)",
        "The bot refused the order, because it runs with another app secret: "
        "run this where its .env is.",
    ),
    "dies in the call": (
        "import os\nfrom pipecat_whatsapp.runner import main\n"
        "async def bot(runner_args):\n    os._exit(3)\nmain()",
        "bot.py ended with exit code 3.",
    ),
}


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


async def test_the_bot_asks_and_calls_and_holds_a_whole_conversation(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    outcome = await run(*CLI, "demo", "--outbound", "--record", heard)
    assert outcome.code == 0, outcome
    assert outcome.complaint == ""
    positions = [outcome.output.find(line) for line in LINES]
    assert -1 not in positions, outcome.output
    assert positions == sorted(positions), outcome.output
    assert "order    answered" in outcome.output
    assert "ms after the message" in outcome.output
    assert share_found(FOLDER / "greeting.wav", heard) > PARTLY
    assert share_found(QUESTION, heard) > PARTLY


@pytest.mark.parametrize("kind", BOTS)
async def test_one_sentence_says_why_a_bot_did_not_reach_anybody(kind: str, tmp_path: Path) -> None:
    source, sentence = BOTS[kind]
    bot = tmp_path / "bot.py"
    bot.write_text(source)
    outcome = await run(*CLI, "simulate", bot, "--outbound")
    assert outcome.code == 1, outcome
    assert outcome.complaint.splitlines()[-1].startswith(sentence)


async def test_a_bot_that_has_called_can_be_called(tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text(BRIEF_BOT)
    async with running(*CLI, "simulate", bot, "--outbound", "--stay") as simulation:
        await simulation.prints("Ctrl-C")
        call = await run(*CLI, "ring")
        assert call.code == 0, call
        assert "ms after dialling" in call.output
        simulation.interrupt()
        outcome = await simulation.ends()
    assert outcome.code == 0, outcome


async def test_ctrl_c_while_the_user_thinks_leaves_nothing() -> None:
    async with running(*CLI, "simulate", BOT, "--outbound") as simulation:
        await simulation.prints("is asked")
        simulation.interrupt()
        outcome = await simulation.ends()
    assert outcome.code == 130, outcome
    assert "Traceback" not in outcome.complaint
