"""How a benchmark says what it found: options, a heading, tables, notes, JSON and plots."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sides import SIDES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = dict(zip(SIDES, ("tab:green", "tab:red"), strict=True))

IN_TREE_NOTE = """\
All on this machine's loopback. Replaced in the in-tree client: the Graph address, the STUN server
(none unless said otherwise), the challenge's echo. Both serve the same bot (echo_bot.py)."""


@dataclass(frozen=True)
class Report:
    """What a benchmark found.

    Parameters:
        tables: The figures as text.
        notes: On what they rest.
        rows: The figures for programs.
        draw: Draws them.
        compares: Whether the in-tree client was measured, too.
    """

    tables: str
    notes: str
    rows: Sequence[dict[str, Any]]
    draw: Callable[[Figure], None]
    compares: bool = True


def options(description: str, *, compares: bool = True) -> argparse.ArgumentParser:
    """The options that all benchmarks have.

    Args:
        description: What the benchmark is about.
        compares: Whether it measures the in-tree client, too.
    """
    parser = argparse.ArgumentParser(description=description)
    if compares:
        sides = list(SIDES)
        parser.add_argument("--sides", nargs="+", choices=SIDES, default=sides, metavar="SIDE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them (PNG, SVG)")
    return parser


def publish(report: Report, args: argparse.Namespace) -> None:
    """Print a report, and write what `options` asked for."""
    about = heading()
    head = "\n".join(f"{name + ':':10}{value}" for name, value in about.items())
    notes = f"{IN_TREE_NOTE}\n{report.notes}" if report.compares else report.notes
    print(f"{head}\n\n{report.tables}\n\n{notes}")
    for path in filter(None, (args.json, args.plot)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if args.json is not None:
        args.json.write_text(json.dumps(about | {"rows": list(report.rows)}, indent=1) + "\n")
    if args.plot is not None:
        save_plot(report, args.plot)


def save_plot(report: Report, path: Path) -> None:
    """Draw a report into a file."""
    # Only now, since most runs draw nothing.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5), layout="constrained")
    report.draw(figure)
    figure.savefig(path, dpi=120)


def heading() -> dict[str, str]:
    """Where and how this was measured."""
    packages = ("pipecat-ai", "aiortc", "av")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
        "command": shlex.join(["python", *sys.argv]),
    }


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay a table out; the first column is flush left."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [
        [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in (columns, *rows)
    ]
    return "\n".join(" | ".join(line) for line in lines)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of all are not above (nearest rank)."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {"median": round(statistics.median(values), 2), "p95": round(percentile(values, 95), 2)}


def _cpu() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")
