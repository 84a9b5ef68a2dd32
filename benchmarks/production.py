"""The production server as its users start it, and the Redis that its processes share.

This process plays Meta and the phones. Where the machine has a core to spare for that, the server
has as many cores as workers, and this process has the others; else they all compete for all cores.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from sides import PATIENCE, Side, cpu_seconds, credentials, free_port, stop, subscribe

from pipecat_whatsapp.simulator.graph import SimulatedMeta

BOT = Path(__file__).with_name("echo_bot.py")

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Server(Side):
    """The production server, running.

    Parameters:
        metrics_url: Where it serves figures for Prometheus.
    """

    metrics_url: str = ""

    @property
    def processes(self) -> list[int]:
        """The parent and its workers, as process ids."""
        assert self.process is not None
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def cpu_seconds(self) -> float:
        """CPU time that the parent and its workers have used so far, user and system."""
        return sum(cpu_seconds(pid) for pid in self.processes)

    async def figures(self) -> dict[str, float]:
        """What the server itself counts, as Prometheus finds it: names with labels, and values."""
        async with aiohttp.request("GET", self.metrics_url) as answer:
            lines = (await answer.text()).splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}


@dataclass(frozen=True)
class Usage:
    """What processes have of their machine.

    Parameters:
        rss: Resident memory, MB.
        threads: Threads.
        descriptors: Open file descriptors, sockets among them.
        sockets: Open sockets.
        cpu: CPU time used so far, user and system, s.
    """

    rss: float
    threads: int
    descriptors: int
    sockets: int
    cpu: float

    @classmethod
    def of(cls, *pids: int) -> Usage:
        """Read what processes have now, all together."""
        files = [_open_files(pid) for pid in pids]
        return cls(
            rss=sum(_pages(pid) for pid in pids) * _PAGE / 1e6,
            threads=sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids),
            descriptors=sum(map(len, files)),
            sockets=sum(name.startswith("socket:") for names in files for name in names),
            cpu=sum(cpu_seconds(pid) for pid in pids),
        )


def _pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def _open_files(pid: int) -> list[str]:
    """What each open descriptor of a process is."""
    names = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        # It may be closed meanwhile.
        with suppress(FileNotFoundError):
            names.append(os.readlink(entry.path))
    return names


@asynccontextmanager
async def serving(workers: int, *options: str, **environ: str) -> AsyncIterator[Server]:
    """Serve the echo bot, from the moment on which all workers are ready.

    Args:
        workers: How many processes serve calls.
        options: Further ones of `pipecat-whatsapp serve`.
        environ: What changes the bot (see `echo_bot.py`).
    """
    port, metrics_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        async with SimulatedMeta() as meta:
            server = Server(_name(workers), meta, metrics_url=_url(metrics_port, "/metrics"))
            command = [sys.executable, "-m", "pipecat_whatsapp.cli", "serve", str(BOT)]
            command += ["--workers", str(workers), "--port", str(port), *options]
            command += ["--metrics", str(metrics_port), "--env-file", os.devnull]
            environment = os.environ | credentials(meta) | environ
            theirs, ours = share_cores(workers)
            with _notifications(f"{folder}/ready") as ready:
                os.sched_setaffinity(0, theirs)  # A child inherits it.
                server.process = await asyncio.create_subprocess_exec(
                    *command,
                    env=environment | {"NOTIFY_SOCKET": f"{folder}/ready"},
                    stdout=log,
                    stderr=log,
                    # Ctrl-C is for us, who then end it in good order.
                    start_new_session=True,
                )
                os.sched_setaffinity(0, ours)
                try:
                    await _told(ready, server.process)
                    await subscribe(meta, _url(port, "/whatsapp"), server.process)
                    yield server
                except BaseException:
                    log.seek(0)
                    sys.stderr.write(log.read()[-4000:].decode(errors="replace"))
                    raise
                finally:
                    await stop(server.process)


def _name(workers: int) -> str:
    return f"{workers} worker" + "s" * (workers > 1)


def _url(port: int, path: str) -> str:
    return f"http://127.0.0.1:{port}{path}"


def _notifications(path: str) -> socket.socket:
    """A socket for what a service tells systemd."""
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(path)
    ready.setblocking(False)
    return ready


async def _told(ready: socket.socket, process: asyncio.subprocess.Process) -> None:
    """Wait until a service has told that it is ready; `ChildProcessError` if it ends first."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    loop.add_reader(ready, told.set)
    waiting = [asyncio.create_task(told.wait()), asyncio.create_task(process.wait())]
    try:
        await asyncio.wait(waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(ready)
        for task in waiting:
            task.cancel()
    if not told.is_set():
        raise ChildProcessError("The server did not get ready: see what it said above.")


def share_cores(workers: int) -> tuple[set[int], set[int]]:
    """The cores of a server with so many workers, and those of Meta and the phones."""
    cores = sorted(ALL_CORES)
    if workers < len(cores):
        return set(cores[:workers]), set(cores[workers:])
    return ALL_CORES, ALL_CORES


def why_no_redis() -> str | None:
    """Why there can be no Redis here; None when there can."""
    if shutil.which("redis-server") is None:
        return "redis-server is not installed (Debian package redis-server)"
    return None


@dataclass(frozen=True)
class RedisServer:
    """A Redis on loopback that keeps nothing on disk.

    Parameters:
        url: Its address.
        pid: Its process.
    """

    url: str
    pid: int


@asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    """Run a Redis of one's own."""
    port = free_port()
    options = f"--bind 127.0.0.1 --port {port} --appendonly no --loglevel warning --save"
    process = await asyncio.create_subprocess_exec(
        *("redis-server", *options.split(), ""),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _listens(port):  # noqa: ASYNC110 - another process opens it
                await asyncio.sleep(0.05)
        yield RedisServer(f"redis://127.0.0.1:{port}/0", process.pid)
    finally:
        await stop(process)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


ALL_CORES = os.sched_getaffinity(0)
