"""Two servers that share a Redis and serve one number, as two machines would. Needs no key.

    pip install "pipecat-whatsapp[serve,simulator]"
    python examples/redis_pair.py

It starts Redis, two servers of echo.py, and a simulated WhatsApp that sends each webhook to the
next server, as a load balancer does. One server gets the call, the other one its end, and passes
the word on. It needs redis-server (Debian: redis-server, Homebrew: redis).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

BOT = Path(__file__).parent / "echo.py"
COMMAND = [sys.executable, "-m", "pipecat_whatsapp.cli"]
STOP_SECONDS = 60.0


def main() -> None:
    if shutil.which("redis-server") is None:
        sys.exit("The Redis pair needs redis-server: install it (Debian: redis-server).")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        redis, graph, *ports = free_ports(4)
        variables = environment(redis, graph)
        start_redis(stack, redis)
        servers = {port: start_server(stack, port, folder, variables) for port in ports}
        at = [word for port in ports for word in ("--at", f"http://127.0.0.1:{port}/whatsapp")]
        recording = folder / "heard.wav"
        call = [*COMMAND, "simulate", *at, "--record", str(recording)]
        code = subprocess.run(call, env=variables, check=False).returncode  # noqa: S603
        for process in servers.values():
            stop(process)
        for port in ports:
            print(f"The server at {port} had {calls_of(folder, port)}.")
    sys.exit(code)


def environment(redis: int, graph: int) -> dict[str, str]:
    """What both servers have in common, and the simulated WhatsApp with them."""
    return {
        **os.environ,
        "WHATSAPP_TOKEN": "token",
        "WHATSAPP_PHONE_NUMBER_ID": "100000000000001",
        "WHATSAPP_APP_SECRET": "secret",
        "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN": "verify",
        "WHATSAPP_GRAPH_URL": f"http://127.0.0.1:{graph}",
        "WHATSAPP_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
        # A .env file would put a real account in the invented one's place.
        "PYTHON_DOTENV_DISABLED": "1",
    }


def start_redis(stack: ExitStack, port: int) -> None:
    # What it holds is small and expires, so nothing is written to disk.
    options = f"--bind 127.0.0.1 --port {port} --appendonly no --loglevel warning"
    command = ["redis-server", *options.split(), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    stack.callback(stop, process)


def start_server(
    stack: ExitStack, port: int, folder: Path, variables: dict[str, str]
) -> subprocess.Popen[bytes]:
    options = ["--port", str(port), "--workers", "1", "--call-log", str(folder / str(port))]
    process = subprocess.Popen([*COMMAND, "serve", str(BOT), *options], env=variables)  # noqa: S603
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process as a service manager does. Safe to repeat."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def calls_of(folder: Path, port: int) -> str:
    """The calls of a server, in words, as its call log has them."""
    log = folder / str(port)
    lines = log.read_text().splitlines() if log.exists() else []
    causes = [json.loads(line)["cause"] for line in lines]
    return ", ".join(f"a call that ended: {cause}" for cause in causes) or "no call"


def free_ports(number: int) -> list[int]:
    """TCP ports that nobody listens at, below those that systems give away by themselves."""
    found: list[int] = []
    for port in random.sample(range(20_000, 30_000), 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == number:
            return found
    sys.exit("No port is free on this machine.")


if __name__ == "__main__":
    main()
