"""File descriptors: those that a process inherits or leaves to others, and how many it may have."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress


def inherited(descriptor: int) -> socket.socket:
    """A socket of the parent process, which programs that we start do not inherit again."""
    found = socket.socket(fileno=descriptor)
    found.set_inheritable(False)
    return found


def keep_from_forks(*sockets: socket.socket) -> None:
    """Leave sockets out of what forked children hold open.

    A child that outlives us would keep the address in use, and whoever waits for our end waiting.
    """

    def forget() -> None:
        # Not closed: the number would be given out again, and closed by the object that has it.
        null = os.open(os.devnull, os.O_RDWR)
        for each in sockets:
            if each.fileno() >= 0:
                os.dup2(null, each.fileno(), inheritable=False)
        os.close(null)

    os.register_at_fork(after_in_child=forget)


def open_missing_streams() -> None:
    """Open the null device where standard input, output or error was closed by who started us.

    Some socket would get that number otherwise, and hear all that is printed.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, descriptor)
            if null != descriptor:
                os.close(null)
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w"))


def raise_limit() -> None:
    """Let this process, and those that it starts, have as many descriptors as they may."""
    import resource  # Windows has none.

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS names a hard limit that it does not grant.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """How many descriptors this process may have."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
