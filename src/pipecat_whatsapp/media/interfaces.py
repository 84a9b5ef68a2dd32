"""Reads the network interfaces of this machine."""

from __future__ import annotations

import ifaddr

from pipecat_whatsapp.media.network import Interface


def read_interfaces() -> list[Interface]:
    """The interfaces that have an address. IPv6 addresses of one link only are left out."""
    found = [
        Interface(
            adapter.name,
            tuple(
                ip.ip if isinstance(ip.ip, str) else ip.ip[0]
                for ip in adapter.ips
                if isinstance(ip.ip, str) or ip.ip[2] == 0
            ),
        )
        for adapter in ifaddr.get_adapters()
    ]
    return [interface for interface in found if interface.addresses]
