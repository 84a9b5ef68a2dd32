"""Ports of loopback: which are free, which are taken, which a description names."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import socket
from collections.abc import Iterator

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

PORTS = range(30_000 + _WORKER, 32_000, _WORKERS)
"""Below what Linux gives away by itself, beside the ports of simulated bots, and for no other
process that runs tests: what is found free may be bound seconds later."""

_turns = itertools.cycle(random.sample(PORTS, len(PORTS)))


def free_port() -> int:
    """A port that is free for TCP and UDP, and given away only once in a long time."""
    for port in itertools.islice(_turns, len(PORTS)):
        with contextlib.suppress(OSError), _taken(port), _taken(port, socket.SOCK_STREAM):
            return port
    raise OSError("no port is free")


def free_ports(count: int) -> tuple[int, int]:
    """The first and the last of so many free ports in a row, below those that systems give out."""
    share = 10_000 // _WORKERS
    begin = 10_000 + _WORKER * share
    for first in random.sample(range(begin, begin + share - count), 1000):
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


def _taken(
    port: int, kind: socket.SocketKind = socket.SOCK_DGRAM
) -> contextlib.closing[socket.socket]:
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return contextlib.closing(sock)
