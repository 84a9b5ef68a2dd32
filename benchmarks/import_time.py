"""How long it takes to import the package, and how much of that pipecat takes anyway.

::

    python benchmarks/import_time.py --runs 15

Every run is a new process, with the files of all modules in the system's cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from report import Report, options, publish, summary, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = ("import pipecat_whatsapp", "its part of pipecat", "all its names, beyond that")

NOTES = """\
ms, median and 95th percentile. Its names are loaded when they are first used: the import alone is
what the command line and every run of pytest pay. Its part of pipecat: the modules of pipecat, with
what they import themselves, that its names need. Beyond that: this package's modules, and what
pipecat has not imported already."""

_NEEDED = """
import sys, pipecat_whatsapp
for name in pipecat_whatsapp.__all__:
    getattr(pipecat_whatsapp, name)
print(*(name for name in sys.modules if name.split(".")[0] == "pipecat"))
"""

_TIMED = """
import importlib, json, sys, time
clock = time.perf_counter
begin = clock()
import pipecat_whatsapp
bare = clock()
for name in sys.argv[1:]:
    importlib.import_module(name)
pipecat = clock()
for name in pipecat_whatsapp.__all__:
    getattr(pipecat_whatsapp, name)
print(json.dumps([bare - begin, pipecat - bare, clock() - pipecat]))
"""


def main() -> None:
    """Measure, and report."""
    parser = options("How long it takes to import the package.", compares=False)
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="processes (15)")
    args = parser.parse_args()
    times = measure(args.runs)
    rows = [{"step": step, "runs": args.runs, **summary(times[step])} for step in STEPS]
    cells = [[row["step"], f"{row['median']:.1f}", f"{row['p95']:.1f}"] for row in rows]
    publish(
        Report(
            table(("", "median", "p95"), cells),
            NOTES,
            rows,
            lambda figure: draw(figure, times),
            compares=False,
        ),
        args,
    )


def measure(runs: int) -> dict[str, list[float]]:
    """The milliseconds of every step in every run.

    Args:
        runs: How many processes.
    """
    needed = _python(_NEEDED).split()
    found = [json.loads(_python(_TIMED, *needed)) for _ in range(runs)]
    return {
        step: [1000 * seconds for seconds in times]
        for step, times in zip(STEPS, zip(*found, strict=True), strict=True)
    }


def draw(figure: Figure, times: dict[str, list[float]]) -> None:
    """Draw what every run took."""
    axes = figure.subplots()
    axes.boxplot(list(times.values()), orientation="horizontal")
    axes.set_yticks(range(1, len(times) + 1), list(times))
    axes.set_xlabel("ms")


def _python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


if __name__ == "__main__":
    main()
