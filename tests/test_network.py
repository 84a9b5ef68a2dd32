from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.network import (
    ANYWHERE,
    Interface,
    Network,
    advertise,
    choose_addresses,
)

LOOPBACK = Interface("lo", ("127.0.0.1",))
ETHERNET = Interface("eth0", ("10.0.0.5", "2001:db8::5"))
ALIAS = Interface("eth0:1", ("10.0.0.6",))
CONTAINERS = [
    Interface(name, (f"172.17.{number}.1",))
    for number, name in enumerate(
        ["docker0", "br-0a1b2c3d4e5f", "veth9", "cni0", "virbr0", "cali42"]
    )
]
LINK_LOCAL = Interface("ecs0", ("169.254.7.1",))

SDP = "".join(
    f"{line}\r\n"
    for line in (
        "o=- 1 1 IN IP4 0.0.0.0",
        "m=audio 20001 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 10.0.0.5",
        "a=rtcp:9 IN IP4 10.0.0.5",
        "a=candidate:1 1 udp 2130706431 10.0.0.5 20001 typ host",
        "a=candidate:2 1 udp 2130706431 2001:db8::5 20002 typ host",
        "a=candidate:3 1 udp 1694498815 198.51.100.1 20001 typ srflx raddr 10.0.0.5 rport 20001",
        "a=candidate:4 1 udp 16777215 198.51.100.9 50000 typ relay raddr 10.0.0.5 rport 40000",
        "a=ssrc:10 cname:10.0.0.5",
    )
)


# Settings


def test_by_default_calls_use_whatever_the_machine_has() -> None:
    assert Network() == ANYWHERE == Network.from_env({})
    assert ANYWHERE.ports is None


def test_it_is_read_from_the_environment() -> None:
    read = Network.from_env(
        {
            "WHATSAPP_UDP_PORTS": " 20000 - 20100 ",
            "WHATSAPP_BIND_ADDRESS": " eth0 ",
            "WHATSAPP_PUBLIC_IP": "203.0.113.7",
            "WHATSAPP_IPV4_ONLY": "true",
            "WHATSAPP_RELAY_ONLY": "0",
        }
    )
    assert read == Network(
        udp_ports=(20000, 20100), address="eth0", public_ip="203.0.113.7", ipv4_only=True
    )


def test_empty_variables_are_as_none() -> None:
    names = ("UDP_PORTS", "BIND_ADDRESS", "PUBLIC_IP", "IPV4_ONLY", "RELAY_ONLY")
    assert Network.from_env({f"WHATSAPP_{name}": " " for name in names}) == ANYWHERE


@pytest.mark.parametrize("text", ["20000", "20000-", "a-b", "20000:20100", "-1-5", "1-200000"])
def test_ports_are_written_as_first_and_last(text: str) -> None:
    with pytest.raises(ConfigError, match="20000-20100"):
        Network.from_env({"WHATSAPP_UDP_PORTS": text})


@pytest.mark.parametrize("ports", [(0, 5), (6, 5), (5, 65_536), (-2, -1)])
def test_a_range_of_ports_begins_with_the_lowest(ports: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="are no range"):
        Network(udp_ports=ports)


def test_a_range_holds_its_ends() -> None:
    assert Network(udp_ports=(5, 5)).ports == range(5, 6)
    ports = Network(udp_ports=(20000, 20100)).ports
    assert ports is not None
    assert (ports[0], ports[-1]) == (20000, 20100)


@pytest.mark.parametrize("name", ["WHATSAPP_IPV4_ONLY", "WHATSAPP_RELAY_ONLY"])
def test_a_flag_that_is_neither_yes_nor_no_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 'on please'"):
        Network.from_env({name: "On please"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"public_ip": "bot.example.com"}, "is no IP address"),
        ({"public_ip": ""}, "is no IP address"),
        ({"ipv4_only": True, "public_ip": "2001:db8::7"}, "of one kind"),
        ({"ipv4_only": True, "address": "::1"}, "of one kind"),
        ({"address": "10.0.0.5", "public_ip": "2001:db8::7"}, "of one kind"),
        ({"relay_only": True, "udp_ports": (1, 2)}, "TURN server opens the port"),
        ({"relay_only": True, "address": "eth0"}, "TURN server opens the port"),
        ({"relay_only": True, "public_ip": "203.0.113.7"}, "TURN server opens the port"),
    ],
)
def test_settings_that_contradict_are_told(settings: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Network(**settings)


# Addresses


def test_interfaces_of_containers_and_loopback_are_left_out() -> None:
    found = choose_addresses([LOOPBACK, *CONTAINERS, LINK_LOCAL, ETHERNET, ALIAS], ANYWHERE)
    assert found == ["10.0.0.5", "2001:db8::5", "10.0.0.6"]


def test_a_bridge_that_leads_outside_is_none_of_containers() -> None:
    bridge = Interface("br-lan", ("10.0.0.5",))
    assert choose_addresses([*CONTAINERS, bridge], ANYWHERE) == ["10.0.0.5"]


def test_interfaces_of_containers_serve_where_there_are_no_others() -> None:
    assert choose_addresses([LOOPBACK, *CONTAINERS[:2]], ANYWHERE) == ["172.17.0.1", "172.17.1.1"]


def test_loopback_serves_where_there_is_nothing_else() -> None:
    assert choose_addresses([LOOPBACK], ANYWHERE) == ["127.0.0.1"]


def test_ipv4_only_leaves_ipv6_out() -> None:
    assert choose_addresses([ETHERNET], Network(ipv4_only=True)) == ["10.0.0.5"]
    six = Interface("eth1", ("2001:db8::7",))
    assert choose_addresses([six, CONTAINERS[0]], Network(ipv4_only=True)) == ["172.17.0.1"]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("10.0.0.5", ["10.0.0.5"]),
        ("2001:db8::5", ["2001:db8::5"]),
        ("2001:DB8:0::5", ["2001:db8::5"]),
        ("eth0", ["10.0.0.5", "2001:db8::5", "10.0.0.6"]),
        ("eth0:1", ["10.0.0.6"]),
        ("docker0", ["172.17.0.1"]),
        ("lo", ["127.0.0.1"]),
    ],
)
def test_what_is_chosen_is_used_whatever_it_is(address: str, found: list[str]) -> None:
    interfaces = [LOOPBACK, ETHERNET, ALIAS, *CONTAINERS]
    assert choose_addresses(interfaces, Network(address=address)) == found


@pytest.mark.parametrize("address", ["eth1", "10.0.0.7", "192.0.2.1", "eth"])
def test_an_address_that_the_machine_lacks_is_told_with_those_that_it_has(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"at '{address}'.*eth0 \(10.0.0.5, 2001:db8::5\)"):
        choose_addresses([LOOPBACK, ETHERNET], Network(address=address))


def test_an_interface_without_ipv4_is_no_help_when_ipv6_is_left_out() -> None:
    six = Interface("eth1", ("2001:db8::7",))
    with pytest.raises(ConfigError, match="no IPv4 address at 'eth1'"):
        choose_addresses([six, ETHERNET], Network(address="eth1", ipv4_only=True))


def test_a_machine_without_any_address_is_told_to_get_one() -> None:
    with pytest.raises(ConfigError, match="has no IP address that a call could use"):
        choose_addresses([], ANYWHERE)


def test_a_relay_needs_no_address_of_ours() -> None:
    assert choose_addresses([ETHERNET], Network(relay_only=True)) == []


# What the far end is told


@pytest.mark.parametrize("network", [ANYWHERE, Network(udp_ports=(1, 2), ipv4_only=True)])
def test_a_description_is_left_as_it_is(network: Network) -> None:
    assert advertise(SDP, network) == SDP


def test_the_public_ip_stands_where_our_own_stood() -> None:
    told = advertise(SDP, Network(public_ip="203.0.113.7")).split("\r\n")
    assert told == [
        "o=- 1 1 IN IP4 0.0.0.0",
        "m=audio 20001 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 203.0.113.7",
        "a=rtcp:9 IN IP4 203.0.113.7",
        "a=candidate:1 1 udp 2130706431 203.0.113.7 20001 typ host",
        "a=candidate:2 1 udp 2130706431 2001:db8::5 20002 typ host",
        "a=candidate:3 1 udp 1694498815 198.51.100.1 20001 typ srflx raddr 203.0.113.7 rport 20001",
        "a=candidate:4 1 udp 16777215 198.51.100.9 50000 typ relay raddr 203.0.113.7 rport 40000",
        "a=ssrc:10 cname:10.0.0.5",
        "",
    ]


def test_a_public_ipv6_stands_where_our_ipv6_stood() -> None:
    told = advertise(SDP, Network(public_ip="2001:db8:1::1"))
    assert "2001:db8::5" not in told
    assert " 2001:db8:1::1 20002 typ host\r\n" in told
    assert " 10.0.0.5 20001 typ host\r\n" in told


def test_a_relay_does_not_tell_what_is_behind_it() -> None:
    told = advertise(SDP, Network(relay_only=True))
    assert " 198.51.100.9 50000 typ relay raddr 0.0.0.0 rport 9\r\n" in told
    assert "40000" not in told
