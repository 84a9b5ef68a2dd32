from __future__ import annotations

from pathlib import Path

import pytest

from pipecat_whatsapp.simulator.demo import QUESTION
from recordings import MOSTLY, share_found
from terminal import run

EXAMPLES = Path(__file__).parent.parent / "examples"


async def test_echo_says_back_what_it_hears(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    command = ["simulate", EXAMPLES / "echo.py", "--record", heard]
    outcome = await run("-m", "pipecat_whatsapp.cli", *command)
    assert outcome.code == 0, outcome
    assert "heard the bot meanwhile" in outcome.output
    assert "the caller hung up" in outcome.output
    assert share_found(QUESTION, heard) > MOSTLY


@pytest.mark.parametrize("missing", ["DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY"])
async def test_the_voice_agent_names_a_missing_key(missing: str) -> None:
    keys = {"DEEPGRAM_API_KEY": "x", "OPENAI_API_KEY": "x", "CARTESIA_API_KEY": "x"}
    environment = {**keys, missing: "", "PYTHON_DOTENV_DISABLED": "1"}
    outcome = await run(EXAMPLES / "voice_agent.py", "-t", "whatsapp", environment=environment)
    assert outcome.code == 1
    assert outcome.complaint.splitlines()[-1] == (
        f"The voice agent needs {missing} in the environment or in .env."
    )
