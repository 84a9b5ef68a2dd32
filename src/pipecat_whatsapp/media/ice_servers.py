"""Reads STUN and TURN servers as pipecat's runner takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.errors import ConfigError

_ICE_URL = re.compile(
    r"(stuns?|turns?):([^:?/@\s\[\]]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?"
    r"(\?transport=(udp|tcp))?"
)
"""Source: RFC 7064 and RFC 7065."""


def read_ice_servers(texts: Sequence[str]) -> tuple[IceServer, ...]:
    """Read servers, each a URL or a JSON object with `urls`, `username` and `credential`.

    One text may hold several: a JSON array, or URLs separated by commas.

    Source: pipecat's runner, `--ice-servers` and `PIPECAT_ICE_SERVERS`.

    Raises:
        ConfigError: One of them cannot be read.
    """
    return tuple(_server(entry) for text in texts for entry in _entries(text.strip()))


def is_ice_url(url: str) -> bool:
    """Whether this is the URL of a STUN or TURN server."""
    match = _ICE_URL.fullmatch(url)
    return match is not None and 1 <= int(match["port"] or 1) <= 65_535


def is_turn(server: IceServer) -> bool:
    """Whether a server is, at one of its URLs, a TURN server."""
    return any(url.startswith(("turn:", "turns:")) for url in urls_of(server))


def urls_of(server: IceServer) -> list[str]:
    """Every URL of a server, which holds one or several."""
    return [server.urls] if isinstance(server.urls, str) else list(server.urls)


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
        if not isinstance(url, str) or not is_ice_url(url):
            raise _unreadable()
    if not all(isinstance(entry.get(key, ""), str) for key in ("username", "credential")):
        raise _unreadable()
    return IceServer(**entry)


def _unreadable() -> ConfigError:
    # It may hold a credential, so it is not repeated.
    return ConfigError(
        "An ICE server cannot be read: write stun:host:port, or "
        '{"urls": "turn:host:port", "username": "...", "credential": "..."}.'
    )
