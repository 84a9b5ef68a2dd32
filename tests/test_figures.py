from __future__ import annotations

import os
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from terminal import run

pytest.importorskip("prometheus_client")

from pipecat_whatsapp.serving.figures import create_app, forget_seat

COUNT = """
import sys
from pipecat_whatsapp.serving.figures import count_in
count_in(sys.argv[1], int(sys.argv[2]))
from prometheus_client import Counter, Gauge
Counter("greetings", "Greetings.").inc()
Gauge("going_on", "What goes on.", multiprocess_mode="livesum").inc()
"""


async def count(folder: Path, seat: int) -> None:
    """Run a process that counts one greeting."""
    outcome = await run("-c", COUNT, folder, seat)
    assert outcome.code == 0, outcome.complaint


async def figures(folder: Path) -> list[str]:
    async with TestClient(TestServer(create_app(str(folder)))) as client:
        answer = await client.get("/metrics")
        assert answer.content_type == "text/plain"
        return (await answer.text()).splitlines()


async def test_all_processes_are_counted_together(tmp_path: Path) -> None:
    for seat in (1, 2):
        await count(tmp_path, seat)
    assert {"greetings_total 2.0", "going_on 2.0"} <= set(await figures(tmp_path))


async def test_a_process_that_ended_leaves_its_counts_to_the_next_one(tmp_path: Path) -> None:
    await count(tmp_path, 1)
    files = sorted(os.listdir(tmp_path))
    forget_seat(str(tmp_path), 1)
    assert "greetings_total 1.0" in await figures(tmp_path)
    assert not [line for line in await figures(tmp_path) if line.startswith("going_on 1")]
    await count(tmp_path, 1)
    assert sorted(os.listdir(tmp_path)) == files
    assert {"greetings_total 2.0", "going_on 1.0"} <= set(await figures(tmp_path))
