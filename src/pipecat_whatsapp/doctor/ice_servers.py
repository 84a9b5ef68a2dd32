"""Reads STUN and TURN servers as pipecat's runner takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.doctor.stun import host_and_port
from pipecat_whatsapp.errors import ConfigError

SCHEMES = ("stun:", "stuns:", "turn:", "turns:")


def read_ice_servers(texts: Sequence[str]) -> tuple[IceServer, ...]:
    """Read servers, each a URL or a JSON object with `urls`, `username` and `credential`.

    One text may hold several: a JSON array, or URLs separated by commas.

    Source: pipecat's runner, `--ice-servers` and `PIPECAT_ICE_SERVERS`.

    Raises:
        ConfigError: One of them cannot be read.
    """
    return tuple(_server(entry) for text in texts for entry in _entries(text.strip()))


def read_probe(url: str) -> str:
    """A STUN server that can be asked whether UDP gets out.

    Raises:
        ConfigError: It is none.
    """
    if not _is_server(url, ("stun:",)):
        raise ConfigError(f"{url!r} is no STUN server: write it as stun:host:port.")
    return url


def _entries(text: str) -> list[Any]:
    if not text.startswith(("{", "[")):
        return [{"urls": url.strip()} for url in text.split(",") if url.strip()]
    try:
        read = json.loads(text)
    except ValueError:
        raise _unreadable() from None
    return read if isinstance(read, list) else [read]


def _server(entry: Any) -> IceServer:
    if isinstance(entry, str):
        entry = {"urls": entry}
    if not isinstance(entry, dict) or not entry.keys() <= {"urls", "username", "credential"}:
        raise _unreadable()
    urls = entry.get("urls")
    for url in urls if isinstance(urls, list) and urls else [urls]:
        if not isinstance(url, str) or not _is_server(url, SCHEMES):
            raise _unreadable()
    if not all(isinstance(entry.get(key, ""), str) for key in ("username", "credential")):
        raise _unreadable()
    return IceServer(**entry)


def _is_server(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        return url.startswith(schemes) and bool(host_and_port(url))
    except ValueError:
        return False


def _unreadable() -> ConfigError:
    # It may hold a credential, so it is not repeated.
    return ConfigError(
        "An ICE server cannot be read: write stun:host:port, or "
        '{"urls": "turn:host:port", "username": "...", "credential": "..."}.'
    )
