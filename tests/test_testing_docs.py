"""What docs/testing.md shows, done as its readers do it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from pipecat_whatsapp.simulator.demo import FOLDER
from terminal import Outcome, run

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "testing.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def first_test(block: str) -> str:
    found = re.search(r"def (test_\w+)", block)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the page's reader: the demo bot, its sounds, and pytest's settings."""
    for file in FOLDER.glob("*.*"):
        shutil.copy(file, tmp_path)
    (tmp_path / "__init__.py").unlink()
    (settings,) = blocks("toml")
    (tmp_path / "pyproject.toml").write_text(settings)
    return tmp_path


async def pytest_in(folder: Path) -> Outcome:
    program = (
        "import os, pytest; os.chdir(os.environ['FOLDER']); "
        "raise SystemExit(pytest.main(['-p', 'no:cacheprovider']))"
    )
    return await run("-c", program, environment={"FOLDER": str(folder)})


@pytest.mark.parametrize("block", blocks("python"), ids=first_test)
async def test_the_tests_of_the_page_pass(folder: Path, block: str) -> None:
    # How fast it is depends on the machine.
    (folder / "test_bot.py").write_text(block.replace("first_sound_at < 1", "first_sound_at < 30"))
    outcome = await pytest_in(folder)
    assert outcome.code == 0, outcome.output
    assert f"{block.count('def test_')} passed" in outcome.output


async def test_a_test_of_the_page_can_fail(folder: Path) -> None:
    block = blocks("python")[0].replace("greeting.wav", "goodbye.wav")
    (folder / "test_bot.py").write_text(block)
    outcome = await pytest_in(folder)
    assert outcome.code == 1, outcome.output
    assert '>       assert await call.hears("goodbye.wav")' in outcome.output


async def test_the_call_without_pytest_is_recorded(folder: Path) -> None:
    (command,) = re.findall(r"^pipecat-whatsapp (simulate .*)$", PAGE, re.MULTILINE)
    words = [str(folder / word) if "." in word else word for word in command.split()]
    outcome = await run("-m", "pipecat_whatsapp.cli", *words)
    assert outcome.code == 0, outcome
    assert (folder / "heard.wav").exists()


# pipecat's own, of names that nobody here uses.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scenario_and_suite_are_what_pipecat_reads(tmp_path: Path) -> None:
    from pipecat.evals.suite import EvalManifest

    scenario, suite = blocks("yaml")
    (tmp_path / "hours.yaml").write_text(scenario)
    (tmp_path / "bot.py").touch()
    (tmp_path / "suite.yaml").write_text(suite)
    manifest = EvalManifest.load(tmp_path / "suite.yaml")
    assert manifest.spawn == "pipecat-whatsapp evaluate {bot} --port {port}"
    (each,) = manifest.runs
    assert each.scenario.split("/")[-1] == "hours"


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings
        elif not link.startswith("https:"):
            assert os.path.exists(DOCS / link)
