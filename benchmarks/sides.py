"""The two that are compared: this package and pipecat's in-tree client, a process each.

Both processes share one core, and this process, which plays Meta and the callers, has another.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

from pipecat_whatsapp.simulator.graph import SimulatedMeta, SubscriptionError

OURS, IN_TREE = "pipecat-whatsapp", "in-tree"
SIDES = {
    OURS: ("echo_bot.py", "-t", "whatsapp"),
    IN_TREE: ("in_tree.py", "--whatsapp"),
}

_RANGE = range(32_000, 32_768)
"""Below what Linux gives away by itself, and beside those of simulated bots and of tests."""

_PORTS = itertools.cycle(random.sample(_RANGE, len(_RANGE)))

PATIENCE = 60.0
"""Seconds for a process to start or to end, and for a call to be answered."""

_T = TypeVar("_T")


@dataclass
class Side:
    """One side, running.

    Parameters:
        name: Which one, of `SIDES`.
        meta: The simulated Meta whose calls it answers.
        process: Its process.
    """

    name: str
    meta: SimulatedMeta = field(default_factory=SimulatedMeta)
    process: asyncio.subprocess.Process | None = None

    def cpu_seconds(self) -> float:
        """CPU time that all threads of the process have used so far, user and system."""
        assert self.process is not None
        return cpu_seconds(self.process.pid)


def run(main: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run a benchmark on the callers' core, with uvloop where it is installed."""
    logger.remove()
    pin(CALLERS_CORE)
    if find_spec("uvloop") is None:
        return asyncio.run(_cancellable(main))
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_cancellable(main))


async def _cancellable(main: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Cancelled and not killed by SIGTERM, so that no process is left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await main()


@asynccontextmanager
async def running(name: str, environ: dict[str, str] | None = None) -> AsyncIterator[Side]:
    """Start a side with a simulated Meta of its own.

    Args:
        name: Which one, of `SIDES`.
        environ: What changes its bot (see `echo_bot.py`).
    """
    async with SimulatedMeta() as meta:
        side, port = Side(name, meta), free_port()
        script, *arguments = SIDES[name]
        command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        with tempfile.TemporaryFile() as log:
            pin(SERVERS_CORE)  # A child inherits it.
            try:
                side.process = await asyncio.create_subprocess_exec(
                    *command,
                    env=os.environ | credentials(meta) | (environ or {}),
                    stdout=log,
                    stderr=log,
                )
            finally:
                pin(CALLERS_CORE)
            try:
                await subscribe(meta, f"http://127.0.0.1:{port}/whatsapp", side.process)
                yield side
            except BaseException:
                log.seek(0)
                sys.stderr.write(log.read()[-4000:].decode(errors="replace"))
                raise
            finally:
                await stop(side.process)


def credentials(meta: SimulatedMeta) -> dict[str, str]:
    """The environment of a process that serves Meta's business number."""
    account = meta.account
    return {
        "WHATSAPP_TOKEN": account.token,
        "WHATSAPP_PHONE_NUMBER_ID": account.phone_number_id,
        "WHATSAPP_APP_SECRET": account.app_secret,
        "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN": account.verification_token,
        "WHATSAPP_GRAPH_URL": meta.graph_url,
        # pipecat's runner reads .env files, and what they say wins.
        "PYTHON_DOTENV_DISABLED": "1",
    }


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


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have used so far, user and system."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The name in parentheses may hold spaces; utime and stime are the fields 14 and 15.
    utime, stime = stat.rpartition(")")[2].split()[11:13]
    return (int(utime) + int(stime)) / os.sysconf("SC_CLK_TCK")


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
    """A TCP port that nobody uses, and that was not given out before."""
    for port in itertools.islice(_PORTS, len(_RANGE)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def pin(core: int | None) -> None:
    """Keep this thread, and what it starts from now on, on one core; None changes nothing."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def _two_cores() -> tuple[int | None, int | None]:
    """A core for the servers and one for the callers, where the system lets us choose."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


SERVERS_CORE, CALLERS_CORE = _two_cores()
