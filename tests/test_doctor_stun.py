from __future__ import annotations

import socket

import pytest

from pipecat_whatsapp.doctor import stun
from pipecat_whatsapp.errors import ConfigError
from stun_server import stun_server


@pytest.fixture(autouse=True)
def _is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes is waited for, on however slow a machine."""
    monkeypatch.setattr(stun, "PATIENCE", 60.0)


async def test_a_server_tells_the_address_that_it_sees() -> None:
    async with stun_server() as url:
        (answer,) = await stun.ask([url])
    assert answer.mapped == answer.local
    assert answer.local is not None
    assert answer.local[0] == "127.0.0.1"
    assert answer.server is not None
    assert url.endswith(f":{answer.server[1]}")


async def test_all_servers_are_asked_from_one_port() -> None:
    async with stun_server() as one, stun_server() as other:
        first, second = await stun.ask([one, other])
    assert first.mapped == second.mapped
    assert first.server != second.server


async def test_a_lost_request_is_sent_again() -> None:
    async with stun_server(silent=2) as url:
        (answer,) = await stun.ask([url])
    assert answer.mapped is not None
    assert answer.seconds >= stun.RETRANSMISSIONS[2]


async def test_what_is_no_answer_to_the_request_is_not_taken_for_one() -> None:
    async with stun_server(noise=True) as url:
        (answer,) = await stun.ask([url])
    assert answer.mapped == answer.local


async def test_a_silent_server_is_given_up_and_delays_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stun, "PATIENCE", 3.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        async with stun_server() as url:
            silent, heard = await stun.ask([f"stun:127.0.0.1:{deaf.getsockname()[1]}", url])
    assert (silent.mapped, silent.why) == (None, "no answer came")
    assert heard.mapped is not None


@pytest.mark.parametrize("name", ["nowhere.invalid", ".x.com", f"{'x' * 64}.com"])
async def test_a_name_that_cannot_be_resolved_is_told_apart(name: str) -> None:
    (answer,) = await stun.ask([f"stun:{name}:3478"])
    assert (answer.server, answer.why) == (None, "its name cannot be resolved")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("stun:stun.example.com:19302", ("stun.example.com", 19302)),
        ("stun:stun.example.com", ("stun.example.com", 3478)),
        ("turns:turn.example.com", ("turn.example.com", 5349)),
        ("turn:turn.example.com:443?transport=tcp", ("turn.example.com", 443)),
        ("turn:[2001:db8::1]:3478", ("2001:db8::1", 3478)),
    ],
)
def test_the_host_and_port_of_a_url(url: str, address: tuple[str, int]) -> None:
    assert stun.host_and_port(url) == address


def test_a_probe_is_a_stun_server() -> None:
    assert stun.read_probe("stun:s:3478") == "stun:s:3478"


@pytest.mark.parametrize("url", ["s:3478", "turn:t:3478", "stun:h:99999", ""])
def test_what_cannot_be_probed_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="stun:host:port"):
        stun.read_probe(url)
