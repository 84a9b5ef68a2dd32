"""Time to answer a call, beside pipecat's in-tree client, in one run.

::

    python benchmarks/answer.py --calls 20 --latency 0 80

The bot says a chirp as soon as the caller can hear it. The calls go to one side and the other in
turn, in several scenarios (`SCENARIOS`). All times are milliseconds from the moment at which Meta
begins to POST the connect webhook, but for the first sound: that counts from accept's 200.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from callers import LeanCall
from report import COLOURS, Report, options, publish, summary, table
from sides import PATIENCE, Side, run, running
from sounds import chirp, find, timeline
from stun import (
    OUTER,
    in_namespace,
    run_in_namespace,
    set_up_interfaces,
    stun_server,
    why_no_namespace,
)

from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.graph import Delivery, GraphRequest, SimulatedMeta
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.sound import OPUS_CLOCK, SOUND_LEVEL, OpusDecoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = ("webhook 200", "pre_accept", "accept", "accept 200", "first RTP", "sound after 200")

PLAIN, FIRST = "no STUN server", "first call of a process"
DEAD, DOCKER, SLOW = "dead STUN server", "docker0-like interface", "bot needs 300 ms"
SCENARIOS = (PLAIN, SLOW, DEAD, DOCKER)

FEW = 3
"""Calls of each side where one takes 5 s."""

PAUSE = 0.3
"""Seconds between two calls, in which the one before is put away."""

GREETING_SECONDS, FIRST_SECONDS = 0.3, 0.1
MAX_CALLS = 500

NOTES = """\
ms since Meta began to POST the connect webhook; the first sound: since accept's 200, with 6.5 ms of
the encoder's look-ahead; median / 95th percentile. Likeness: the smallest correlation of the first
100 ms heard with the first 100 ms that the bot said when it was told that the caller is connected.
Meta acts on a request at the end of the Graph latency. A ClientHello that comes before Meta has
our SDP is lost, as on the real one (Meta: calling troubleshooting); DTLS repeats it after 1 s.
Dead STUN server: a UDP port that never answers. docker0-like: the server answers one of the host's
two addresses, and not the other; in a network namespace of its own."""


@dataclass
class Watch:
    """Calls one side, and takes the times.

    Parameters:
        side: The side.
    """

    side: Side
    _moments: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.side.meta.watch(self._note)

    async def call(self) -> dict[str, float]:
        """Place a call, and hang up after the greeting.

        Returns:
            Milliseconds to each of `STEPS`, and the likeness of the greeting.
        """
        self._moments.clear()
        call = await LeanCall.dial(self.side.meta)
        await call.heard()
        await hear_greeting(call)
        await self.side.meta.wait_delivery("connect", call.id, timeout=PATIENCE)
        await call.hang_up()
        moments = self._moments | {"first RTP": call.received[0][0]}
        times = {name: (at - moments["POST"]) * 1000 for name, at in moments.items()}
        sound, likeness = find_greeting(call)
        times["sound after 200"] = (sound - moments["accept 200"]) * 1000
        return {step: times[step] for step in STEPS} | {"likeness": likeness}

    def _note(self, activity: GraphRequest | Delivery) -> None:
        now = time.monotonic()
        if isinstance(activity, Delivery):
            if activity.kind == "connect":
                self._moments |= {"POST": activity.at, "webhook 200": now}
        elif activity.action in ("pre_accept", "accept"):
            self._moments |= {activity.action: activity.at, f"{activity.action} 200": now}


async def hear_greeting(call: LeanCall) -> None:
    """Wait until as much sound was heard as the bot's greeting has."""
    decoder, done, heard = OpusDecoder(), 0, 0
    async with asyncio.timeout(PATIENCE):
        while heard < GREETING_SECONDS * OPUS_CLOCK:
            await asyncio.sleep(0.02)
            for _, data in call.received[done:]:
                sound = decoder.decode(RtpPacket.parse(data).payload)
                done += 1
                if np.abs(sound.astype(np.int32)).max(initial=0) > SOUND_LEVEL:
                    heard += len(sound)


def find_greeting(call: LeanCall) -> tuple[float, float]:
    """When the greeting began, monotonic s, and how like its beginning is to what was said."""
    heard = timeline(call.received)
    start = chirp(OPUS_CLOCK, GREETING_SECONDS)[: round(FIRST_SECONDS * OPUS_CLOCK)]
    place, likeness = find(start, heard.samples)
    return heard.time_of(place), likeness


async def warm_up() -> None:
    """Place a call within this process, whose own first-time costs shall not be measured."""
    # Only now that nothing is logged any more: pipecat greets when it is imported.
    from echo_bot import bot

    async with SimulatedMeta() as meta:
        whatsapp = WhatsApp(meta)
        try:
            await whatsapp.serve(bot)
            call = await LeanCall.dial(meta)
            await call.heard()
            await call.hang_up()
        finally:
            await whatsapp.close()


Row = dict[str, Any]
"""What one side did in some calls: scenario, side, graph_ms, calls, and a summary of each step."""


async def measure(args: argparse.Namespace) -> list[Row]:
    """Measure the scenarios; one that cannot be had gives a row that says so."""
    rows: list[Row] = []
    await warm_up()
    for scenario in args.scenarios:
        if scenario == DOCKER and not in_namespace():
            rows += await measure_in_namespace(args)
        else:
            rows += await measure_scenario(scenario, args)
    return rows


async def measure_scenario(scenario: str, args: argparse.Namespace) -> list[Row]:
    """Call both sides in turn, at each latency."""
    few = scenario in (DEAD, DOCKER)
    calls = min(args.calls, FEW) if few else args.calls
    latencies = args.latency[:1] if few else args.latency
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        environ = await stack.enter_async_context(environment(scenario))
        sides = [await stack.enter_async_context(running(name, environ)) for name in args.sides]
        first = await take_turns(FIRST, sides, 1, latencies[0])
        if scenario == PLAIN:
            rows += first
        for latency in latencies:
            rows += await take_turns(scenario, sides, calls, latency)
    return rows


@asynccontextmanager
async def environment(scenario: str) -> AsyncIterator[dict[str, str]]:
    """What a scenario changes in the bots' environment."""
    environ = {"BENCH_GREETING": "1"}
    async with AsyncExitStack() as stack:
        if scenario == SLOW:
            environ["BENCH_START"] = "0.3"
        elif scenario == DEAD:
            environ["PIPECAT_ICE_SERVERS"] = await stack.enter_async_context(
                stun_server("127.0.0.1")
            )
        elif scenario == DOCKER:
            environ["PIPECAT_ICE_SERVERS"] = await stack.enter_async_context(
                stun_server(OUTER, answered=[OUTER])
            )
        yield environ


async def take_turns(scenario: str, sides: Sequence[Side], calls: int, latency: float) -> list[Row]:
    """Call each side so many times, the one after the other."""
    watches = [Watch(side) for side in sides]
    times: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
    for _ in range(calls):
        for watch in watches:
            watch.side.meta.faults.latency = latency / 1000
            times[watch.side.name].append(await watch.call())
            await asyncio.sleep(PAUSE)
    return [
        {"scenario": scenario, "side": name, "graph_ms": latency, "calls": calls}
        | {step: summary([call[step] for call in own]) for step in STEPS}
        | {"likeness": round(min(call["likeness"] for call in own), 3)}
        for name, own in times.items()
    ]


async def measure_in_namespace(args: argparse.Namespace) -> list[Row]:
    """Let this script measure in a network namespace, where the machine lets us have one."""
    reason = why_no_namespace()
    if reason is not None:
        return [{"scenario": DOCKER, "skipped": reason}]
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        await run_in_namespace(
            *(sys.executable, __file__, "--scenarios", DOCKER, "--sides", *args.sides),
            *("--calls", str(args.calls), "--latency", str(args.latency[0]), "--json", file.name),
        )
        rows: list[Row] = json.load(file)["rows"]
        return rows


def figures(rows: Sequence[Row]) -> str:
    """The table, and what was skipped."""
    columns = ("", "side", "Graph ms", "calls", *STEPS, "likeness")
    lines = [
        (
            *(row["scenario"], row["side"], f"{row['graph_ms']:.0f}", str(row["calls"])),
            *(_cell(row[step], row["calls"]) for step in STEPS),
            f"{row['likeness']:.3f}",
        )
        for row in rows
        if "skipped" not in row
    ]
    skipped = [
        f"\n{row['scenario']}: skipped, {row['skipped']}" for row in rows if "skipped" in row
    ]
    return table(columns, lines) + "".join(skipped)


def _cell(step: dict[str, float], calls: int) -> str:
    median = f"{step['median']:.1f}"
    return median if calls == 1 else f"{median} / {step['p95']:.1f}"


def draw(figure: Figure, rows: Sequence[Row]) -> None:
    """The medians of all steps, a panel for each scenario, at its last latency."""
    last = {(row["scenario"], row["side"]): row for row in rows if "skipped" not in row}
    scenarios = list(dict.fromkeys(scenario for scenario, _ in last))
    panels = figure.subplots(1, len(scenarios), sharey=True, squeeze=False)[0]
    labels = {}
    for (scenario, side), row in last.items():
        panel = panels[scenarios.index(scenario)]
        places = np.arange(len(STEPS)) + 0.4 * list(COLOURS).index(side)
        values = [row[step]["median"] for step in STEPS]
        labels[side] = panel.barh(places, values, 0.4, color=COLOURS[side])
        panel.set(title=f"{scenario},\nGraph {row['graph_ms']:.0f} ms", xlabel="ms", xscale="log")
    panels[0].set_yticks(np.arange(len(STEPS)) + 0.2, STEPS)
    panels[0].invert_yaxis()
    figure.legend(list(labels.values()), list(labels), loc="outside upper center", ncols=2)


def main() -> None:
    """Measure, and print."""
    parser = options("Time to answer a call, and to be heard.")
    parser.add_argument("--calls", type=int, default=10, help="calls of each side")
    parser.add_argument(
        "--latency", type=float, nargs="+", default=[0, 80], help="of each Graph request, ms"
    )
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    args = parser.parse_args()
    if not 1 <= args.calls <= MAX_CALLS:
        parser.error(f"--calls must be from 1 to {MAX_CALLS}")
    if in_namespace():
        set_up_interfaces()
    rows = run(lambda: measure(args))
    publish(Report(figures(rows), NOTES, rows, lambda figure: draw(figure, rows)), args)


if __name__ == "__main__":
    main()
