"""After many short calls nothing is left: no task, thread, socket, peer, pipeline or memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from many_calls import CALLS, PROC
from terminal import run

MAX_GROWTH_BYTES = 10_000_000
"""Far below what 200 leaked calls would cost, at 1 to 2 MB each."""


@pytest.mark.skipif(not PROC.exists(), reason="counts open files in /proc, which Linux has")
async def test_many_short_calls_leave_nothing() -> None:
    outcome = await run(Path(__file__).with_name("many_calls.py"))
    assert outcome.code == 0, outcome
    found = json.loads(outcome.output.splitlines()[-1])
    assert found["returned"] == CALLS
    assert found["grown"] == {}
    assert found["memory"] < MAX_GROWTH_BYTES
