from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import logging
from pipecat_whatsapp.serving.logs import set_up_logging
set_up_logging("INFO", as_json=False)
logger = logging.getLogger("some.library")
{statement}
print("went on")
"""


def logged(statement: str) -> str:
    """What a statement logs, after which the program must go on."""
    finished = subprocess.run(  # noqa: S603
        [sys.executable, "-c", SCRIPT.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == "went on\n"
    assert finished.stderr.count("\n") == 1
    return finished.stderr


def test_what_a_library_logs_bears_its_name() -> None:
    assert "| some.library - It is slow\n" in logged("logger.warning('It is %s', 'slow')")


@pytest.mark.parametrize("named", ["", "logging.addLevelName(35, 'NOTICE')"])
def test_a_level_of_a_library_s_own_is_logged(named: str) -> None:
    line = logged(f"{named}\nlogger.log(35, 'It is slow')")
    assert "Level 35" in line
    assert "It is slow" in line


@pytest.mark.parametrize("arguments", ["'%d calls', 'no'", "'%(number)s calls', {}", "'calls', 1"])
def test_a_message_that_its_arguments_do_not_fit_is_logged_without_them(arguments: str) -> None:
    assert "calls\n" in logged(f"logger.warning({arguments})")
