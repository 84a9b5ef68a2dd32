"""Where a call's sound meets the network: which ports and addresses, and what the far end hears."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipecat_whatsapp.errors import ConfigError

_ALIAS = re.compile(r":.*")
_CONTAINERS = re.compile(
    r"(docker|br-|veth|cni|virbr|vnet|flannel|cali|podman|lxcbr|lxdbr|vboxnet|vmnet)"
)
"""How the interfaces of containers and virtual machines on this host begin."""

_PORTS = re.compile(r"\s*(\d{1,5})\s*-\s*(\d{1,5})\s*")
_YES_OR_NO = {
    "1": True,
    "true": True,
    "yes": True,
    "": False,
    "0": False,
    "false": False,
    "no": False,
}


@dataclass(frozen=True)
class Interface:
    """A network interface of this machine.

    Parameters:
        name: Its name, "eth0" say.
        addresses: Its IP addresses.
    """

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Network:
    """Which part of the network calls use. By default, whatever the machine has.

    Parameters:
        udp_ports: First and last UDP port for calls, to match a firewall. Each call takes one per
            address; processes of one machine may share a range.
        address: The one IP address, or the name of the interface, that calls use.
        public_ip: What the far end is told instead of the machine's own address, behind a 1:1 NAT.
        ipv4_only: Leave IPv6 out.
        relay_only: Go through a TURN server, or not at all.

    Raises:
        ConfigError: The settings cannot be used, or not together.
    """

    udp_ports: tuple[int, int] | None = None
    address: str | None = None
    public_ip: str | None = None
    ipv4_only: bool = False
    relay_only: bool = False

    def __post_init__(self) -> None:
        if self.udp_ports is not None and not 1 <= self.udp_ports[0] <= self.udp_ports[1] <= 65535:
            raise ConfigError(
                f"UDP ports {self.udp_ports[0]}-{self.udp_ports[1]} are no range: write the first "
                "and the last, 1 to 65535, as 20000-20100."
            )
        if self.public_ip is not None and _version(self.public_ip) is None:
            raise ConfigError(
                f"The public IP {self.public_ip!r} is no IP address: write it as 203.0.113.7."
            )
        if self.ipv4_only and 6 in (_version(self.address), _version(self.public_ip)):
            raise ConfigError(
                "IPv4 only goes with no IPv6 address: drop either the address or IPv4 only."
            )
        if self.relay_only and (self.udp_ports or self.address or self.public_ip):
            raise ConfigError(
                "Relay only leaves UDP ports, a bind address and a public IP without use, since "
                "the TURN server opens the port: drop either them or relay only."
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Network:
        """Read `WHATSAPP_UDP_PORTS`, `_BIND_ADDRESS`, `_PUBLIC_IP`, `_IPV4_ONLY`, `_RELAY_ONLY`.

        Raises:
            ConfigError: One of them cannot be used.
        """
        return cls(
            udp_ports=_read_ports(environ.get("WHATSAPP_UDP_PORTS", "").strip()),
            address=environ.get("WHATSAPP_BIND_ADDRESS", "").strip() or None,
            public_ip=environ.get("WHATSAPP_PUBLIC_IP", "").strip() or None,
            ipv4_only=_read_flag(environ, "WHATSAPP_IPV4_ONLY"),
            relay_only=_read_flag(environ, "WHATSAPP_RELAY_ONLY"),
        )


def _read_ports(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ConfigError(f"WHATSAPP_UDP_PORTS is {text!r}: write it as 20000-20100.")
    return int(match[1]), int(match[2])


def _read_flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip().lower()
    if text not in _YES_OR_NO:
        raise ConfigError(f"{name} is {text!r}: write 1 or 0.")
    return _YES_OR_NO[text]


def _version(text: str | None) -> int | None:
    """4 or 6; None for what is no IP address."""
    try:
        return ipaddress.ip_address(text or "").version
    except ValueError:
        return None
