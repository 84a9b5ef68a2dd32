"""A session description as its lines have it, however broken they are: nothing here raises."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\r|\n")
_STATIC_CODECS = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "13": "CN/8000"}
"""Payload types that need no rtpmap (RFC 3551 section 6)."""


@dataclass(frozen=True)
class MediaLine:
    """An m-line; what is missing in it is empty.

    Parameters:
        kind: "audio", "video", ...
        port: The port.
        protocol: Such as "UDP/TLS/RTP/SAVPF".
        formats: Its payload types.
    """

    kind: str
    port: str
    protocol: str
    formats: tuple[str, ...]


@dataclass(frozen=True)
class Codec:
    """A codec of the m-line.

    Parameters:
        payload_type: Its payload type.
        name: Its name, in lower case.
        parameters: Clock rate and channels, as far as given.
    """

    payload_type: str
    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """An ICE candidate; what is missing in it is empty.

    Parameters:
        transport: "udp" or another protocol, in lower case.
        address: An IP address, or a name.
        kind: "host", "srflx", "prflx" or "relay".
    """

    transport: str
    address: str
    kind: str


class Description:
    """An SDP as its lines and attributes; levels do not matter where one m-line is allowed.

    Args:
        text: The SDP, or any text.

    Attributes:
        text: The same.
        lines: Its lines that are not empty.
        media: Its m-lines.
        codecs: The codecs of the first m-line.
        nameless: Payload types there of which nothing says what they are.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = [line for line in _LINE_END.split(text) if line]
        self.media = [_media_line(line[2:]) for line in self.lines if line.startswith("m=")]
        formats, named = self.media[0].formats if self.media else (), self._names()
        self.codecs = [_codec(format, named[format]) for format in formats if format in named]
        self.nameless = [format for format in formats if format not in named]

    @property
    def ends_lines_with_crlf(self) -> bool:
        """Whether every line end is CRLF."""
        rest = self.text.replace("\r\n", "")
        return "\n" not in rest and "\r" not in rest

    @property
    def candidates(self) -> list[Candidate]:
        """The ICE candidates."""
        return [_candidate(value.split(" ")) for value in self.values("candidate")]

    def values(self, attribute: str) -> list[str]:
        """What follows the colon in all lines of an attribute."""
        prefix = f"a={attribute}:"
        return [line[len(prefix) :] for line in self.lines if line.startswith(prefix)]

    def value(self, attribute: str) -> str | None:
        """The first of `values`."""
        return next(iter(self.values(attribute)), None)

    def has(self, attribute: str) -> bool:
        """Whether there is an attribute that has no value."""
        return f"a={attribute}" in self.lines

    def codec(self, name: str) -> Codec | None:
        """The first codec of this name."""
        return next((codec for codec in self.codecs if codec.name == name), None)

    def format_of(self, codec: Codec) -> dict[str, str]:
        """A codec's format parameters (`a=fmtp`); one without a value has an empty one."""
        told = [value.partition(" ") for value in self.values("fmtp")]
        listed = [text for kind, _, text in told if kind == codec.payload_type]
        pairs = [pair.strip().partition("=") for text in listed for pair in text.split(";")]
        return {name: value for name, _, value in pairs if name}

    def _names(self) -> dict[str, str]:
        """What each payload type is said to be."""
        told = (value.partition(" ") for value in self.values("rtpmap"))
        return _STATIC_CODECS | {format: name for format, space, name in told if space}


def _media_line(text: str) -> MediaLine:
    parts = text.split(" ")
    kind, port, protocol = [*parts, "", ""][:3]
    return MediaLine(kind, port, protocol, tuple(parts[3:]))


def _codec(payload_type: str, described: str) -> Codec:
    name, *parameters = described.split("/")
    return Codec(payload_type, name.lower(), tuple(parameters))


def _candidate(parts: list[str]) -> Candidate:
    if len(parts) < 6:
        return Candidate("", "", "")
    kind = parts[7] if parts[6:7] == ["typ"] and len(parts) > 7 else ""
    return Candidate(parts[2].lower(), parts[4], kind)
