"""Where calls meet the network: which ports and addresses they use, and which they name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipecat_whatsapp.errors import ConfigError

_CONTAINERS = re.compile(
    r"(docker|br-[0-9a-f]{12}$|veth|cni|virbr|flannel|cali|podman|lxcbr|lxdbr|vboxnet|vmnet)"
)
"""How the interfaces of containers and virtual machines on this host begin."""

_PORTS = re.compile(r"\s*(\d{1,5})\s*-\s*(\d{1,5})\s*")
_HOST = re.compile(r"^a=candidate:\S+ \d+ \S+ \d+ (\S+) \d+ typ host\b", re.MULTILINE)
_RELATED = re.compile(r"raddr \S+ rport \d+")
_NAMING = re.compile(r"^(?:a=candidate:|a=rtcp:|c=).*", re.MULTILINE)
_WORD = re.compile(r"\S+")
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
        versions = {_version(self.address), _version(self.public_ip)} - {None}
        if len(versions | ({4} if self.ipv4_only else set())) > 1:
            raise ConfigError(
                "The bind address and the public IP must be of one kind, and IPv4 with IPv4 only: "
                "write them both as IPv4, or both as IPv6."
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

    @property
    def ports(self) -> range | None:
        """The UDP ports that a call may use; None for any."""
        return None if self.udp_ports is None else range(self.udp_ports[0], self.udp_ports[1] + 1)


def choose_addresses(interfaces: Sequence[Interface], network: Network) -> list[str]:
    """The addresses that calls open a socket on.

    Unless one is chosen, those of containers and virtual machines on this host are left out, since
    nothing outside can be reached from them: each would only cost time, and so would loopback. They
    serve where the machine has no other.

    Args:
        interfaces: Those of this machine.
        network: What was asked for.

    Raises:
        ConfigError: The machine has no such address.
    """
    if network.relay_only:
        return []
    found = [
        (interface.name, address)
        for interface in interfaces
        for address in interface.addresses
        if not (network.ipv4_only and _version(address) == 6)
    ]
    if network.address is not None:
        found = [place for place in found if _is_at(place, network.address)]
    else:
        farthest = min((_nearness(*place) for place in found), default=0)
        found = [place for place in found if _nearness(*place) == farthest]
    if not found:
        raise ConfigError(_nothing_found(interfaces, network))
    return [address for _, address in found]


def advertise(sdp: str, network: Network) -> str:
    """Name in a description of ours what the far end may know.

    The public IP stands where the machine's own addresses stood, with the same ports; and a relay
    tells nothing of what is behind it (RFC 8839 section 5.1).
    """
    if network.relay_only:
        return _RELATED.sub("raddr 0.0.0.0 rport 9", sdp)
    if network.public_ip is None:
        return sdp
    version = _version(network.public_ip)
    ours = {match[1] for match in _HOST.finditer(sdp) if _version(match[1]) == version}
    told = dict.fromkeys(ours, network.public_ip)
    return _NAMING.sub(
        lambda line: _WORD.sub(lambda word: told.get(word[0], word[0]), line[0]), sdp
    )


def _is_at(place: tuple[str, str], wanted: str) -> bool:
    name, address = place
    # A second address of eth0 may be listed as eth0:1.
    if (ip := _ip(wanted)) is not None:
        return ip == _ip(address)
    return wanted in (name.partition(":")[0], name)


def _nearness(name: str, address: str) -> int:
    """How little of the world can be reached: 0 is the network, 1 this host's guests, 2 itself."""
    ip = ipaddress.ip_address(address)
    if ip.is_loopback:
        return 2
    return 1 if ip.is_link_local or _CONTAINERS.match(name) else 0


def _nothing_found(interfaces: Sequence[Interface], network: Network) -> str:
    kind = "IPv4 address" if network.ipv4_only else "IP address"
    if network.address is None:
        return f"This machine has no {kind} that a call could use: connect it to a network."
    known = ", ".join(f"{each.name} ({', '.join(each.addresses)})" for each in interfaces)
    return (
        f"This machine has no {kind} at {network.address!r}: choose an interface or an address of "
        f"{known or 'a network that is up'}."
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
    ip = _ip(text)
    return None if ip is None else ip.version


def _ip(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, which may be written in several ways; None for what is none."""
    try:
        return ipaddress.ip_address(text or "")
    except ValueError:
        return None


ANYWHERE = Network()
"""Whatever the machine has."""
