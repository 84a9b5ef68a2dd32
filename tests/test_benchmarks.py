from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


async def test_the_time_to_answer_is_measured_on_both_sides(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BENCHMARKS / "answer.py"),
        *("--calls", "1", "--latency", "10", "--json", str(figures)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(300):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            # It puts its own children away.
            process.terminate()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    printed = output.decode()
    for side in ("pipecat-whatsapp", "in-tree"):
        assert sum(line.startswith(side) for line in printed.splitlines()) == 2
    rows = json.loads(figures.read_text())["rows"]
    assert [row["kind"] for row in rows] == ["first call"] * 2 + ["warm calls"] * 2
    for row in rows:
        assert row["pre_accept"]["median"] < row["accept"]["median"] < row["first RTP"]["median"]
