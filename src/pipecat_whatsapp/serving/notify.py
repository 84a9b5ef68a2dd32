"""Tells systemd how the server is (sd_notify(3)), where a unit has `Type=notify`."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def tell_systemd(state: str) -> None:
    """Tell systemd, if it started us.

    Args:
        state: Such as "READY=1".
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A leading @ stands for the abstract namespace.
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door, suppress(OSError):
        door.sendto(state.encode(), address)
