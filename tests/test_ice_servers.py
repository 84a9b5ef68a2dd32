from __future__ import annotations

import pytest

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.ice_servers import read_ice_servers

TURN = '{"urls": "turn:t:3478", "username": "ada", "credential": "secret"}'


@pytest.mark.parametrize(
    "texts",
    [
        ["stun:s:3478", TURN],
        [f'["stun:s:3478", {TURN}]'],
    ],
)
def test_servers_are_read_as_pipecat_s_runner_reads_them(texts: list[str]) -> None:
    stun, turn = read_ice_servers(texts)
    assert stun.urls == "stun:s:3478"
    assert (turn.urls, turn.username, turn.credential) == ("turn:t:3478", "ada", "secret")


def test_urls_may_be_separated_by_commas() -> None:
    assert [server.urls for server in read_ice_servers(["stun:a:1, stun:b:2", ""])] == [
        "stun:a:1",
        "stun:b:2",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "http://s",
        "{",
        "[1]",
        '{"urls": []}',
        '{"urls": 3}',
        '{"username": "ada"}',
        '{"urls": "turn:t", "password": "hunter2"}',
        '{"urls": "turn:t", "username": 5, "credential": "hunter2"}',
        '{"urls": "turn:t", "username": "ada", "credential": ["hunter2"]}',
        "turn:h:99999",
        "stun:h:0",
        "stun:h:port",
        "stun:",
        "stun:h, stun::3478",
    ],
)
def test_what_cannot_be_read_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="stun:host:port") as caught:
        read_ice_servers([text])
    assert "hunter2" not in str(caught.value)
