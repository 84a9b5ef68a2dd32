"""Settings of a WhatsApp number, from arguments and from `WHATSAPP_*` variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.ice_servers import is_ice_url, is_turn, read_ice_servers, urls_of
from pipecat_whatsapp.media.interfaces import read_interfaces
from pipecat_whatsapp.media.network import Network, choose_addresses
from pipecat_whatsapp.meta.graph import DEFAULT_GRAPH_URL, DEFAULT_GRAPH_VERSION, TokenProvider

REQUIRED_VARIABLES = (
    "WHATSAPP_TOKEN",
    "WHATSAPP_PHONE_NUMBER_ID",
    "WHATSAPP_APP_SECRET",
    "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN",
)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long each step of a call may take, in seconds.

    Parameters:
        accept_deadline: From the webhook's own timestamp to accept. Meta gives up after 30 to
            60 s, so a connect older than this is stale and is dropped.
        link_timeout: From pre-accept's 200 until ICE and DTLS are up.
        silence_timeout: Without any packet from the caller, until the far end is asked by STUN
            whether it is there; it gets 3.5 s to answer.
        media_timeout: The same, until the call is given up where the far end cannot be asked, or
            has never sent a packet. WhatsApp itself gives up after 20 s at the start.
        link_lost_grace: From the link's end until we hang up. A caller's hang-up closes the link
            and sends a webhook; whichever comes first, it is the caller who ended the call.
        bot_grace: From the call's end until a bot that still runs is cancelled.
        shutdown_grace: The same while the adapter closes.
        lost_reply_patience: From a connect that got no answer until the call counts as not placed.
            If it was placed, a webhook tells so.
        room_patience: How long a connect waits for a process with room.
    """

    accept_deadline: float = 25.0
    link_timeout: float = 20.0
    silence_timeout: float = 5.0
    media_timeout: float = 20.0
    link_lost_grace: float = 3.0
    bot_grace: float = 10.0
    shutdown_grace: float = 2.0
    lost_reply_patience: float = 15.0
    room_patience: float = 0.0

    def __post_init__(self) -> None:
        for name, seconds in vars(self).items():
            if not seconds >= 0:
                raise ConfigError(f"{name} is {seconds} s: give it 0 or more seconds.")


@dataclass(frozen=True, kw_only=True)
class WhatsAppConfig:
    """Settings of one adapter.

    Parameters:
        token: System-user access token, or a function that gives it (and may be async), asked
            before every request so that a token can rotate.
        phone_number_ids: The numbers served. Calls for any other number are left alone.
        app_secrets: App secrets that sign webhooks; two, the newest first, while one replaces the
            other.
        verification_token: The string typed into Meta's webhook form.
        graph_url: Base address of the Graph API. Plain http only on loopback.
        graph_version: Graph API version.
        ice_servers: STUN and TURN servers. None by default: Meta's relays are public.
        network: Which ports and addresses calls use. By default, whatever the machine has.
        region: Where this process is, as you name it: see `WebhookAdapter` on `region`.
        max_calls: Calls at one time; 0 takes none. None is no limit.
        max_lag: Seconds of mean event-loop lag above which a further call is refused. None is no
            limit.
        max_call_duration: Seconds after which an answered call is ended. None is no limit.
        timing: How long each step may take.
    """

    token: str | TokenProvider = field(repr=False)
    phone_number_ids: frozenset[str]
    app_secrets: tuple[str, ...] = field(repr=False)
    verification_token: str = field(repr=False)
    graph_url: str = DEFAULT_GRAPH_URL
    graph_version: str = DEFAULT_GRAPH_VERSION
    ice_servers: tuple[IceServer, ...] = field(default=(), repr=False)
    network: Network = field(default_factory=Network)
    region: str = ""
    max_calls: int | None = None
    max_lag: float | None = None
    max_call_duration: float | None = None
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        if not self.phone_number_ids or not all(map(_is_digits, self.phone_number_ids)):
            raise ConfigError(
                "A phone number id must be digits: copy it from WhatsApp > API Setup "
                "(it is not the phone number itself)."
            )
        if not self.app_secrets or not all(self.app_secrets):
            raise ConfigError(
                "An app secret is needed to check webhooks: copy it from App settings > Basic."
            )
        if not self.verification_token:
            raise ConfigError("A verification token is needed: choose any secret string.")
        for url in (url for server in self.ice_servers for url in urls_of(server)):
            if not is_ice_url(url):
                raise ConfigError(
                    f"{url!r} is no ICE server: write it as stun:host:port or turn:host:port."
                )
        if self.network.relay_only and not any(map(is_turn, self.ice_servers)):
            raise ConfigError(
                "Relay only needs a TURN server: name one in WHATSAPP_ICE_SERVERS or ice_servers."
            )
        self._check_limits()

    def _check_limits(self) -> None:
        if self.max_calls is not None and self.max_calls < 0:
            raise ConfigError(f"max_calls is {self.max_calls}: 0 takes no call, None any number.")
        for name in ("max_lag", "max_call_duration"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ConfigError(f"{name} is {seconds} s: give it more than 0, or None.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> WhatsAppConfig:
        """Read the settings from the environment.

        `WHATSAPP_PHONE_NUMBER_ID` and `WHATSAPP_APP_SECRET` take several values, separated by
        commas. `WHATSAPP_GRAPH_URL` and `WHATSAPP_GRAPH_VERSION` are optional, and so are
        `WHATSAPP_ICE_SERVERS`, written as pipecat's `PIPECAT_ICE_SERVERS` is, and the variables of
        `Network.from_env`.

        Args:
            environ: The variables; `os.environ` by default.
            **overrides: Fields of the config that are set directly.

        Raises:
            ConfigError: A required variable is missing or cannot be used.
        """
        environ = os.environ if environ is None else environ
        missing = [name for name in REQUIRED_VARIABLES if not environ.get(name, "").strip()]
        if missing:
            raise ConfigError(
                f"WhatsApp needs {_listed(missing)} in the environment (or in .env): "
                "`pipecat-whatsapp setup` writes them, and `pipecat-whatsapp doctor` says where "
                "Meta shows each."
            )
        network = Network.from_env(environ)
        # A wrong address stops the start, and not each call.
        choose_addresses(read_interfaces(), network)
        settings: dict[str, Any] = {
            "token": environ["WHATSAPP_TOKEN"].strip(),
            "phone_number_ids": frozenset(_split(environ["WHATSAPP_PHONE_NUMBER_ID"])),
            "app_secrets": tuple(_split(environ["WHATSAPP_APP_SECRET"])),
            "verification_token": environ["WHATSAPP_WEBHOOK_VERIFICATION_TOKEN"].strip(),
            "graph_url": environ.get("WHATSAPP_GRAPH_URL") or DEFAULT_GRAPH_URL,
            "graph_version": environ.get("WHATSAPP_GRAPH_VERSION") or DEFAULT_GRAPH_VERSION,
            "ice_servers": read_ice_servers([environ.get("WHATSAPP_ICE_SERVERS", "")]),
            "network": network,
        }
        return cls(**(settings | overrides))


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
