from __future__ import annotations

import sys

import pytest

from pipecat_whatsapp.media.interfaces import read_interfaces


def test_every_interface_has_an_address() -> None:
    assert all(interface.addresses for interface in read_interfaces())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name loopback otherwise")
def test_loopback_is_among_them() -> None:
    (loopback,) = [each for each in read_interfaces() if each.name == "lo"]
    assert "127.0.0.1" in loopback.addresses
