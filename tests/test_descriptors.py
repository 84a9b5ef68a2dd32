from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys

import pytest

from pipecat_whatsapp.serving.descriptors import inherited, limit, raise_limit

CLOSED = """
from pipecat_whatsapp.serving.descriptors import open_missing_streams
open_missing_streams()
import os, subprocess, sys
from pipecat_whatsapp.serving.logs import set_up_logging
set_up_logging("INFO", as_json=False)
from loguru import logger
logger.warning("to nobody")
print("to nobody", flush=True)
assert sys.stdin.read() == ""
assert os.open(os.devnull, os.O_RDONLY) > 2
child = "import os; [os.fstat(number) for number in range(3)]"
subprocess.run([sys.executable, "-c", child], check=True)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_was_closed_is_the_null_device(closed: str) -> None:
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, CLOSED]
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
    assert finished.returncode == 0


def test_as_many_descriptors_as_the_system_grants() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowered = min(before[1], 256)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, before[1]))
    try:
        assert limit() == lowered
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_was_inherited_is_not_handed_down() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(theirs.fileno(), True)
        with inherited(os.dup(theirs.fileno())) as found:
            assert not found.get_inheritable()
