"""What several worker processes hold, what Redis costs them, and what machines would hold.

::

    python benchmarks/scale.py --workers 1 2 --plot scale.png

Three parts:

- the calls that the production server holds with so many workers: callers, criterion and search
  are those of `capacity.py`;
- what a call costs Redis, and what the processes themselves cost it (`directory_load.py`);
- on paper: what machines like this one hold, and what one Redis carries of that.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from capacity import HUM_SECONDS, LATE, TOLERATED, best_of, load
from directory_load import STEPS, measure_beats, measure_calls
from production import ALL_CORES, redis_server, serving, why_no_redis
from report import Report, options, publish
from scale_report import Found, figures, on_paper
from search import Bisection, Given
from sides import run
from sounds import encode, hum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MACHINES = (1, 10, 50)
"""Whose processes are measured at Redis."""

NOTES = f"""\
All on this machine's loopback. The server is `pipecat-whatsapp serve echo_bot.py --workers N`, with
--metrics, with --redis-url for more than one worker, and with a --max-lag that refuses no call.
CPU: of its parent and its workers, all threads, per second of call, without starting and answering.
Bad: a 20 ms slot of the echo that is missing, {1000 * LATE:.0f} ms late, or silent. A number of
calls is held up to {TOLERATED:.1%} of bad slots; of one that is not, the best of several tries
counts.
Lag: how late the event loops were, on average of all tries, dialling included; --max-lag refuses
calls by such a mean. Phones: the share of one core that Meta and the callers used, which are one
other process. Where the machine has no core to spare for them they compete with the workers: the
server would hold more on a machine of its own, and its CPU per second of call is the figure to
reckon with.
Redis, per call that is claimed by one process and whose end comes to another one. Client: CPU of
both processes. Requests: what they asked for; commands: what Redis did, within its scripts too;
bytes: over the network, both ways. Relay: from the writing of a letter to its reading. All calls
go through one process here, so that at high rates its own queue is in the times.
Processes: what Redis does while no call begins or ends: once a second each process renews the
claims of its calls, and hears of all others. Redis's own idling is in it."""


async def measure(args: argparse.Namespace) -> Found:
    """Measure all there is to be measured here."""
    found = Found()
    reason = why_no_redis()
    for workers in args.workers:
        if workers > 1 and reason is not None:
            found.skipped.append(f"{workers} workers: skipped, {reason}")
        else:
            await search(workers, found, args)
    if reason is not None:
        found.skipped.append(f"Redis: skipped, {reason}")
        return found
    os.sched_setaffinity(0, ALL_CORES)
    async with redis_server() as redis:
        for rate in args.rates:
            found.calls.append(await measure_calls(redis.url, rate, args.redis_seconds))
        for machines in MACHINES if found.steps else ():
            processes = machines * max(found.steps)
            found.beats[machines] = await measure_beats(
                redis.url, processes, found.each, args.redis_seconds
            )
    return found


async def search(workers: int, found: Found, args: argparse.Namespace) -> None:
    """Look for the largest number of calls that so many workers hold."""
    steps = found.steps[workers] = []
    hummed = encode(hum(HUM_SECONDS))
    plan: Given | Bisection = (
        Given(args.calls) if args.calls else Bisection(args.start * workers, args.precision)
    )
    async with AsyncExitStack() as stack:
        # Too many calls shall be heard, not refused.
        options = ["--max-lag", "60"]
        if workers > 1:
            redis = await stack.enter_async_context(redis_server())
            options += ["--redis-url", redis.url]
        server = await stack.enter_async_context(serving(workers, *options))
        # The first calls of a process cost more than any other.
        await load(server, 2 * workers, hummed, seconds=0.5)
        end = time.monotonic() + args.limit
        while (calls := plan.next()) is not None and time.monotonic() < end:
            before = await server.figures()
            steps.append(await best_of(server, calls, hummed, args))
            found.lags[workers, calls] = mean_lag(before, await server.figures())
            plan.note(calls, is_held=steps[-1].is_held)


def mean_lag(before: dict[str, float], after: dict[str, float]) -> float:
    """How late the event loops were between two readings of the server's figures, ms."""
    lag = "whatsapp_event_loop_lag_seconds"
    seconds, count = (after[f"{lag}_{of}"] - before[f"{lag}_{of}"] for of in ("sum", "count"))
    return 1000 * seconds / count


def draw(figure: Figure, found: Found) -> None:
    """Bad slots over the number of calls, times over the rate, and Redis over machines."""
    quality, latency, paper = figure.subplots(1, 3)
    for tried in found.steps.values():
        own = sorted(tried, key=lambda step: step.calls)
        percents = [100 * step.bad for step in own]
        quality.plot([step.calls for step in own], percents, "o-", label=own[0].side)
    quality.axhline(100 * TOLERATED, color="grey", linestyle=":")
    quality.set(xlabel="calls", ylabel="bad 20 ms slots, %", xlim=0)
    quality.set_yscale("symlog", linthresh=1)
    quality.set_ylim(0)
    for step in STEPS:
        for name, style in (("p50", "o-"), ("p99", "o:")):
            values = [costs.row()[f"{step}_ms"][name] for costs in found.calls]
            rates = [costs.rate for costs in found.calls]
            latency.plot(rates, values, style, label=f"{step}, {name}")
    latency.set(xlabel="calls per second", ylabel="ms", xscale="log", ylim=0)
    reckoned = on_paper(found)
    shares = [100 * (row.by_calls + row.by_processes) for row in reckoned]
    paper.plot([row.calls for row in reckoned], shares, "o-")
    paper.set(xlabel="calls, on paper", ylabel="Redis, % of a core", xlim=0, ylim=0)
    for panel in (quality, latency):
        panel.legend()


def main() -> None:
    """Measure, and print."""
    parser = options("Calls held by several workers, and what Redis carries.", compares=False)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="to be tried")
    parser.add_argument("--calls", type=int, nargs="+", help="numbers to try, and no search")
    parser.add_argument("--start", type=int, default=12, help="calls per worker to begin with")
    parser.add_argument("--precision", type=float, default=0.1, help="of the search, 0 to 1")
    parser.add_argument("--seconds", type=float, default=6, help="that are judged")
    parser.add_argument("--settle", type=float, default=2, help="seconds before that")
    parser.add_argument("--tries", type=int, default=2, help="of a number that is not held")
    parser.add_argument("--limit", type=float, default=110, help="seconds for one search")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[10, 100, 1000], help="calls a second at Redis"
    )
    parser.add_argument("--redis-seconds", type=float, default=6, help="for each measure of Redis")
    args = parser.parse_args()
    found = run(lambda: measure(args))
    report = Report(
        figures(found), NOTES, found.rows(), lambda figure: draw(figure, found), compares=False
    )
    publish(report, args)


if __name__ == "__main__":
    main()
