"""Finds a free UDP port of a range."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket

from pipecat_whatsapp.errors import ConfigError

MOST_TRIES = 500
"""Ports that are tried for one call: a large range that is full must not hold up the others."""


def bind(address: str, ports: range) -> socket.socket:
    """Bind a free port; those who share a range each start anywhere in it.

    Args:
        address: The IP address.
        ports: The range.

    Raises:
        ConfigError: No port is free.
        OSError: No port can be opened on this address.
    """
    family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
    start = secrets.randbelow(len(ports))
    for step in range(min(len(ports), MOST_TRIES)):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind((address, ports[(start + step) % len(ports)]))
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return sock
    raise ConfigError(
        f"No UDP port of {ports[0]}-{ports[-1]} could be opened on {address}, because they are in "
        "use: widen WHATSAPP_UDP_PORTS, or take fewer calls."
    )
