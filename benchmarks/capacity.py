"""What a call costs, and how many calls one core holds.

::

    python benchmarks/capacity.py --seconds 6 --plot capacity.png

Every caller hums without a pause, the bot echoes, and what comes back is judged in slots of 20 ms,
as its RTP timestamps have them. A slot is bad when it is

- missing: no packet bears its timestamp;
- late: it came more than 60 ms later than it would have with the smallest transit time (arrival
  minus timestamp) that this call had while it was measured;
- silent: its peak is below -40 dBFS.

A number of calls is held when at most 0.5 % of all slots are bad. The search takes half as many
calls more each time until too many slots are bad, and then halves the interval; the sides take
turns.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from callers import LeanCall, forever
from report import COLOURS, Report, options, publish, table
from search import Bisection, Given
from sides import Side, run, running
from sounds import PACKET_SECONDS, encode, hum, timeline

from pipecat_whatsapp.simulator.sound import FRAME_TICKS, SOUND_LEVEL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATE = 0.06
TOLERATED = 0.005
HUM_SECONDS = 10.0
BETWEEN_CALLS = 0.05
PAUSE = 0.5
"""Seconds for what is late, and for what is put away after the calls."""


NOTES = """\
CPU: user and system time of the server process, all threads, per second of call, without starting
and answering. A 20 ms slot of the echo is bad when it is missing, more than 60 ms later than with
the call's smallest transit time, or silent; a number of calls is held up to 0.5 % of bad slots. Of
a number that is not held the best of two tries counts, since others may disturb the machine.
The servers' processes share one core, of which only one at a time is called; Meta and the callers
have the other. Callers' load: the share of its core that this process used, which shall stay well
below 100 %.
What dominates, of pipecat-whatsapp: libopus is a fifth of the CPU of 8 calls, the kernel 7 %, the
rest is Python. Of Python's time with 20 calls at the default rates (py-spy --gil, 2026-11-25) more
than half is pipecat's pipeline, which both sides run: frame processors 34 %, output queue 11 %,
observers 11 %, pushing what was heard 8 %. aiortc's sending loop, with encoding, is 17 %, receiving
with decoding 14 %. The encoder's complexity falls from 9 to 5 to 1 as the core fills."""


@dataclass(frozen=True)
class Step:
    """So many calls to one side at one time.

    Parameters:
        side: Which side.
        calls: How many.
        cpu: CPU seconds of the server per second of call.
        load: Share of one core that the server used.
        callers_load: Share of one core that the callers used.
        slots: How many slots were judged.
        missing: How many of them had no packet.
        late: How many came late.
        silent: How many were silent.
    """

    side: str
    calls: int
    cpu: float
    load: float
    callers_load: float
    slots: int
    missing: int
    late: int
    silent: int

    @property
    def bad(self) -> float:
        """Share of bad slots, 0 to 1."""
        return (self.missing + self.late + self.silent) / max(1, self.slots)

    @property
    def is_held(self) -> bool:
        """Whether the calls were as good as free of glitches."""
        return self.bad <= TOLERATED

    def row(self) -> dict[str, Any]:
        """The figures for programs."""
        return {
            "side": self.side,
            "calls": self.calls,
            "cpu_s_per_call_s": round(self.cpu, 4),
            "load": round(self.load, 3),
            "callers_load": round(self.callers_load, 3),
            "slots": self.slots,
            "missing": self.missing,
            "late": self.late,
            "silent": self.silent,
            "bad": round(self.bad, 5),
        }


async def measure(args: argparse.Namespace) -> list[Step]:
    """Measure the sides in turn, until each has its answer."""
    steps: list[Step] = []
    hummed = encode(hum(HUM_SECONDS))
    environ = {"BENCH_RATES": "16000 16000"} if args.equal_rates else {}
    async with AsyncExitStack() as stack:
        plans: list[tuple[Side, Bisection | Given]] = []
        for name in args.sides:
            side = await stack.enter_async_context(running(name, environ))
            # The first call of a process costs more than any other.
            await load(side, 1, hummed, seconds=0.5)
            plan = Given(args.calls) if args.calls else Bisection(args.start, args.precision)
            plans.append((side, plan))
        while any(plan.next() for _, plan in plans):
            for side, plan in plans:
                calls = plan.next()
                if calls is not None:
                    steps.append(await best_of(side, calls, hummed, args))
                    plan.note(calls, is_held=steps[-1].is_held)
    return steps


async def best_of(
    side: Side, calls: int, hummed: Sequence[bytes], args: argparse.Namespace
) -> Step:
    """Try until the calls are held, and take the best try: only a disturbance can differ."""
    tries: list[Step] = []
    while len(tries) < args.tries and not any(step.is_held for step in tries):
        tries.append(await load(side, calls, hummed, args.seconds, args.settle))
    return min(tries, key=lambda step: step.bad)


async def load(
    side: Side, calls: int, hummed: Sequence[bytes], seconds: float, settle: float = 0.0
) -> Step:
    """Place so many calls, and judge what comes back.

    Args:
        side: Whom to call.
        calls: How many calls.
        hummed: What the callers say, again and again, Opus.
        seconds: How long to judge.
        settle: From the last call's answer until then, s.
    """
    callers = await dial_all(side, calls, hummed)
    await asyncio.sleep(settle)
    start, own, servers = time.monotonic(), time.process_time(), side.cpu_seconds()
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - start
    used, own = side.cpu_seconds() - servers, time.process_time() - own
    # What is on its way is late, not missing.
    await asyncio.sleep(PAUSE)
    await asyncio.gather(*(caller.hang_up() for caller in callers))
    await asyncio.sleep(PAUSE)
    slots = [judge(caller.received, start, seconds) for caller in callers]
    missing, late, silent = (sum(counts) for counts in zip(*slots, strict=True))
    return Step(
        side=side.name,
        calls=calls,
        cpu=used / elapsed / calls,
        load=used / elapsed,
        callers_load=own / elapsed,
        slots=calls * int(seconds / PACKET_SECONDS),
        missing=missing,
        late=late,
        silent=silent,
    )


async def dial_all(side: Side, calls: int, hummed: Sequence[bytes]) -> list[LeanCall]:
    """Call so many times, and wait until all are answered, or will not be."""
    callers = []
    for i in range(calls):
        callers.append(await LeanCall.dial(side.meta, forever(hummed), phase=i / calls))
        await asyncio.sleep(BETWEEN_CALLS)
    # A call that an overloaded server does not take has nothing but missing slots.
    await asyncio.gather(*(caller.heard() for caller in callers), return_exceptions=True)
    return callers


def judge(
    received: Sequence[tuple[float, bytes]], start: float, seconds: float
) -> tuple[int, int, int]:
    """Judge the slots of one call.

    Args:
        received: Monotonic times, s, and RTP packets.
        start: When to begin, monotonic s.
        seconds: For how long.

    Returns:
        How many slots are missing, late, and silent.
    """
    expected = int(seconds / PACKET_SECONDS)
    heard = timeline([packet for packet in received if packet[0] >= start - LATE])
    if not len(heard.times):
        return expected, 0, 0
    slots = np.arange(len(heard.times)) * PACKET_SECONDS
    punctual = slots + np.nanmin(heard.times - slots)
    first = int(np.searchsorted(punctual, start))
    judged = slice(first, first + expected)
    delays = heard.times[judged] - punctual[judged]
    there = ~np.isnan(delays)
    late = there & (np.nan_to_num(delays) > LATE)
    peaks = np.abs(heard.samples.astype(np.int32)).reshape(-1, FRAME_TICKS).max(axis=1)[judged]
    silent = there & ~late & (peaks < SOUND_LEVEL)
    return expected - int(there.sum()), int(late.sum()), int(silent.sum())


def held(steps: Iterable[Step], side: str) -> int:
    """The largest number of calls that a side held before it failed."""
    tried = sorted((step for step in steps if step.side == side), key=lambda step: step.calls)
    good = itertools.takewhile(lambda step: step.is_held, tried)
    return max((step.calls for step in good), default=0)


def figures(steps: Sequence[Step]) -> str:
    """The tables."""
    columns = ("", "calls", "CPU-s per call-s", "core", "missing", "late", "silent", "bad")
    sides = list(dict.fromkeys(step.side for step in steps))
    rows = [
        (
            step.side,
            str(step.calls),
            f"{step.cpu:.4f}",
            f"{step.load:.0%}",
            *(str(count) for count in (step.missing, step.late, step.silent)),
            f"{step.bad:.2%}",
            f"{step.callers_load:.0%}",
        )
        for step in sorted(steps, key=lambda step: (sides.index(step.side), step.calls))
    ]
    best = "\n".join(f"{side}: {held(steps, side)} calls held by one core" for side in sides)
    return f"{table((*columns, 'callers'), rows)}\n\n{best}"


def draw(figure: Figure, steps: Sequence[Step]) -> None:
    """Bad slots and CPU over the number of calls."""
    quality, cost = figure.subplots(1, 2)
    for side in dict.fromkeys(step.side for step in steps):
        own = sorted((step for step in steps if step.side == side), key=lambda step: step.calls)
        calls, colour = [step.calls for step in own], COLOURS[side]
        quality.plot(calls, [100 * step.bad for step in own], "o-", color=colour, label=side)
        cost.plot(calls, [100 * step.load for step in own], "o-", color=colour)
    quality.axhline(100 * TOLERATED, color="grey", linestyle=":")
    quality.set(xlabel="calls", ylabel="bad 20 ms slots, %", xlim=0)
    quality.set_yscale("symlog", linthresh=1)
    quality.set_ylim(0)
    cost.set(xlabel="calls", ylabel="load of the server's core, %", xlim=0, ylim=0)
    figure.legend(loc="outside upper center", ncols=2)


def main() -> None:
    """Measure, and print."""
    parser = options("CPU per call, and how many calls one core holds.")
    parser.add_argument("--calls", type=int, nargs="+", help="numbers to try, and no search")
    parser.add_argument("--start", type=int, default=8, help="calls with which the search begins")
    parser.add_argument("--precision", type=float, default=0.1, help="of the search, 0 to 1")
    parser.add_argument("--seconds", type=float, default=6, help="that are judged")
    parser.add_argument("--settle", type=float, default=2, help="seconds before that")
    parser.add_argument("--tries", type=int, default=2, help="of a number that is not held")
    parser.add_argument("--equal-rates", action="store_true", help="16 kHz in and out")
    args = parser.parse_args()
    steps = run(lambda: measure(args))
    rows = [step.row() for step in steps]
    publish(Report(figures(steps), NOTES, rows, lambda figure: draw(figure, steps)), args)


if __name__ == "__main__":
    main()
