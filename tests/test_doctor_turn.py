from __future__ import annotations

import asyncio
import socket

import pytest
from pipecat.transports.smallwebrtc.connection import IceServer

from conftest import wait_for_stun
from pipecat_whatsapp.doctor import turn
from pipecat_whatsapp.doctor.stun import host_and_port


@pytest.fixture(autouse=True)
def _is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever answers has the time to."""
    monkeypatch.setattr(turn, "PATIENCE", 30.0)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_server_gives_a_relay(turn_url: str, transport: str) -> None:
    await asyncio.to_thread(wait_for_stun, host_and_port(turn_url)[1])
    url = turn_url.replace("transport=udp", f"transport={transport}")
    answer = await turn.allocate(IceServer(url, "ada", "secret"))
    assert answer.relayed is not None, answer
    assert answer.relayed[0] == "127.0.0.1"


async def test_a_wrong_credential_is_said_and_not_repeated(turn_url: str) -> None:
    answer = await turn.allocate(IceServer(turn_url, "ada", "guessed"))
    assert answer == turn.TurnAnswer(turn_url, why="it refuses the user name or the credential")


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"turn:127.0.0.1:{closed.getsockname()[1]}?transport=tcp"
        answer = await turn.allocate(IceServer(url, "ada", "secret"))
    assert answer.relayed is None
    assert answer.why == "Connection refused"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_name_that_cannot_be_resolved(transport: str) -> None:
    server = IceServer(f"turn:.x.com:3478?transport={transport}", "ada", "secret")
    answer = await turn.allocate(server)
    assert answer.relayed is None
    assert answer.why == "its name cannot be resolved"


async def test_a_server_that_does_not_speak_tls() -> None:
    def answer_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_plainly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await turn.allocate(IceServer(f"turns:127.0.0.1:{port}", "ada", "secret"))
    assert answer.relayed is None
    assert answer.why.startswith("TLS fails: ")
