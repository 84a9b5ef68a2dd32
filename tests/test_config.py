from __future__ import annotations

import pytest
from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.config import REQUIRED_VARIABLES, Timing, WhatsAppConfig
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.network import ANYWHERE, Network

ENVIRONMENT = {
    "WHATSAPP_TOKEN": "EAA-token",
    "WHATSAPP_PHONE_NUMBER_ID": "200000000000002",
    "WHATSAPP_APP_SECRET": "new-secret, old-secret",
    "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN": "verify-me",
}


def test_reads_the_environment() -> None:
    config = WhatsAppConfig.from_env(ENVIRONMENT)
    assert config.token == "EAA-token"
    assert config.phone_number_ids == {"200000000000002"}
    assert config.app_secrets == ("new-secret", "old-secret")
    assert config.verification_token == "verify-me"
    assert config.graph_url == "https://graph.facebook.com"


def test_reads_where_graph_is() -> None:
    more = {"WHATSAPP_GRAPH_URL": "http://127.0.0.1:9/", "WHATSAPP_GRAPH_VERSION": "v99.0"}
    config = WhatsAppConfig.from_env(ENVIRONMENT | more)
    assert (config.graph_url, config.graph_version) == ("http://127.0.0.1:9/", "v99.0")


def test_arguments_win() -> None:
    config = WhatsAppConfig.from_env(ENVIRONMENT, max_calls=3)
    assert config.max_calls == 3


@pytest.mark.parametrize("name", REQUIRED_VARIABLES)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_one_sentence_names_what_is_missing(name: str, value: str | None) -> None:
    environment = dict(ENVIRONMENT)
    del environment[name]
    if value is not None:
        environment[name] = value
    with pytest.raises(ConfigError, match=f"needs {name} in the environment"):
        WhatsAppConfig.from_env(environment)


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        WhatsAppConfig.from_env({})
    assert all(name in str(caught.value) for name in REQUIRED_VARIABLES)


@pytest.mark.parametrize("number", ["+49 155 5000", "../me", "12a", "²"])
def test_a_phone_number_id_is_digits(number: str) -> None:
    with pytest.raises(ConfigError, match="phone number id"):
        WhatsAppConfig.from_env(ENVIRONMENT | {"WHATSAPP_PHONE_NUMBER_ID": number})


@pytest.mark.parametrize("changes", [{"app_secrets": ()}, {"app_secrets": ("",)}])
def test_signatures_cannot_be_switched_off(changes: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ConfigError, match="app secret"):
        WhatsAppConfig.from_env(ENVIRONMENT, **changes)


def test_an_ice_server_is_a_url() -> None:
    WhatsAppConfig.from_env(ENVIRONMENT, ice_servers=(IceServer(["stun:a:1", "turns:b:2"]),))
    with pytest.raises(ConfigError, match="'b:2' is no ICE server"):
        WhatsAppConfig.from_env(ENVIRONMENT, ice_servers=(IceServer(["stun:a:1", "b:2"]),))


def test_secrets_are_not_in_the_repr() -> None:
    text = repr(WhatsAppConfig.from_env(ENVIRONMENT))
    for secret in ("EAA-token", "new-secret", "old-secret", "verify-me"):
        assert secret not in text


@pytest.mark.parametrize(
    "url",
    ["turn:host:port", "stun:", "stun:h:", "http://h", "turn:h:3478?transport=sctp", "stun:[::1"],
)
def test_an_address_that_is_no_ice_server_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match="is no ICE server"):
        WhatsAppConfig.from_env(ENVIRONMENT, ice_servers=(IceServer(url),))


@pytest.mark.parametrize(
    "url",
    [
        "stun:h.example.com",
        "stun:192.0.2.1:3478",
        "turns:h:5349?transport=tcp",
        "turn:[2001:db8::1]:3478",
    ],
)
def test_addresses_of_ice_servers(url: str) -> None:
    WhatsAppConfig.from_env(ENVIRONMENT, ice_servers=(IceServer(url),))


def test_reads_ice_servers_as_pipecat_does() -> None:
    servers = '["stun:s:3478", {"urls": "turn:t", "username": "ada", "credential": "secret"}]'
    config = WhatsAppConfig.from_env(ENVIRONMENT | {"WHATSAPP_ICE_SERVERS": servers})
    stun, turn = config.ice_servers
    assert (stun.urls, turn.urls) == ("stun:s:3478", "turn:t")
    assert (turn.username, turn.credential) == ("ada", "secret")
    assert "secret" not in repr(config)


def test_ice_servers_that_cannot_be_read_are_not_repeated() -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        WhatsAppConfig.from_env(ENVIRONMENT | {"WHATSAPP_ICE_SERVERS": '{"hunter2": 1}'})
    assert "hunter2" not in str(caught.value)


def test_reads_where_on_the_network_calls_are_placed() -> None:
    assert WhatsAppConfig.from_env(ENVIRONMENT).network == ANYWHERE
    more = {"WHATSAPP_UDP_PORTS": "20000-20100", "WHATSAPP_BIND_ADDRESS": "127.0.0.1"}
    config = WhatsAppConfig.from_env(ENVIRONMENT | more)
    assert config.network == Network(udp_ports=(20000, 20100), address="127.0.0.1")


def test_an_address_that_the_machine_lacks_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"at '192\.0\.2\.1'"):
        WhatsAppConfig.from_env(ENVIRONMENT | {"WHATSAPP_BIND_ADDRESS": "192.0.2.1"})


def test_a_call_through_relays_only_needs_a_relay() -> None:
    more = {"WHATSAPP_RELAY_ONLY": "1", "WHATSAPP_ICE_SERVERS": "stun:s:3478"}
    with pytest.raises(ConfigError, match="needs a TURN server"):
        WhatsAppConfig.from_env(ENVIRONMENT | more)
    more["WHATSAPP_ICE_SERVERS"] = "stun:s:3478, turns:t:5349"
    assert WhatsAppConfig.from_env(ENVIRONMENT | more).network.relay_only


def test_a_process_may_take_no_call_at_all() -> None:
    assert WhatsAppConfig.from_env(ENVIRONMENT, max_calls=0).max_calls == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_calls", -1), ("max_lag", 0.0), ("max_lag", float("nan")), ("max_call_duration", -1.0)],
)
def test_a_limit_that_is_none_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is "):
        WhatsAppConfig.from_env(ENVIRONMENT, **{name: value})


@pytest.mark.parametrize("seconds", [-0.1, float("nan")])
def test_a_time_to_wait_is_not_negative(seconds: float) -> None:
    with pytest.raises(ConfigError, match="room_patience is "):
        Timing(room_patience=seconds)
