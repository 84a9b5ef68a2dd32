"""Ports of loopback: which are free, which are taken, which a description names."""

from __future__ import annotations

import contextlib
import random
import re
import socket
from collections.abc import Iterator

PORTS = range(30_000, 32_000)
"""Below what Linux gives away by itself, and beside the ports of simulated bots."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A TCP or UDP port that is likely to be free still when somebody binds it."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket(type=kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def free_ports(count: int) -> tuple[int, int]:
    """The first and the last of so many free ports in a row, below those that systems give out."""
    # Anywhere, because other tests look for some at the same time.
    for first in random.sample(range(10_000, 20_000 - count), 1000):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(_taken(port))
            except OSError:
                continue
        return first, first + count - 1
    raise OSError("no ports are free")


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody else has."""
    with _taken(0) as sock:
        yield sock.getsockname()[1]


def ports_named(sdp: str) -> list[int]:
    """The ports of the candidates in a description."""
    return [int(port) for port in re.findall(r"^a=candidate:(?:\S+ ){5}(\d+)", sdp, re.MULTILINE)]


def _taken(port: int) -> contextlib.closing[socket.socket]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return contextlib.closing(sock)
