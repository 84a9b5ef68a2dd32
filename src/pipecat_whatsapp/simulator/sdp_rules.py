"""What Meta demands of a business's SDP, rule by rule in the order in which Meta looks.

Source: Meta, mandatory media rules; error codes; and what was seen in the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pipecat_whatsapp.simulator.description import Description

INVALID_PARAMETER = 100
SDP_VALIDATION = 138008

_FINGERPRINT = re.compile(r"sha-256 [0-9A-F]{2}(:[0-9A-F]{2}){31}")
_CODECS = ("opus", "telephone-event")
_DIRECTIONS = ("sendonly", "recvonly", "inactive")


@dataclass(frozen=True, eq=False)
class Rule:
    """One thing that Meta demands.

    Parameters:
        kept: What is so in an SDP that keeps it, in one sentence.
        broken: Meta's words about one that does not.
        holds: Whether an SDP keeps it.
        code: Meta's error code.
        presumes: The rule without which this one means nothing, and must not be asked.
    """

    kept: str
    broken: str | Callable[[Description], str]
    holds: Callable[[Description], bool]
    code: int = INVALID_PARAMETER
    presumes: Rule | None = None


def _strangers(sdp: Description) -> list[str]:
    """Names of codecs that WhatsApp does not know."""
    return [codec.name for codec in sdp.codecs if codec.name not in _CODECS]


def _all_called(name: str, sdp: Description) -> list[tuple[str, ...]]:
    """The clock rate and the channels of each codec of a name."""
    return [codec.parameters for codec in sdp.codecs if codec.name == name]


def _sources(sdp: Description) -> set[str]:
    return {value.split(" ", 1)[0] for value in sdp.values("ssrc")}


_ONE_M_LINE = Rule(
    "There is exactly one m-line.",
    "SDP must have exactly one m-line",
    lambda sdp: len(sdp.media) == 1,
)
_SOME_CODEC = Rule(
    "The m-line has codecs.",
    "The m-line has no codecs",
    lambda sdp: any(sdp.media[0].formats),
    presumes=_ONE_M_LINE,
)
_OPUS = Rule(
    "Opus is among the codecs.",
    "The Opus codec is missing",
    lambda sdp: sdp.codec("opus") is not None,
    presumes=_SOME_CODEC,
)
_SOME_FINGERPRINT = Rule(
    "There is a fingerprint.",
    "No fingerprint found in SDP",
    lambda sdp: bool(sdp.values("fingerprint")),
)
_ONE_FINGERPRINT = Rule(
    "There is no second fingerprint.",
    "SDP must have exactly one fingerprint",
    lambda sdp: len(sdp.values("fingerprint")) == 1,
    code=SDP_VALIDATION,
    presumes=_SOME_FINGERPRINT,
)

OF_BOTH = (
    Rule(
        "Every line ends with CRLF.",
        "SDP lines must end with CRLF",
        lambda sdp: sdp.ends_lines_with_crlf,
    ),
    Rule(
        "It starts with v=0.",
        "SDP must start with v=0",
        lambda sdp: sdp.text.startswith(("v=0\r\n", "v=0\n")),
    ),
    _ONE_M_LINE,
    Rule(
        "The m-line is audio.",
        "The m-line must be audio",
        lambda sdp: sdp.media[0].kind == "audio",
        presumes=_ONE_M_LINE,
    ),
    Rule(
        "The m-line is switched on.",
        "The audio m-line is switched off",
        lambda sdp: sdp.media[0].port not in ("", "0"),
        presumes=_ONE_M_LINE,
    ),
    Rule(
        "The m-line uses UDP/TLS/RTP/SAVPF.",
        "The m-line must use UDP/TLS/RTP/SAVPF",
        lambda sdp: sdp.media[0].protocol == "UDP/TLS/RTP/SAVPF",
        presumes=_ONE_M_LINE,
    ),
    _SOME_CODEC,
    _SOME_FINGERPRINT,
    _ONE_FINGERPRINT,
    Rule(
        "The fingerprint is sha-256.",
        "The fingerprint must be a sha-256 one",
        lambda sdp: _FINGERPRINT.fullmatch(sdp.values("fingerprint")[0]) is not None,
        code=SDP_VALIDATION,
        presumes=_ONE_FINGERPRINT,
    ),
    Rule(
        "The bot does not claim to be ice-lite.",
        "A business must not be ice-lite",
        lambda sdp: not sdp.has("ice-lite"),
    ),
    Rule(
        "There is an ice-ufrag.",
        "SDP needs an ice-ufrag of 4 to 256 characters",
        lambda sdp: re.fullmatch(r"\S{4,256}", sdp.value("ice-ufrag") or "") is not None,
    ),
    Rule(
        "There is an ice-pwd.",
        "SDP needs an ice-pwd of 22 to 256 characters",
        lambda sdp: re.fullmatch(r"\S{22,256}", sdp.value("ice-pwd") or "") is not None,
    ),
    Rule(
        "RTP and RTCP share a port (rtcp-mux).",
        "SDP needs rtcp-mux",
        lambda sdp: sdp.has("rtcp-mux"),
    ),
    Rule(
        "Each payload type says what it is.",
        lambda sdp: f"Payload type {sdp.nameless[0]} has no rtpmap",
        lambda sdp: not sdp.nameless,
        presumes=_SOME_CODEC,
    ),
    _OPUS,
    Rule(
        "Opus is opus/48000/2.",
        "Opus must be opus/48000/2",
        lambda sdp: set(_all_called("opus", sdp)) == {("48000", "2")},
        presumes=_OPUS,
    ),
    Rule(
        "Keys have no other clock than 8000.",
        "telephone-event must have clock 8000",
        lambda sdp: all(
            parameters[:1] == ("8000",) for parameters in _all_called("telephone-event", sdp)
        ),
        presumes=_SOME_CODEC,
    ),
    Rule(
        "Packets have no other length than 20 ms.",
        "ptime must be 20",
        lambda sdp: set(sdp.values("ptime")) <= {"20"},
    ),
    Rule(
        "There is no second SSRC.",
        "SDP must have only one SSRC",
        lambda sdp: len(_sources(sdp)) <= 1,
    ),
    Rule(
        "There is no second audio track.",
        "SDP must have only one audio track",
        lambda sdp: len(sdp.values("msid")) <= 1,
    ),
    Rule(
        "The audio goes both ways (sendrecv).",
        "The audio must be sendrecv",
        lambda sdp: not any(map(sdp.has, _DIRECTIONS)),
    ),
)

_ONE_MID = Rule(
    "There is one mid.",
    "SDP needs one mid",
    lambda sdp: len(sdp.values("mid")) == 1,
)
_SOME_CANDIDATE = Rule(
    "There are candidates.",
    "SDP has no candidates: no more can be added later",
    lambda sdp: bool(sdp.candidates),
)

OF_OFFERS = (
    Rule(
        "The bot may begin DTLS (setup).",
        "setup must be actpass or active",
        lambda sdp: sdp.value("setup") in ("actpass", "active"),
    ),
    _ONE_MID,
    Rule(
        "BUNDLE names nothing but the mid.",
        "BUNDLE must name the mid",
        lambda sdp: sdp.values("group") in ([], [f"BUNDLE {sdp.value('mid')}"]),
        presumes=_ONE_MID,
    ),
    _SOME_CANDIDATE,
    Rule(
        "All candidates are UDP.",
        "All candidates must be UDP",
        lambda sdp: all(candidate.transport == "udp" for candidate in sdp.candidates),
        presumes=_SOME_CANDIDATE,
    ),
)


def of_answers(offer: Description) -> tuple[Rule, ...]:
    """The rules for an answer to this offer, beside those of both."""
    return (
        Rule(
            "It says who begins DTLS (setup).",
            "setup must be active or passive",
            lambda sdp: sdp.value("setup") in ("active", "passive"),
        ),
        Rule(
            "The mid is that of the offer.",
            "mid must be that of the offer",
            lambda sdp: sdp.values("mid") == offer.values("mid"),
        ),
        Rule(
            "BUNDLE is that of the offer.",
            "BUNDLE must be that of the offer",
            lambda sdp: sdp.values("group") == offer.values("group"),
        ),
        Rule(
            "No other codec is answered than was offered.",
            lambda sdp: f"Codec {_strangers(sdp)[0]} was not offered",
            lambda sdp: not _strangers(sdp),
            presumes=_SOME_CODEC,
        ),
    )
