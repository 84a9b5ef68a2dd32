"""A long run with calls that come and go: whether the production server stays what it is.

::

    python benchmarks/soak.py --minutes 60 --calls 10 --workers 2 --plot soak.png

So many callers speak to the echo bot, listen for 20 to 60 s, hang up, and call again. Twice a
minute the server's processes are looked at; every call is judged when it is over. Ctrl-C ends the
run early, with a report of what there is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from production import redis_server, serving, why_no_redis
from report import Report, options, publish, summary, table
from sides import run
from soak_records import CALL_FIGURES, PROCESS_FIGURES, Heard, Sample
from soak_run import Callers, Soak, at_rest, churn, warm_up
from trend import Figure, Point, Trend, trend

if TYPE_CHECKING:
    import matplotlib.figure

WARM_UP_CALLS = 2
"""Calls of each worker before the run: they load what all others use."""

NOTES = """\
All on this machine's loopback; the phones, Meta and Redis have what cores the workers leave, and
share with them where there are no others. The server is `pipecat-whatsapp serve echo_bot.py
--workers N --max-lag 60 --redis-url URL --metrics PORT`; its figures are those of the parent and
all workers. Quarters of the time; medians. A figure is steady when its last quarter differs from
the first by no more than is written beside it. Late: more than 60 ms later than with the call's
smallest transit time. Hole: 20 ms or more of loud speech that came back as (near) silence, or not
at all. Delay: from a sound's departure to its return; 6.5 ms of it are the look-ahead of the bot's
Opus encoder. Redis remembers ended calls for an hour, and grows until then. Callers late: by
how much the phones themselves sent their latest packet too late, worst of each call; more than some
ms mean a disturbed machine."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Parameters:
        seconds: How long it was.
        idle: The server before the first call.
        left: The server when all calls had ended.
        samples: The server's processes, over time.
        calls: The calls that were heard to their ends.
        failed: How many calls ended otherwise, by what happened.
        replaced: How many workers died.
        trends: What became of each figure.
        active: How many calls the server counts in the end.
        causes: How many calls the server saw end, by cause.
    """

    seconds: float
    idle: Sample
    left: Sample
    samples: Sequence[Sample]
    calls: Sequence[Heard]
    failed: Counter[str]
    replaced: int
    trends: Sequence[Trend]
    active: int
    causes: dict[str, int]

    def rows(self) -> list[dict[str, Any]]:
        """The figures for programs."""
        return [
            *({"part": "trend"} | each.row() for each in self.trends),
            {"part": "idle before"} | self.idle.row(),
            {"part": "idle after"} | self.left.row(),
            {
                "part": "calls",
                "answered": len(self.calls),
                "failed": dict(self.failed),
                "workers_replaced": self.replaced,
                "active_in_the_end": self.active,
                "causes": self.causes,
            },
            *({"part": "sample"} | sample.row() for sample in self.samples),
            *({"part": "call"} | call.row() for call in self.calls),
        ]


async def measure(args: argparse.Namespace) -> Outcome:
    """Run, and judge."""
    async with AsyncExitStack() as stack:
        judges = stack.enter_context(
            ProcessPoolExecutor(1, get_context("spawn"), initializer=_give_way)
        )
        redis = await stack.enter_async_context(redis_server())
        server = await stack.enter_async_context(
            serving(args.workers, "--max-lag", "60", "--redis-url", redis.url)
        )
        soak = Soak(server, redis)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, soak.ending.set)
        await warm_up(soak, WARM_UP_CALLS * args.workers)
        idle = await at_rest(soak)
        soak.start(idle)
        callers = Callers(args.calls, args.seed)
        await churn(soak, judges, callers, seconds=60 * args.minutes, every=args.every)
        # The last calls may still be judged when it is over.
        seconds = min(time.monotonic() - soak.began, 60 * args.minutes)
        left = await at_rest(soak)
        active, causes = _counted(await server.figures())
    return Outcome(
        seconds=seconds,
        idle=idle,
        left=left,
        samples=soak.samples[1:],
        calls=sorted(soak.calls, key=lambda call: call.at),
        failed=soak.failed,
        replaced=len(soak.seen) - 1 - args.workers,
        trends=_trends(soak, seconds),
        active=active,
        causes=causes,
    )


def _give_way() -> None:
    """Let the phones and the server go first; Ctrl-C is for the parent alone."""
    os.nice(15)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _counted(told: dict[str, float]) -> tuple[int, dict[str, int]]:
    """What the server itself counted: calls that go on, and those that ended, by cause."""
    causes = Counter[str]()
    for name, value in told.items():
        if name.startswith("whatsapp_calls_ended_total"):
            causes[name.partition('cause="')[2].partition('"')[0]] += int(value)
    return int(told["whatsapp_calls_active"]), dict(causes)


def _trends(soak: Soak, seconds: float) -> list[Trend]:
    """The trend of each figure that has one."""
    processes = [[(s.at, value) for value in s.values()] for s in soak.samples[1:]]
    calls = [[(c.at, value) for value in c.values()] for c in soak.calls]
    series = [*zip(PROCESS_FIGURES, zip(*processes, strict=True), strict=False)]
    series += zip(CALL_FIGURES, zip(*calls, strict=True), strict=False)
    found = (trend(figure, _numbers(points), seconds) for figure, points in series)
    return [each for each in found if each is not None]


def _numbers(points: Sequence[Point]) -> list[Point]:
    """Without what could not be measured."""
    return [point for point in points if point[1] == point[1]]


def figures(outcome: Outcome) -> str:
    """The tables, and what is to be said of the calls."""
    return "\n\n".join(
        [
            _trend_table(outcome.trends),
            _rest_table(outcome),
            _calls(outcome),
            "\n".join(f"{each.figure.name}: {each.verdict}" for each in outcome.trends),
        ]
    )


def _trend_table(trends: Sequence[Trend]) -> str:
    columns = ("", "values", "first quarter", "last quarter", "per hour", "may differ by")
    rows = [
        (
            each.figure.name,
            str(each.count),
            f"{each.first:.2f}",
            f"{each.last:.2f}",
            f"{each.slope:+.2f}",
            f"{max(each.figure.slack, each.figure.share * abs(each.first)):.2f}",
        )
        for each in trends
    ]
    return table(columns, rows)


def _rest_table(outcome: Outcome) -> str:
    """The server without calls, before and after."""
    pairs = zip(PROCESS_FIGURES, outcome.idle.values(), outcome.left.values(), strict=True)
    rows = [
        (figure.name, f"{before:.2f}", f"{after:.2f}")
        for figure, before, after in pairs
        if "CPU" not in figure.name
    ]
    return table(("without calls", "before", "after"), rows)


def _calls(outcome: Outcome) -> str:
    failed = ", ".join(f"{count} {what}" for what, count in outcome.failed.items()) or "none"
    causes = ", ".join(f"{count} {cause}" for cause, count in outcome.causes.items())
    lines = [
        f"In {outcome.seconds / 60:.1f} min {len(outcome.calls)} calls were judged; "
        f"failed: {failed}; workers that died: {outcome.replaced}.",
        f"The server counts, warm-up included: {causes}; {outcome.active} calls go on.",
    ]
    if outcome.calls:
        holes = [hole for call in outcome.calls for hole in call.quality.holes]
        minutes = sum(call.seconds for call in outcome.calls) / 60
        late = summary([call.lateness for call in outcome.calls])
        found = sum(call.quality.found for call in outcome.calls)
        looked_for = max(1, sum(call.quality.looked_for for call in outcome.calls))
        lines += [
            f"In {minutes:.0f} min of speech {len(holes)} holes, the longest of "
            f"{max(holes, default=0):.0f} ms; {found / looked_for:.1%} of its pieces were found.",
            f"Callers late: {late['median']:.1f} ms, 95 % of calls below {late['p95']:.1f} ms.",
        ]
    return "\n".join(lines)


def draw(figure: matplotlib.figure.Figure, outcome: Outcome) -> None:
    """Each figure over time."""
    series: list[tuple[Figure, int, Sequence[Sample | Heard]]] = [
        *((f, i, outcome.samples) for i, f in enumerate(PROCESS_FIGURES)),
        *((f, i, outcome.calls) for i, f in enumerate(CALL_FIGURES)),
    ]
    figure.set_size_inches(15, 9)
    panels = figure.subplots(3, -(-len(series) // 3), squeeze=False).flat
    for (watched, place, records), panel in zip(series, panels, strict=False):
        points = _numbers([(record.at / 60, record.values()[place]) for record in records])
        panel.plot([at for at, _ in points], [value for _, value in points], ".")
        panel.set_title(watched.name, fontsize="small")
        panel.set(xlabel="min", xlim=0)
        values = [0.0, *(value for _, value in points)]
        panel.set_ylim(1.1 * min(values), 1.1 * max(values) or 1)
    for panel in panels:
        panel.set_axis_off()


def main() -> None:
    """Measure, and print."""
    parser = options("A long run with calls that come and go.", compares=False)
    parser.add_argument("--minutes", type=float, default=60, help="how long")
    parser.add_argument("--calls", type=int, default=10, help="at one time")
    parser.add_argument("--workers", type=int, default=2, help="of the server")
    parser.add_argument("--every", type=float, default=30, help="seconds between two samples")
    parser.add_argument("--seed", type=int, default=1, help="of the calls' lengths")
    args = parser.parse_args()
    if (reason := why_no_redis()) is not None:
        parser.error(f"there can be no Redis: {reason}")
    outcome = run(lambda: measure(args))
    report = Report(
        figures(outcome),
        NOTES,
        outcome.rows(),
        lambda figure: draw(figure, outcome),
        compares=False,
    )
    publish(report, args)


if __name__ == "__main__":
    main()
