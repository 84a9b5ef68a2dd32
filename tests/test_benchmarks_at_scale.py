from __future__ import annotations

import asyncio
import importlib
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
RATE, SLOT_SECONDS = 16_000, 0.02


def require_redis() -> None:
    pytest.importorskip("redis")
    pytest.importorskip("prometheus_client")
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian package redis-server)")


async def measure(script: str, figures: Path, *arguments: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BENCHMARKS / script),
        *(*arguments, "--json", str(figures)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(900):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            # It puts its own children away.
            process.terminate()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    rows: list[dict[str, Any]] = json.loads(figures.read_text())["rows"]  # noqa: ASYNC240
    return rows


def part(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [row for row in rows if row.get("part") == name]


async def test_workers_and_redis_are_measured_and_machines_reckoned(tmp_path: Path) -> None:
    require_redis()
    rows = await measure(
        "scale.py",
        tmp_path / "figures.json",
        *("--workers", "2", "--calls", "2", "--seconds", "1", "--settle", "1", "--tries", "1"),
        *("--rates", "20", "--redis-seconds", "1"),
    )
    (step,) = part(rows, "held")
    assert (step["workers"], step["calls"], step["slots"]) == (2, 2, 100)
    assert step["cpu_s_per_call_s"] > 0
    (call,) = part(rows, "calls in Redis")
    assert call["calls"] == call["done"] == 20
    assert call["requests"] <= 5
    assert call["redis_cpu_us"] > 0
    processes = [row["processes"] for row in part(rows, "processes in Redis")]
    assert processes == [row["processes"] for row in part(rows, "on paper")] == [2, 20, 100]


async def test_a_soak_watches_the_server_and_its_calls(tmp_path: Path) -> None:
    require_redis()
    rows = await measure(
        "soak.py",
        tmp_path / "figures.json",
        *("--minutes", "0.25", "--calls", "2", "--workers", "2", "--every", "0.5"),
    )
    (calls,) = part(rows, "calls")
    assert calls["answered"] >= 1
    assert calls["active_in_the_end"] == calls["workers_replaced"] == 0
    trends = {row["figure"]: row for row in part(rows, "trend")}
    assert trends["RSS of the server, MB"]["first_quarter"] > 0
    assert all(row["verdict"] in ("steady", "has risen", "has fallen") for row in trends.values())
    for sample in part(rows, "sample"):
        assert sample["sockets"] < sample["descriptors"]
    for call in part(rows, "call"):
        # The codec's own look-ahead is always in it.
        assert math.isnan(call["delay_ms"]) or call["delay_ms"] > 6


@pytest.fixture
def trend(monkeypatch: pytest.MonkeyPatch) -> Any:
    return import_benchmark("trend", monkeypatch)


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> Any:
    return import_benchmark("sounds", monkeypatch)


@pytest.fixture
def echo_quality(monkeypatch: pytest.MonkeyPatch) -> Any:
    return import_benchmark("echo_quality", monkeypatch)


def import_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("slope", "verdict"), [(0.0, "steady"), (0.001, "has risen"), (-0.001, "has fallen")]
)
def test_a_figure_is_judged_by_its_first_and_last_quarter(
    trend: Any, slope: float, verdict: str
) -> None:
    points = [(float(at), 10 + slope * at + at % 2) for at in range(0, 3600, 30)]
    found = trend.trend(trend.Figure("of something", slack=1), points, 3600)
    assert found.verdict == verdict
    assert found.slope == pytest.approx(3600 * slope, abs=0.1)


def test_what_a_figure_may_differ_by_grows_with_it(trend: Any) -> None:
    points = [(float(at), 1000 + at) for at in range(100)]
    assert trend.trend(trend.Figure("strict", slack=1), points, 100).verdict == "has risen"
    wide = trend.Figure("wide", slack=1, share=0.1)
    assert trend.trend(wide, points, 100).verdict == "steady"


def test_a_quarter_without_values_has_no_trend(trend: Any) -> None:
    assert trend.trend(trend.Figure("of something", slack=1), [(50.0, 1.0)], 100) is None


def packets(sounds: Any, start: float) -> list[tuple[float, bytes]]:
    """12 s of speech on its way, from a moment on, monotonic s."""
    from pipecat_whatsapp.media.rtp import RtpPacket

    return [
        (start + i * SLOT_SECONDS, bytes(RtpPacket(111, i, 960 * i, 1, payload)))
        for i, payload in enumerate(sounds.encode(sounds.speech()[: 12 * 2 * RATE]))
    ]


def test_an_echo_that_comes_whole_is_only_late_by_its_delay(sounds: Any, echo_quality: Any) -> None:
    quality = echo_quality.judge(packets(sounds, 100.0), packets(sounds, 100.2))
    assert quality.found == quality.looked_for > 3
    assert quality.delay == pytest.approx(200, abs=0.1)
    assert quality.growth == pytest.approx(0, abs=0.1)
    assert quality.lost == quality.late == 0
    assert quality.holes == []
    assert 100.2 <= quality.first_sound < 101


def test_packets_that_never_come_back_are_lost_and_holes_in_speech(
    sounds: Any, echo_quality: Any
) -> None:
    received = packets(sounds, 100.2)
    loudest = int(np.argmax([len(data) for _, data in received[:500]]))
    del received[loudest : loudest + 3]
    quality = echo_quality.judge(packets(sounds, 100.0), received)
    assert quality.lost == pytest.approx(3 / 600, abs=1e-6)
    assert sum(quality.holes) == pytest.approx(60)


def test_packets_that_come_back_too_late_are_counted(sounds: Any, echo_quality: Any) -> None:
    received = [(at + 0.1 * (300 <= i < 330), d) for i, (at, d) in enumerate(packets(sounds, 100))]
    quality = echo_quality.judge(packets(sounds, 99.9), received)
    assert quality.late == pytest.approx(30 / 600)
    assert quality.lost == 0


def test_a_call_in_which_nothing_came_back_is_all_lost(sounds: Any, echo_quality: Any) -> None:
    quality = echo_quality.judge(packets(sounds, 100), [])
    assert quality.lost == 1
    assert math.isnan(quality.delay)
    assert math.isnan(quality.first_sound)
