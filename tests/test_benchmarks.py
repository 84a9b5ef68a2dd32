from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
RATE, SLOT = 16_000, 320
SIDES = ["pipecat-whatsapp", "in-tree"]


async def measure(script: str, figures: Path, *arguments: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BENCHMARKS / script),
        *(*arguments, "--json", str(figures)),
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
    assert all(side in printed for side in SIDES)
    assert "Replaced in the in-tree client" in printed
    rows: list[dict[str, Any]] = json.loads(figures.read_text())["rows"]  # noqa: ASYNC240
    return rows


async def test_the_time_to_answer_is_measured_on_both_sides(tmp_path: Path) -> None:
    options = ("--calls", "1", "--latency", "10", "--scenarios", "no STUN server")
    rows = await measure("answer.py", tmp_path / "figures.json", *options)
    assert [row["scenario"] for row in rows] == ["first call of a process"] * 2 + [options[-1]] * 2
    assert [row["side"] for row in rows] == SIDES * 2
    for row in rows:
        assert row["pre_accept"]["median"] < row["accept"]["median"]
        assert row["sound after 200"]["median"] > 0
        assert row["likeness"] > 0.5
        if row["side"] == SIDES[0]:
            assert row["accept"]["median"] < row["first RTP"]["median"]


async def test_the_delay_of_echoes_is_measured_on_both_sides(tmp_path: Path) -> None:
    options = ("--seconds", "3", "--configurations", "equal rates")
    rows = await measure("turnaround.py", tmp_path / "figures.json", *options)
    assert [row["side"] for row in rows] == SIDES
    for row in rows:
        assert row["configuration"] == "equal rates"
        assert row["chirps"] == len(row["delays"]) == 2
        # A machine that stands still for a moment tears a chirp apart.
        assert 1 <= row["heard"] <= 2
        # The codec's own look-ahead is always in it.
        assert row["delay_ms"]["p95"] >= row["delay_ms"]["median"] > 6


async def test_calls_per_core_are_measured_on_both_sides(tmp_path: Path) -> None:
    options = ("--calls", "1", "--seconds", "1", "--settle", "1", "--tries", "1")
    rows = await measure("capacity.py", tmp_path / "figures.json", *options)
    assert [row["side"] for row in rows] == SIDES
    for row in rows:
        assert row["calls"] == 1
        assert row["slots"] == 50
        assert row["cpu_s_per_call_s"] > 0
        assert row["bad"] == pytest.approx((row["missing"] + row["late"] + row["silent"]) / 50)


async def test_speech_on_a_bad_line_is_judged_on_both_sides(tmp_path: Path) -> None:
    require_bench()
    conditions = ["perfect", "20 % lost"]
    options = ("--seconds", "4", "--conditions", *conditions)
    rows = await measure("loss.py", tmp_path / "figures.json", *options)
    assert [(r["condition"], r["side"]) for r in rows] == [
        (condition, side) for condition in conditions for side in SIDES
    ]
    for row in rows:
        assert row["spoken_s"] == 4
        assert row["delays"]
        assert row["holes"] == 0 or row["longest_hole_ms"] >= 20
        assert 1 <= row["pesq"] <= 4.65
        assert 0 <= row["stoi"] <= 1


@pytest.fixture
def loss(monkeypatch: pytest.MonkeyPatch) -> Any:
    require_bench()
    return import_benchmark("loss", monkeypatch)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    return import_benchmark("lines", monkeypatch)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Any:
    return import_benchmark("search", monkeypatch)


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch) -> Any:
    require_bench()
    return import_benchmark("hearing", monkeypatch)


def import_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def require_bench() -> None:
    for name in ("pesq", "pystoi"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install -e '.[bench]'")


def test_the_same_seed_gives_packets_the_same_fates(lines: Any) -> None:
    line = lines.Condition(loss=0.05, jitter=0.03, reorder=0.1)
    assert list(lines.fates(line, 500, seed=1)) == list(lines.fates(line, 500, seed=1))
    assert list(lines.fates(line, 500, seed=1)) != list(lines.fates(line, 500, seed=2))


@pytest.mark.parametrize("burst", [None, 3])
def test_as_many_packets_are_lost_as_the_line_says(lines: Any, burst: float | None) -> None:
    fates = list(lines.fates(lines.Condition(loss=0.1, burst=burst), 50_000, seed=1))
    lost = [fate is None for fate in fates]
    assert sum(lost) / len(lost) == pytest.approx(0.1, abs=0.01)
    runs = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / runs == pytest.approx(burst or 1 / 0.9, abs=0.15)


@pytest.mark.parametrize("capacity", [0, 1, 7, 11, 23, 200])
def test_the_search_finds_how_many_calls_are_held(search: Any, capacity: int) -> None:
    plan, best, tries = search.Bisection(start=8, precision=0), 0, 0
    while (calls := plan.next()) is not None:
        held = calls <= capacity
        best, tries = max(best, calls if held else 0), tries + 1
        plan.note(calls, is_held=held)
    assert tries < 20
    assert best == capacity or best > 130


def test_only_silence_is_left_out_by_dtx_and_numbered_without_gaps(loss: Any) -> None:
    script = loss.departures(loss.Condition(dtx=True), 6, seed=1)
    every = loss.departures(loss.Condition(), 6, seed=1)
    assert [d.sequence for d in script] == list(range(len(script)))
    missing = {d.slot for d in every} - {d.slot for d in script}
    quiet = loss.material(6)
    assert missing
    assert all(
        abs(quiet[slot * 320 : slot * 320 + 320].astype(int)).max() <= 100 for slot in missing
    )


def hear(loss: Any, hearing: Any, samples: Any) -> Any:
    """Judge what comes as a steady stream 200 ms after its departure at 100 s."""
    said = loss.material(5)
    spoken = hearing.Spoken(said, loss.original(5), 2 * RATE, 7 * RATE, departed_at=100.0)
    times = 100.2 + np.arange(len(samples)) / RATE
    return hearing.judge(spoken, hearing.Heard(samples, times))


def test_speech_that_arrives_unharmed_has_no_holes(loss: Any, hearing: Any) -> None:
    verdict = hear(loss, hearing, loss.original(5))
    assert verdict.holes == []
    assert verdict.concealed == 0
    assert verdict.heard == pytest.approx(5, abs=0.001)
    assert verdict.delay == pytest.approx(200, abs=0.1)
    assert verdict.growth == pytest.approx(0, abs=0.1)
    assert verdict.pesq > 3
    assert verdict.stoi > 0.95


def test_silence_within_speech_is_a_hole(loss: Any, hearing: Any) -> None:
    start = loudest(loss.original(5))
    samples = loss.original(5).copy()
    samples[start : start + 3 * SLOT] = 0
    verdict = hear(loss, hearing, samples)
    assert verdict.holes == [60]
    assert verdict.heard == pytest.approx(5, abs=0.001)


def test_speech_that_was_cut_out_is_a_hole_too(loss: Any, hearing: Any) -> None:
    start = loudest(loss.original(5))
    whole = loss.original(5)
    verdict = hear(loss, hearing, np.concatenate([whole[:start], whole[start + 5 * SLOT :]]))
    assert sum(verdict.holes) == pytest.approx(100, abs=20)
    assert verdict.delays[0][1] - verdict.delays[-1][1] == pytest.approx(100, abs=0.1)


def test_other_sound_in_its_place_is_concealment(loss: Any, hearing: Any) -> None:
    start = loudest(loss.original(5))
    samples = loss.original(5).copy()
    noise = np.random.default_rng(1).integers(-3000, 3000, 3 * SLOT)
    samples[start : start + 3 * SLOT] = noise
    verdict = hear(loss, hearing, samples)
    assert verdict.holes == []
    assert verdict.concealed > 0


def loudest(samples: Any) -> int:
    """The beginning of the loudest 100 ms, on a whole slot."""
    slots = np.abs(samples[: len(samples) // SLOT * SLOT].astype(int)).reshape(-1, SLOT)
    return int(np.convolve(slots.mean(axis=1), np.ones(5), "valid").argmax()) * SLOT
