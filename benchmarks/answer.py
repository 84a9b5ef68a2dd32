"""Time to answer a call, beside pipecat's in-tree client, in one run.

::

    python benchmarks/answer.py --calls 20 --latency 0 80

Two processes serve the same echo bot: `echo_bot.py -t whatsapp` is this package, and
`in_tree.py --whatsapp` is pipecat's own client (see there for what had to be replaced). Each has a
simulated Meta of its own in this process, and the calls go to one and the other in turn. All
times are milliseconds from the moment at which Meta begins to POST the connect webhook.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shlex
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from echo_bot import bot
from loguru import logger

from pipecat_whatsapp.simulator.graph import (
    Delivery,
    GraphRequest,
    SimulatedMeta,
    SubscriptionError,
)
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

STEPS = ("webhook 200", "pre_accept", "accept", "accept 200", "first RTP")
SIDES = {
    "pipecat-whatsapp": ("echo_bot.py", "-t", "whatsapp"),
    "in-tree": ("in_tree.py", "--whatsapp"),
}

PATIENCE = 60.0
"""Seconds for a process to start or to end, and for a call to be answered."""

PAUSE = 0.3
"""Seconds between two calls, in which the one before is put away."""

MAX_CALLS = 500
FIRST, WARM = "first call", "warm calls"

NOTES = """\
All on 127.0.0.1; ms since Meta began to POST the connect webhook; median / 95th percentile.
Replaced in the in-tree client: the Graph address, the STUN server (none), the challenge's echo.
Meta acts on a request at the end of the Graph latency. A ClientHello that comes before Meta has
our SDP is lost, as on the real one (Meta: calling troubleshooting); DTLS repeats it after 1 s."""

Times = dict[str, float]
"""Milliseconds from the POST to each of `STEPS`."""


class Side:
    """One of the two that are compared: a simulated Meta, and a phone that calls its business.

    Parameters:
        meta: Its Meta.
    """

    def __init__(self) -> None:
        self.meta = SimulatedMeta(on_activity=self._note)
        self._moments: dict[str, float] = {}

    async def call(self) -> Times:
        """Place a call, wait for the bot's first packet, and hang up."""
        self._moments.clear()
        async with Phone(self.meta) as phone, asyncio.timeout(PATIENCE):
            call = await phone.dial()
            await call.answered()
            await call.hears(lambda recording: recording.received > 0)
            self._moments["first RTP"] = time.monotonic()
            await self.meta.wait_delivery("connect", call.id)
            await call.hang_up()
        start = self._moments["POST"]
        return {step: (self._moments[step] - start) * 1000 for step in STEPS}

    def _note(self, _: str, activity: GraphRequest | Delivery) -> None:
        now = time.monotonic()
        if isinstance(activity, Delivery):
            if activity.kind == "connect":
                self._moments |= {"POST": activity.at, "webhook 200": now}
        elif activity.action in ("pre_accept", "accept"):
            self._moments |= {activity.action: activity.at, f"{activity.action} 200": now}


@dataclass(frozen=True)
class Row:
    """What one side did in some calls.

    Parameters:
        side: Which side.
        latency: What each Graph request took, ms.
        kind: `FIRST` or `WARM`.
        calls: The times of each call.
    """

    side: str
    latency: float
    kind: str
    calls: list[Times] = field(default_factory=list)

    def figures(self) -> dict[str, tuple[float, float]]:
        """Median and 95th percentile of each step."""
        columns = {step: sorted(call[step] for call in self.calls) for step in STEPS}
        return {step: (statistics.median(c), percentile(c, 95)) for step, c in columns.items()}


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of all are not above (nearest rank)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


@asynccontextmanager
async def running(side: Side, script: str, *arguments: str) -> AsyncIterator[None]:
    """Serve a side's business number with a process of its own."""
    account, port = side.meta.account, free_port()
    environ = os.environ | {
        "WHATSAPP_TOKEN": account.token,
        "WHATSAPP_PHONE_NUMBER_ID": account.phone_number_id,
        "WHATSAPP_APP_SECRET": account.app_secret,
        "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN": account.verification_token,
        "WHATSAPP_GRAPH_URL": side.meta.graph_url,
        # pipecat's runner reads .env files, and what they say wins.
        "PYTHON_DOTENV_DISABLED": "1",
    }
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, stdout=log, stderr=log
        )
        try:
            await subscribe(side.meta, f"http://127.0.0.1:{port}/whatsapp", process)
            yield
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:].decode(errors="replace"))
            raise
        finally:
            await stop(process)


async def subscribe(meta: SimulatedMeta, url: str, process: asyncio.subprocess.Process) -> None:
    """Subscribe as soon as the process answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await meta.subscribe(url)
            except SubscriptionError:
                if process.returncode is not None:
                    raise
            await asyncio.sleep(0.1)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Tell a process to end, and kill it if it does not."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def free_port() -> int:
    """A TCP port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def warm_up() -> None:
    """Place a call within this process, whose own first-time costs shall not be measured."""
    async with SimulatedMeta() as meta:
        whatsapp = WhatsApp(meta)
        try:
            await whatsapp.serve(bot)
            call = await (await whatsapp.phone()).dial()
            await call.hears(lambda recording: recording.received > 0, PATIENCE)
        finally:
            await whatsapp.close()


async def measure(calls: int, latencies: Sequence[float]) -> list[Row]:
    """Call both sides in turn.

    Args:
        calls: Warm calls of each side, for each latency.
        latencies: What each Graph request takes, ms.
    """
    rows: list[Row] = []
    task = asyncio.current_task()
    assert task is not None
    # Cancelled and not killed, so that no process is left behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await warm_up()
    async with AsyncExitStack() as stack:
        sides = {name: Side() for name in SIDES}
        for name, side in sides.items():
            await stack.enter_async_context(side.meta)
            await stack.enter_async_context(running(side, *SIDES[name]))
        rows += await take_turns(sides, 1, latencies[0], FIRST)
        for latency in latencies:
            rows += await take_turns(sides, calls, latency, WARM)
    return rows


async def take_turns(sides: dict[str, Side], calls: int, latency: float, kind: str) -> list[Row]:
    """Call each side so many times, the one after the other."""
    rows = {name: Row(name, latency, kind) for name in sides}
    for _ in range(calls):
        for name, side in sides.items():
            side.meta.faults.latency = latency / 1000
            rows[name].calls.append(await side.call())
            await asyncio.sleep(PAUSE)
    return list(rows.values())


def table(rows: Sequence[Row]) -> str:
    """The figures as text."""
    lines = [" | ".join([f"{'':16}", "Graph ms", f"{'':14}", *(f"{s:>15}" for s in STEPS)])]
    for row in rows:
        figures = row.figures()
        single = len(row.calls) == 1
        cells = [
            f"{m:15.1f}" if single else f"{f'{m:.1f} / {p:.1f}':>15}"
            for m, p in (figures[step] for step in STEPS)
        ]
        kind = row.kind if row.kind == FIRST else f"{len(row.calls)} {row.kind}"
        lines.append(" | ".join([f"{row.side:16}", f"{row.latency:8.0f}", f"{kind:14}", *cells]))
    return "\n".join(lines)


def heading() -> dict[str, str]:
    """Where and how this was measured."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "pipecat": version("pipecat-ai"),
        "command": shlex.join(["python", *sys.argv]),
    }


def cpu() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")


def report(rows: Sequence[Row]) -> str:
    """All that is to be read."""
    head = "\n".join(f"{name + ':':9}{value}" for name, value in heading().items())
    return f"{head}\n\n{table(rows)}\n\n{NOTES}"


def save(path: Path, rows: Sequence[Row]) -> None:
    """Write the figures as JSON."""
    figures = [
        {"side": r.side, "graph_ms": r.latency, "kind": r.kind, "calls": len(r.calls)}
        | {s: {"median": round(m, 2), "p95": round(p, 2)} for s, (m, p) in r.figures().items()}
        for r in rows
    ]
    path.write_text(json.dumps(heading() | {"rows": figures}, indent=1) + "\n")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Time to answer a call.")
    parser.add_argument("--calls", type=int, default=20, help="warm calls of each side")
    parser.add_argument(
        "--latency", type=float, nargs="+", default=[0, 80], help="of each Graph request, ms"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    if not 1 <= args.calls <= MAX_CALLS:
        parser.error(f"--calls must be from 1 to {MAX_CALLS}")
    logger.remove()
    rows = asyncio.run(measure(args.calls, args.latency))
    print(report(rows))
    if args.json is not None:
        save(args.json, rows)


if __name__ == "__main__":
    main()
