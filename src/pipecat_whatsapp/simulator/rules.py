"""What Meta demands of a business's SDP, be it offer or answer: pure checks."""

from __future__ import annotations

import re
from collections.abc import Iterator

INVALID_PARAMETER = 100
SDP_VALIDATION = 138008

_FINGERPRINT = re.compile(r"sha-256 [0-9A-F]{2}(:[0-9A-F]{2}){31}")
_STATIC_CODECS = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "13": "CN/8000"}
_DIRECTIONS = ("sendonly", "recvonly", "inactive")


class RefusalError(Exception):
    """Meta refuses a Graph request.

    Args:
        details: What is wrong, for `error_data.details`.
        code: Meta's error code.
        status: HTTP status of the answer.
        subcode: Meta's `error_subcode`, where there is one.
    """

    def __init__(
        self,
        details: str,
        *,
        code: int = INVALID_PARAMETER,
        status: int = 400,
        subcode: int | None = None,
    ) -> None:
        super().__init__(details)
        self.details = details
        self.code = code
        self.status = status
        self.subcode = subcode


def check_answer(answer: str, offer: str) -> None:
    """Check a business's SDP answer as Meta does (Meta: mandatory media rules, error codes).

    Args:
        answer: The SDP of `pre_accept` or `accept`.
        offer: The SDP of the connect webhook that it answers.

    Raises:
        RefusalError: With code 138008 for a wrong fingerprint, else 100.
    """
    sdp, offered = _checked(answer), _Description(offer)
    _demand(sdp.value("setup") in ("active", "passive"), "setup must be active or passive")
    _demand(sdp.values("mid") == offered.values("mid"), "mid must be that of the offer")
    _demand(sdp.values("group") == offered.values("group"), "BUNDLE must be that of the offer")
    for name, _ in sdp.codecs():
        _demand(name in ("opus", "telephone-event"), f"Codec {name} was not offered")


def check_offer(offer: str) -> None:
    """Check a business's SDP offer as Meta does (Meta: mandatory media rules, error codes).

    Args:
        offer: The SDP of `connect`. Codecs that WhatsApp does not know do no harm.

    Raises:
        RefusalError: With code 138008 for a wrong fingerprint, else 100.
    """
    sdp = _checked(offer)
    _demand(sdp.value("setup") in ("actpass", "active"), "setup must be actpass or active")
    mids = sdp.values("mid")
    _demand(len(mids) == 1, "SDP needs one mid")
    _demand(sdp.values("group") in ([], [f"BUNDLE {mids[0]}"]), "BUNDLE must name the mid")
    candidates = [value.split(" ") for value in sdp.values("candidate")]
    _demand(bool(candidates), "SDP has no candidates: no more can be added later")
    udp = all(len(parts) > 5 and parts[2].lower() == "udp" for parts in candidates)
    _demand(udp, "All candidates must be UDP")


def _checked(text: str) -> _Description:
    """What is demanded of offers and of answers."""
    _check_lines(text)
    sdp = _Description(text)
    _check_media_line(sdp)
    _check_fingerprint(sdp)
    _check_ice(sdp)
    _demand(sdp.has("rtcp-mux"), "SDP needs rtcp-mux")
    _check_codecs(sdp)
    _check_stream(sdp)
    return sdp


class _Description:
    """An SDP as its lines and attributes; levels do not matter where one m-line is allowed."""

    def __init__(self, text: str) -> None:
        self.lines = [line for line in text.split("\r\n") if line]

    @property
    def media(self) -> list[str]:
        return [line[2:] for line in self.lines if line.startswith("m=")]

    def values(self, attribute: str) -> list[str]:
        prefix = f"a={attribute}:"
        return [line[len(prefix) :] for line in self.lines if line.startswith(prefix)]

    def value(self, attribute: str) -> str | None:
        return next(iter(self.values(attribute)), None)

    def has(self, attribute: str) -> bool:
        return f"a={attribute}" in self.lines

    def codecs(self) -> Iterator[tuple[str, list[str]]]:
        """The name and the parameters (clock, channels) of each payload type of the m-line."""
        mapped = _STATIC_CODECS | dict(
            value.split(" ", 1) for value in self.values("rtpmap") if " " in value
        )
        for payload_type in self.media[0].split(" ")[3:]:
            if payload_type not in mapped:
                raise RefusalError(f"Payload type {payload_type} has no rtpmap")
            name, *parameters = mapped[payload_type].split("/")
            yield name.lower(), parameters


def _demand(condition: bool, details: str, code: int = INVALID_PARAMETER) -> None:
    if not condition:
        raise RefusalError(details, code=code)


def _check_lines(text: str) -> None:
    rest = text.replace("\r\n", "")
    _demand("\n" not in rest and "\r" not in rest, "SDP lines must end with CRLF")
    _demand(text.startswith("v=0\r\n"), "SDP must start with v=0")


def _check_media_line(sdp: _Description) -> None:
    _demand(len(sdp.media) == 1, "SDP must have exactly one m-line")
    kind, port, protocol, *formats = [*sdp.media[0].split(" "), "", "", ""]
    _demand(kind == "audio", "The m-line must be audio")
    _demand(port not in ("", "0"), "The audio m-line is switched off")
    _demand(protocol == "UDP/TLS/RTP/SAVPF", "The m-line must use UDP/TLS/RTP/SAVPF")
    _demand(any(formats), "The m-line has no codecs")


def _check_fingerprint(sdp: _Description) -> None:
    found = sdp.values("fingerprint")
    _demand(bool(found), "No fingerprint found in SDP")
    _demand(len(found) == 1, "SDP must have exactly one fingerprint", SDP_VALIDATION)
    sha256 = _FINGERPRINT.fullmatch(found[0]) is not None
    _demand(sha256, "The fingerprint must be a sha-256 one", SDP_VALIDATION)


def _check_ice(sdp: _Description) -> None:
    _demand(not sdp.has("ice-lite"), "A business must not be ice-lite")
    _demand(len(sdp.value("ice-ufrag") or "") >= 4, "SDP needs an ice-ufrag")
    _demand(len(sdp.value("ice-pwd") or "") >= 22, "SDP needs an ice-pwd")


def _check_codecs(sdp: _Description) -> None:
    codecs = list(sdp.codecs())
    _demand("opus" in dict(codecs), "The Opus codec is missing")
    for name, parameters in codecs:
        if name == "opus":
            _demand(parameters == ["48000", "2"], "Opus must be opus/48000/2")
        if name == "telephone-event":
            _demand(parameters[:1] == ["8000"], "telephone-event must have clock 8000")


def _check_stream(sdp: _Description) -> None:
    _demand(all(ptime == "20" for ptime in sdp.values("ptime")), "ptime must be 20")
    ssrcs = {value.split(" ", 1)[0] for value in sdp.values("ssrc")}
    _demand(len(ssrcs) <= 1, "SDP must have only one SSRC")
    _demand(len(sdp.values("msid")) <= 1, "SDP must have only one audio track")
    _demand(not any(map(sdp.has, _DIRECTIONS)), "The audio must be sendrecv")
