"""What `scale.py` found, what can be reckoned from it, and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from capacity import Step, held
from directory_load import STEPS, BeatCosts, CallCosts
from production import share_cores
from report import table

from pipecat_whatsapp.calls.directory import TOMBSTONE_SECONDS

CALL_SECONDS = 120.0
"""On paper: the mean length of a call."""


def is_crowded(workers: int) -> bool:
    """Whether the workers share their cores with the phones."""
    theirs, ours = share_cores(workers)
    return bool(theirs & ours)


@dataclass
class Found:
    """What was measured.

    Parameters:
        steps: The numbers of calls that were tried, by the number of workers.
        lags: How late the event loops were on average, ms, by the numbers of workers and calls.
        calls: What calls cost Redis, by rate.
        beats: What processes cost it, by the number of machines.
        skipped: What could not be measured, and why.
    """

    steps: dict[int, list[Step]] = field(default_factory=dict)
    lags: dict[tuple[int, int], float] = field(default_factory=dict)
    calls: list[CallCosts] = field(default_factory=list)
    beats: dict[int, BeatCosts] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def held(self, workers: int) -> int:
        """How many calls so many workers hold."""
        steps = self.steps[workers]
        return held(steps, steps[0].side)

    @property
    def each(self) -> int:
        """What one worker holds, the fewest having been measured."""
        workers = min(self.steps)
        return self.held(workers) // workers

    def rows(self) -> list[dict[str, Any]]:
        """The figures for programs."""
        steps = [
            {
                "part": "held",
                "workers": workers,
                "cores_shared": is_crowded(workers),
                "lag_ms": round(self.lags[workers, step.calls], 2),
            }
            | step.row()
            for workers, tried in self.steps.items()
            for step in tried
        ]
        calls = [{"part": "calls in Redis"} | costs.row() for costs in self.calls]
        beats = [{"part": "processes in Redis"} | costs.row() for costs in self.beats.values()]
        papers = [{"part": "on paper"} | paper.row() for paper in on_paper(self)]
        return [*steps, *calls, *beats, *papers, *({"skipped": why} for why in self.skipped)]


@dataclass(frozen=True)
class Paper:
    """What machines would hold together, and what Redis would carry.

    Parameters:
        machines: How many machines.
        processes: How many workers they have.
        measured: Calls, at what one machine held beside the phones.
        calls: Calls, at what one worker held that had most of a core.
        rate: Calls that begin in a second.
        by_calls: CPU of Redis for the calls, share of one core.
        by_processes: CPU of Redis for the processes, share of one core.
        memory: What Redis remembers of ended calls, MB.
        megabits: What goes to and from Redis, Mbit/s.
    """

    machines: int
    processes: int
    measured: int
    calls: int
    rate: float
    by_calls: float
    by_processes: float
    memory: float
    megabits: float

    def row(self) -> dict[str, Any]:
        """The figures for programs."""
        return {
            "machines": self.machines,
            "processes": self.processes,
            "calls_measured": self.measured,
            "calls": self.calls,
            "calls_per_s": round(self.rate, 2),
            "redis_core_by_calls": round(self.by_calls, 5),
            "redis_core_by_processes": round(self.by_processes, 5),
            "redis_mb": round(self.memory, 2),
            "redis_mbit_per_s": round(self.megabits, 2),
        }


def on_paper(found: Found) -> list[Paper]:
    """Reckon what machines like this one hold."""
    if not found.calls:
        return []
    # At the highest rate the least of Redis's own idling is in it.
    call = max(found.calls, key=lambda costs: costs.rate).row()
    papers = []
    for machines, beats in found.beats.items():
        calls = beats.processes * found.each
        rate = calls / CALL_SECONDS
        papers.append(
            Paper(
                machines=machines,
                processes=beats.processes,
                measured=machines * found.held(max(found.steps)),
                calls=calls,
                rate=rate,
                by_calls=rate * call["redis_cpu_us"] / 1e6,
                by_processes=beats.row()["redis_cpu"],
                memory=rate * TOMBSTONE_SECONDS * call["kept_bytes"] / 1e6,
                megabits=8e-6 * (rate * call["bytes"] + beats.row()["bytes"]),
            )
        )
    return papers


def figures(found: Found) -> str:
    """The tables."""
    parts = [_steps_table(found)] if found.steps else []
    if found.calls:
        parts.append(f"What a call costs Redis:\n{_calls_table(found.calls)}")
    if found.beats:
        parts.append(
            "What processes cost Redis in a second, all together:\n"
            f"{_beats_table(list(found.beats.values()))}"
        )
        parts.append(_paper_table(found))
    return "\n\n".join([*parts, *found.skipped])


def _steps_table(found: Found) -> str:
    columns = ("", "calls", "CPU-s per call-s", "cores", "missing", "late", "silent", "bad")
    rows = [
        (
            step.side,
            str(step.calls),
            f"{step.cpu:.4f}",
            f"{step.load:.2f}",
            *(str(count) for count in (step.missing, step.late, step.silent)),
            f"{step.bad:.2%}",
            f"{found.lags[workers, step.calls]:.1f}",
            f"{step.callers_load:.0%}",
        )
        for workers, tried in found.steps.items()
        for step in sorted(tried, key=lambda step: step.calls)
    ]
    best = [
        f"{tried[0].side}: {found.held(workers)} calls held"
        + (", sharing all cores with the phones" if is_crowded(workers) else "")
        for workers, tried in found.steps.items()
    ]
    return "\n".join([table((*columns, "lag ms", "phones"), rows), "", *best])


def _calls_table(calls: Sequence[CallCosts]) -> str:
    columns = ("calls/s", "calls", "Redis us", "client us", "requests", "commands", "bytes")
    rows = []
    for costs in calls:
        row = costs.row()
        times = (row[f"{step}_ms"] for step in STEPS)
        rows.append(
            (
                f"{costs.rate:g}",
                str(costs.calls),
                f"{row['redis_cpu_us']:.0f}",
                f"{row['client_cpu_us']:.0f}",
                f"{row['requests']:.1f}",
                f"{row['commands']:.1f}",
                str(row["bytes"]),
                *(f"{t['p50']:.2f} / {t['p99']:.2f}" for t in times),
            )
        )
    return table((*columns, *(f"{step} ms p50 / p99" for step in STEPS)), rows)


def _beats_table(beats: Sequence[BeatCosts]) -> str:
    columns = ("processes", "calls each", "Redis core", "commands", "kB", "beat ms p50 / p99")
    rows = []
    for costs in beats:
        row = costs.row()
        rows.append(
            (
                str(costs.processes),
                str(costs.calls),
                f"{row['redis_cpu']:.2%}",
                f"{row['commands']:.0f}",
                f"{row['bytes'] / 1000:.0f}",
                f"{row['beat_ms']['p50']:.2f} / {row['beat_ms']['p99']:.2f}",
            )
        )
    return table(columns, rows)


def _paper_table(found: Found) -> str:
    workers = max(found.steps)
    columns = ("machines", "processes", "calls at least", "calls", "calls/s", "Redis core")
    rows = [
        (
            str(paper.machines),
            str(paper.processes),
            str(paper.measured),
            str(paper.calls),
            f"{paper.rate:.2f}",
            f"{paper.by_calls + paper.by_processes:.2%}",
            f"{paper.memory:.2f}",
            f"{paper.megabits:.2f}",
        )
        for paper in on_paper(found)
    ]
    return (
        f"On paper, for machines like this one with {workers} workers each, whose calls last "
        f"{CALL_SECONDS:.0f} s\non average and cost what the echo calls cost. Calls at least: at "
        f"the {found.held(workers)} that {workers} workers held beside\nthe phones; calls: at "
        f"{found.each} for each worker, which is what {min(found.steps)} alone held:\n"
        + table((*columns, "Redis MB", "Redis Mbit/s"), rows)
    )
