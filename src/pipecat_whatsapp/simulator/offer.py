"""The session descriptions of a call: WhatsApp's are written, the business's are read.

Source of the form of WhatsApp's: real offers of 2025 and 2026, and the samples in Meta's reference.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import TypedDict

from pipecat_whatsapp.simulator.sdp_forms import ANSWER, OFFERS

MAX_SDP = 100_000
"""Characters of a business's SDP that are read at most."""

_CODECS = ("opus", "g722", "pcmu", "pcma", "telephone-event")


class AnswerError(ValueError):
    """A business's SDP cannot carry a call. The message says what is missing."""


@dataclass(frozen=True)
class Answer:
    """What a phone needs of the business's answer, or offer.

    Parameters:
        ufrag: ICE user name fragment.
        pwd: ICE password.
        fingerprint: SHA-256 of the certificate, upper-case hexadecimal pairs with colons.
        setup: "active" or "passive": the business is DTLS client or server (RFC 5763 section 5);
            an offer may leave it open with "actpass".
        opus_pt: Payload type of Opus.
        dtmf_pt: Payload type of telephone-event/8000; None when there is none.
        ssrc: The stream's announced SSRC, if any.
    """

    ufrag: str
    pwd: str
    fingerprint: str
    setup: str
    opus_pt: int
    dtmf_pt: int | None = None
    ssrc: int | None = None


class Place(TypedDict):
    """Where a relay is reached, as `write_offer` and `write_answer` take it."""

    host: str
    port: int
    ufrag: str
    pwd: str
    fingerprint: str


def ice_credentials() -> tuple[str, str]:
    """Make an ICE user name fragment and a password as WhatsApp's: base64 with `+`, `/`, `=`."""
    word = secrets.token_hex(16)
    return secrets.token_hex(8), f"{word[:16]}+{word[16:]}/=="


def write_offer(
    *,
    host: str,
    port: int,
    ufrag: str,
    pwd: str,
    fingerprint: str,
    ssrc: int,
    opus_pt: int = 111,
    dtmf_pt: int = 126,
    variant: str = "today",
) -> str:
    """Write the offer of a WhatsApp call.

    Args:
        host: Address of the relay, IPv4 or IPv6.
        port: UDP port of the relay.
        ufrag: ICE user name fragment.
        pwd: ICE password.
        fingerprint: SHA-256 of the relay's certificate, hexadecimal pairs with colons.
        ssrc: The phone's SSRC.
        opus_pt: Payload type of Opus.
        dtmf_pt: Payload type of telephone-event.
        variant: "today" as Meta sends now; "printed" as Meta's older samples, with header
            extensions; "sdes" as a number set to SDES gets it, without fingerprint and ICE.

    Raises:
        ValueError: There is no such variant.
    """
    if variant not in OFFERS:
        raise ValueError(f"an offer is one of {', '.join(OFFERS)}, not {variant!r}")
    return _fill(
        OFFERS[variant],
        host=host,
        port=port,
        ufrag=ufrag,
        pwd=pwd,
        fingerprint=fingerprint,
        ssrc=ssrc,
        opus=opus_pt,
        dtmf=dtmf_pt,
        key=base64.b64encode(secrets.token_bytes(30)).decode(),
    )


def write_answer(
    offer_sdp: str,
    *,
    host: str,
    port: int,
    ufrag: str,
    pwd: str,
    fingerprint: str,
    ssrc: int,
    setup: str = "active",
) -> str:
    """Write WhatsApp's answer to a business that calls.

    It takes over mid, bundle and payload types; codecs that WhatsApp does not know are left out.

    Args:
        offer_sdp: The business's offer.
        host: Address of the relay, IPv4 or IPv6.
        port: UDP port of the relay.
        ufrag: ICE user name fragment.
        pwd: ICE password.
        fingerprint: SHA-256 of the relay's certificate, hexadecimal pairs with colons.
        ssrc: The phone's SSRC.
        setup: "active" or "passive": the relay is DTLS client or server; Meta was also seen to
            answer "actpass", which no answer may (RFC 5763 section 5).

    Raises:
        AnswerError: The offer cannot carry a call.
    """
    formats, rtpmaps = _codecs(offer_sdp)
    return _fill(
        ANSWER,
        host=host,
        port=port,
        ufrag=ufrag,
        pwd=pwd,
        fingerprint=fingerprint,
        ssrc=ssrc,
        setup=setup,
        mid=_line(offer_sdp, r"mid:(\S+)"),
        formats=formats,
        rtpmaps=rtpmaps,
        opus=read_offer(offer_sdp).opus_pt,
    )


def _codecs(offer_sdp: str) -> tuple[str, str]:
    """The payload types of an offer that WhatsApp answers, and the lines that say what they are."""
    media = re.search(r"^m=audio \d+ \S+ ([\d ]+)\r?$", offer_sdp, re.MULTILINE)
    types = media[1].split() if media else []
    named = {kind: _find(offer_sdp, rf"rtpmap:{kind} (\S+)") for kind in types}
    known = [kind for kind in types if (named[kind] or "").split("/")[0].lower() in _CODECS]
    return " ".join(known), "\n".join(f"a=rtpmap:{kind} {named[kind]}" for kind in known)


def _fill(template: str, *, host: str, **values: object) -> str:
    text = template.format(
        net=f"IP6 {host}" if ":" in host else f"IP4 {host}",
        host=host,
        now=int(time.time() * 1000),
        stream=uuid.uuid4(),
        **values,
    )
    return text.replace("\n", "\r\n")


def read_answer(sdp: str) -> Answer:
    """Read what a phone needs of a business's answer.

    Args:
        sdp: The answer, as the business gave it to pre_accept or accept.

    Raises:
        AnswerError: It is not an answer that can carry a call; the message says why.
    """
    answer = _read(sdp)
    if answer.setup not in ("active", "passive"):
        raise AnswerError(f"an answer's a=setup is active or passive, not {answer.setup}")
    return answer


def read_offer(sdp: str) -> Answer:
    """Read what a phone needs of a business's offer.

    Args:
        sdp: The offer, as the business gave it to connect.

    Raises:
        AnswerError: It is not an offer that can carry a call; the message says why.
    """
    return _read(sdp)


def _read(sdp: str) -> Answer:
    if len(sdp) > MAX_SDP:
        raise AnswerError("the SDP is too long")
    dtmf, ssrc = _find(sdp, _rtpmap("telephone-event/8000")), _find(sdp, r"ssrc:(\d+)\b.*")
    return Answer(
        ufrag=_line(sdp, r"ice-ufrag:(\S+)"),
        pwd=_line(sdp, r"ice-pwd:(\S+)"),
        fingerprint=_line(sdp, r"fingerprint:sha-256 ((?:[0-9a-f]{2}:){31}[0-9a-f]{2})").upper(),
        setup=_line(sdp, r"setup:(\S+)"),
        opus_pt=int(_line(sdp, _rtpmap("opus/48000/2"))),
        dtmf_pt=int(dtmf) if dtmf else None,
        ssrc=int(ssrc) & 0xFFFFFFFF if ssrc else None,
    )


def _rtpmap(codec: str) -> str:
    return rf"rtpmap:(\d\d?|1[01]\d|12[0-7]) {codec}"


def _find(sdp: str, pattern: str) -> str | None:
    found = re.search(rf"^a={pattern}[ \t]*\r?$", sdp, re.MULTILINE | re.IGNORECASE)
    return found.group(1) if found else None


def _line(sdp: str, pattern: str) -> str:
    found = _find(sdp, pattern)
    if found is None:
        raise AnswerError(f"the SDP has no a={pattern.split(':')[0]} that WhatsApp can use")
    return found
