"""How long a sound takes through an echo bot, and whether the delay grows.

::

    python benchmarks/turnaround.py --seconds 15

A caller says a chirp a second. The delay of one is the time from the arrival of its first sample
at the server to the departure of its echo's first sample: a sample passes when its packet does,
plus its place in the packet, so that the result does not depend on where in a packet a chirp
begins. Both times are taken at the caller, over loopback. Chirps are found by cross-correlation
of what was sent with what came back, each decoded, to the sample.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from callers import LeanCall, once
from report import COLOURS, Report, options, publish, summary, table
from sides import Side, run, running
from sounds import CHIRP_SECONDS, PACKET_SECONDS, chirp, encode, find, timeline

from pipecat_whatsapp.simulator.sound import OPUS_CLOCK, RATE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAD_IN = 2.0
"""Silence before the first chirp, s: both bots have started by then."""

PERIOD = 1.0137
"""From one chirp to the next, s; odd, so that chirps meet packets and stalls at any place."""

LIKENESS = 0.5
"""Correlation from which an echo counts as heard."""

CONFIGURATIONS = {
    "default rates": {},
    "equal rates": {"BENCH_RATES": "16000 16000"},
    "default rates, stalls": {"BENCH_STALL": "0.15 2"},
    "equal rates, stalls": {"BENCH_RATES": "16000 16000", "BENCH_STALL": "0.15 2"},
}

NOTES = """\
ms from a chirp's arrival at the server to its echo's departure. Growth: median of the last third
of the call minus median of the first third. Default rates: 16 kHz in, 24 kHz out; equal: 16 kHz.
Chunks as each side has them by default: in-tree 40 ms, pipecat-whatsapp 20 ms. Stalls: the bot
blocks its event loop for 150 ms every 2 s. Nothing is subtracted: 6.5 ms are the look-ahead of the
bot's own Opus encoder. Both sides are called at the same time and share one core. Caller late: by
how much the caller sent its latest packet too late; more than some ms mean a disturbed machine."""


@dataclass(frozen=True)
class Echoes:
    """What became of one call's chirps.

    Parameters:
        side: Which side.
        configuration: Which of `CONFIGURATIONS`.
        delays: When each chirp was said, s from the first, and its delay, ms; NaN if it was
            not heard again.
        lateness: By how much the caller itself was late at the worst, ms.
    """

    side: str
    configuration: str
    delays: Sequence[tuple[float, float]]
    lateness: float

    @property
    def heard(self) -> list[float]:
        """The delays of the chirps that were heard again, ms."""
        return [delay for _, delay in self.delays if not math.isnan(delay)]

    @property
    def growth(self) -> float:
        """How much longer the delay is at the end than at the start of the call, ms."""
        third = max(1, len(self.heard) // 3)
        return statistics.median(self.heard[-third:]) - statistics.median(self.heard[:third])

    def row(self) -> dict[str, Any]:
        """The figures for programs."""
        return {
            "side": self.side,
            "configuration": self.configuration,
            "chirps": len(self.delays),
            "heard": len(self.heard),
            "delay_ms": summary(self.heard) if self.heard else None,
            "growth_ms": round(self.growth, 2) if self.heard else None,
            "caller_late_ms": round(self.lateness, 1),
            "delays": [[round(at, 3), round(delay, 2)] for at, delay in self.delays],
        }


async def measure(args: argparse.Namespace) -> list[Echoes]:
    """Measure every configuration, both sides at the same time."""
    echoes: list[Echoes] = []
    onsets = [LEAD_IN + i * PERIOD for i in range(max(1, int(args.seconds / PERIOD)))]
    packets = encode(say(onsets))
    for name in args.configurations:
        async with AsyncExitStack() as stack:
            sides = [
                await stack.enter_async_context(running(side, CONFIGURATIONS[name]))
                for side in args.sides
            ]
            calls = await asyncio.gather(*(speak(side, packets) for side in sides))
        echoes += [
            Echoes(side.name, name, find_echoes(call, onsets), 1000 * call.lateness)
            for side, call in zip(sides, calls, strict=True)
        ]
    return echoes


async def speak(side: Side, packets: Sequence[bytes]) -> LeanCall:
    """Place one call, and hang up when all is said."""
    call = await LeanCall.dial(side.meta, once(packets))
    await call.heard()
    await call.said()
    await call.hang_up()
    return call


def say(onsets: Sequence[float]) -> bytes:
    """Chirps at the given times, s, and a period of silence for the last echo; PCM."""
    pcm = np.zeros(round((onsets[-1] + PERIOD + 0.5) * RATE), np.int16)
    sound = chirp(RATE)
    for onset in onsets:
        pcm[round(onset * RATE) :][: len(sound)] = sound
    return pcm.tobytes()


def find_echoes(call: LeanCall, onsets: Sequence[float]) -> list[tuple[float, float]]:
    """When each chirp was said, s from the first, and its delay, ms."""
    sent, heard = timeline(call.sent), timeline(call.received)
    delays: list[tuple[float, float]] = []
    for onset in onsets:
        start = round(onset * OPUS_CLOCK)
        needle = sent.samples[start:][: round(CHIRP_SECONDS * OPUS_CLOCK)]
        said = sent.time_of(start)
        earliest = heard.first_sample_after(said - PACKET_SECONDS)
        window = heard.samples[earliest:][: round(PERIOD * OPUS_CLOCK)]
        place, likeness = find(needle, window)
        delay = heard.time_of(earliest + place) - said
        found = likeness > LIKENESS and delay > 0
        delays.append((onset - onsets[0], 1000 * delay if found else math.nan))
    return delays


def figures(echoes: Sequence[Echoes]) -> str:
    """The table."""
    columns = ("", "side", "chirps", "heard", "median", "p95", "growth", "caller late")
    rows = []
    for echo in echoes:
        cells = ["-"] * 3
        if echo.heard:
            delay = summary(echo.heard)
            cells = [f"{v:.1f}" for v in (delay["median"], delay["p95"], echo.growth)]
        counts = str(len(echo.delays)), str(len(echo.heard))
        rows.append((echo.configuration, echo.side, *counts, *cells, f"{echo.lateness:.1f}"))
    return table(columns, rows)


def draw(figure: Figure, echoes: Sequence[Echoes]) -> None:
    """Delay over time, a panel for each configuration."""
    names = list(dict.fromkeys(echo.configuration for echo in echoes))
    panels = dict(
        zip(names, figure.subplots(1, len(names), sharey=True, squeeze=False)[0], strict=True)
    )
    for echo in echoes:
        panel = panels[echo.configuration]
        times, delays = zip(*echo.delays, strict=True)
        panel.plot(times, delays, "o-", color=COLOURS[echo.side], label=echo.side)
        panel.set(title=echo.configuration, xlabel="time in the call, s")
    panels[names[0]].set(ylabel="delay through an echo bot, ms", ylim=0)
    handles = {line.get_label(): line for panel in panels.values() for line in panel.lines}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=2)


def main() -> None:
    """Measure, and print."""
    parser = options("Delay through an echo bot, from packet in to packet out.")
    parser.add_argument("--seconds", type=float, default=15, help="length of the calls")
    parser.add_argument(
        "--configurations", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS)
    )
    args = parser.parse_args()
    echoes = run(lambda: measure(args))
    rows = [echo.row() for echo in echoes]
    publish(Report(figures(echoes), NOTES, rows, lambda figure: draw(figure, echoes)), args)


if __name__ == "__main__":
    main()
