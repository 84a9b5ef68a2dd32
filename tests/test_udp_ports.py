from __future__ import annotations

import secrets
from contextlib import ExitStack

import pytest

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media import udp_ports
from pipecat_whatsapp.media.udp_ports import bind
from ports import free_ports


def span(count: int) -> range:
    first, last = free_ports(count)
    return range(first, last + 1)


def test_every_port_of_a_range_is_found() -> None:
    ports = span(3)
    with ExitStack() as stack:
        found = [stack.enter_context(bind("127.0.0.1", ports)) for _ in ports]
        assert {sock.getsockname()[1] for sock in found} == set(ports)
        with pytest.raises(ConfigError, match="are in use: widen WHATSAPP_UDP_PORTS"):
            bind("127.0.0.1", ports)


def test_a_large_range_that_is_full_is_not_searched_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda _: 0)
    monkeypatch.setattr(udp_ports, "MOST_TRIES", 2)
    ports = span(3)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(bind("127.0.0.1", ports))
        with pytest.raises(ConfigError):
            bind("127.0.0.1", ports)


def test_an_address_that_is_not_ours_is_no_matter_of_ports() -> None:
    with pytest.raises(OSError, match="assign"):
        bind("192.0.2.1", range(20000, 20003))
