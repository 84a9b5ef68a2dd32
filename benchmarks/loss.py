"""What a pipeline hears of a caller on a bad line.

::

    python benchmarks/loss.py --conditions "5 % lost, 30 ms jitter" --plot loss.png

The bot writes down what its pipeline gets (`recorder.py`). What a line does to each packet is
drawn from a seed before the call, so both sides get the same packets, late or lost in the same
way. What is heard is compared with what was said in `hearing.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from callers import Departure, LeanCall
from hearing import Heard, Spoken, Verdict, judge
from lines import CONDITIONS, Condition, fates
from report import COLOURS, Report, options, publish, table
from sides import PATIENCE, Side, run, running
from sounds import PACKET_SECONDS, Samples, encode, speech

from pipecat_whatsapp.simulator.sound import OPUS_CLOCK, RATE, OpusDecoder, resample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAD_IN, TAIL = 2.0, 1.5
"""Silence before and after the speech, s: both bots have started, and everything has arrived."""

DTX_REFRESH = 20
"""In silence an encoder with DTX sends one packet of so many (libopus: 400 ms)."""


NOTES = """\
Heard: seconds of sound that the pipeline got in the time in which the speech was sent. Hole: 20 ms
or more of speech that came as (near) digital silence or were cut out. Concealed: share of the
speech that is sound, but unlike what was said. Delay: from departure to the pipeline, median of
the windows of speech that were found again, with the line's own delay; growth: last third minus
first third. PESQ wideband (1 to 4.6) and STOI (0 to 1) compare with what was said before the codec;
what came earlier or later is put in its place first, and what was cut out is silence there.
Mean length of a burst: 3 packets. Caller late: by how much the caller sent its latest packet too
late; more than some ms mean a disturbed machine."""


@dataclass(frozen=True)
class Result:
    """How one call was heard.

    Parameters:
        side: Which side.
        condition: Which of `CONDITIONS`.
        verdict: How it was heard.
        lateness: By how much the caller itself was late at the worst, ms.
    """

    side: str
    condition: str
    verdict: Verdict
    lateness: float

    def row(self) -> dict[str, Any]:
        """The figures for programs."""
        v = self.verdict
        return {
            "side": self.side,
            "condition": self.condition,
            "spoken_s": round(v.spoken, 3),
            "heard_s": round(v.heard, 3),
            "holes": len(v.holes),
            "longest_hole_ms": round(max(v.holes, default=0.0), 1),
            "concealed": round(v.concealed, 4),
            "delay_ms": round(v.delay, 1),
            "growth_ms": round(v.growth, 1),
            "pesq": round(v.pesq, 3),
            "stoi": round(v.stoi, 3),
            "caller_late_ms": round(self.lateness, 1),
            "delays": [[round(at, 3), round(delay, 1)] for at, delay in v.delays],
        }


def departures(condition: Condition, seconds: float, seed: int) -> list[Departure]:
    """What arrives at the server, in the order of its arrival."""
    pcm = material(seconds)
    packets = [
        (slot, packet)
        for slot, packet in enumerate(encoded(seconds))
        if not (condition.dtx and slot % DTX_REFRESH and _in_silence(pcm, slot))
    ]
    arriving = [
        Departure(slot * PACKET_SECONDS + late, sequence, slot, packet)
        for sequence, ((slot, packet), late) in enumerate(
            zip(packets, fates(condition, len(packets), seed), strict=True)
        )
        if late is not None
    ]
    return sorted(arriving, key=lambda departure: departure.at)


def _in_silence(pcm: Samples, slot: int) -> bool:
    """Whether the last 200 ms were silent, after which libopus begins DTX."""
    size = round(RATE * PACKET_SECONDS)
    recent = pcm[max(0, slot - 10) * size : (slot + 1) * size]
    return not np.any(np.abs(recent.astype(np.int32)) > 100)


@cache
def material(seconds: float) -> Samples:
    """Speech between two silences."""
    spoken = np.frombuffer(speech(), np.int16)[: round(seconds * RATE)]
    return np.pad(spoken, (round(LEAD_IN * RATE), round(TAIL * RATE)))


@cache
def encoded(seconds: float) -> list[bytes]:
    """What the caller's encoder makes of it."""
    return encode(material(seconds).tobytes())


@cache
def original(seconds: float) -> Samples:
    """What a decoder gives that gets every packet."""
    decoder = OpusDecoder()
    pcm = b"".join(decoder.decode(packet).tobytes() for packet in encoded(seconds))
    return np.frombuffer(resample(pcm, OPUS_CLOCK, RATE), np.int16)


async def measure(args: argparse.Namespace) -> list[Result]:
    """Call both sides under every condition, some calls at a time."""
    # Before any call, which must not be held up by it.
    scripts = {
        name: departures(CONDITIONS[name], args.seconds, args.seed) for name in args.conditions
    }
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            recorders = []
            for name in args.sides:
                path = Path(folder, name)
                path.mkdir()  # noqa: ASYNC240 - before any call
                side = await stack.enter_async_context(running(name, {"BENCH_RECORD": str(path)}))
                recorders.append((side, path))
            calls = await asyncio.gather(
                *(speak(side, path, scripts, args) for side, path in recorders)
            )
        return [
            Result(
                side=side.name,
                condition=name,
                verdict=judge(_spoken(call, args.seconds), Heard.read(path)),
                lateness=1000 * call.lateness,
            )
            for group in zip(*calls, strict=True)
            for (side, _), (name, call, path) in zip(recorders, group, strict=True)
        ]


async def speak(
    side: Side, folder: Path, scripts: dict[str, list[Departure]], args: argparse.Namespace
) -> list[tuple[str, LeanCall, Path]]:
    """Place the calls to one side: condition, call, and where it was written down."""
    placed: list[tuple[str, LeanCall, Path]] = []
    for names in batches(list(scripts), args.together):
        calls: list[LeanCall] = []
        for name in names:
            phase = len(calls) / args.together
            calls.append(await LeanCall.dial(side.meta, scripts[name], phase=phase))
            # One after the other, so that the recordings have the order of the calls.
            await calls[-1].heard()
        await asyncio.gather(*(call.said() for call in calls))
        await asyncio.gather(*(call.hang_up() for call in calls))
        for name, call in zip(names, calls, strict=True):
            path = folder / f"{len(placed) + 1}.json"
            await _written(path)
            placed.append((name, call, path))
    return placed


def batches(names: Sequence[str], size: int) -> list[Sequence[str]]:
    """Split a list into parts of a size at most."""
    return [names[first : first + size] for first in range(0, len(names), size)]


def _spoken(call: LeanCall, seconds: float) -> Spoken:
    assert call.started_at is not None
    pcm = material(seconds)
    start, end = round(LEAD_IN * RATE), len(pcm) - round(TAIL * RATE)
    return Spoken(pcm, original(seconds), start, end, call.started_at)


async def _written(path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process writes it
            await asyncio.sleep(0.1)


def figures(results: Sequence[Result]) -> str:
    """The table."""
    columns = ("", "side", "heard s", "holes", "longest ms", "concealed", "delay", "growth")
    rows = []
    for result in results:
        v = result.verdict
        cells = [f"{v.heard:.2f} of {v.spoken:.2f}", str(len(v.holes))]
        cells += [f"{max(v.holes, default=0):.0f}", f"{v.concealed:.1%}"]
        cells += [f"{v.delay:.1f}", f"{v.growth:.1f}", f"{v.pesq:.2f}", f"{v.stoi:.2f}"]
        cells += [f"{result.lateness:.1f}"]
        rows.append((result.condition, result.side, *cells))
    return table((*columns, "PESQ", "STOI", "caller late"), rows)


def draw(figure: Figure, results: Sequence[Result]) -> None:
    """PESQ and seconds heard under each condition, and delay over time on a bad line."""
    names = list(dict.fromkeys(result.condition for result in results))
    worst = "5 % lost, 30 ms jitter" if "5 % lost, 30 ms jitter" in names else names[-1]
    quality, length, delay = figure.subplots(1, 3)
    sides = list(dict.fromkeys(result.side for result in results))
    for i, side in enumerate(sides):
        own = [result for result in results if result.side == side]
        rows = np.arange(len(own)) + 0.4 * i
        quality.barh(rows, [r.verdict.pesq for r in own], 0.4, color=COLOURS[side], label=side)
        length.barh(rows, [r.verdict.heard for r in own], 0.4, color=COLOURS[side])
        times = [point for r in own if r.condition == worst for point in r.verdict.delays]
        delay.plot([at for at, _ in times], [ms for _, ms in times], ".", color=COLOURS[side])
    for panel in (quality, length):
        panel.set_yticks(np.arange(len(names)) + 0.2, names if panel is quality else [])
        panel.invert_yaxis()
    quality.set(xlabel="PESQ wideband", xlim=(1, 4.6))
    length.set(xlabel=f"s heard of {results[0].verdict.spoken:.1f}")
    figure.legend(loc="outside upper center", ncols=2)
    delay.set(title=worst, xlabel="time in the speech, s", ylabel="delay, ms", ylim=0)


def main() -> None:
    """Measure, and print."""
    parser = options("What a pipeline hears of a caller on a bad line.")
    parser.add_argument(
        "--conditions",
        nargs="+",
        choices=CONDITIONS,
        default=list(CONDITIONS),
        metavar="NAME",
        help=", ".join(CONDITIONS).replace("%", "%%"),
    )
    parser.add_argument("--seconds", type=float, default=60, help="of speech at most")
    parser.add_argument("--together", type=int, default=6, help="calls to each side at one time")
    parser.add_argument("--seed", type=int, default=1, help="of the lines' mishaps")
    args = parser.parse_args()
    results = run(lambda: measure(args))
    rows = [result.row() for result in results]
    publish(Report(figures(results), NOTES, rows, lambda figure: draw(figure, results)), args)


if __name__ == "__main__":
    main()
