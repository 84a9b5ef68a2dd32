"""The session descriptions of a call: WhatsApp's offer, written, and the business's answer, read.

Source of the offer's form: real offers of 2025 and 2026, and the samples in Meta's reference.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
import uuid
from dataclasses import dataclass

MAX_ANSWER = 100_000
"""Bytes of answer that are read at most."""


class AnswerError(ValueError):
    """A business's answer cannot carry a call. The message says what is missing."""


@dataclass(frozen=True)
class Answer:
    """What a phone needs of the business's answer.

    Parameters:
        ufrag: ICE user name fragment.
        pwd: ICE password.
        fingerprint: SHA-256 of the certificate, upper-case hexadecimal pairs with colons.
        setup: "active" or "passive": the business is DTLS client or server (RFC 5763 section 5).
        opus_pt: Payload type of Opus.
        dtmf_pt: Payload type of telephone-event/8000; None when it was not answered.
        ssrc: The stream's announced SSRC, if any.
    """

    ufrag: str
    pwd: str
    fingerprint: str
    setup: str
    opus_pt: int
    dtmf_pt: int | None = None
    ssrc: int | None = None


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
    if variant not in _VARIANTS:
        raise ValueError(f"an offer is one of {', '.join(_VARIANTS)}, not {variant!r}")
    text = _VARIANTS[variant].format(
        net=f"IP6 {host}" if ":" in host else f"IP4 {host}",
        host=host,
        port=port,
        ufrag=ufrag,
        pwd=pwd,
        fingerprint=fingerprint,
        ssrc=ssrc,
        opus=opus_pt,
        dtmf=dtmf_pt,
        now=int(time.time() * 1000),
        stream=uuid.uuid4(),
        key=base64.b64encode(secrets.token_bytes(30)).decode(),
    )
    return text.replace("\n", "\r\n")


_HEAD = """\
v=0
o=- {now} 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE audio
a=msid-semantic: WMS {stream}
"""

_TODAY = (
    _HEAD
    + """\
a=ice-lite
m=audio {port} UDP/TLS/RTP/SAVPF {opus} {dtmf}
c=IN {net}
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1000000001 1 udp 2122260223 {host} {port} typ host generation 0 network-cost 50
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=fingerprint:sha-256 {fingerprint}
a=setup:actpass
a=mid:audio
a=sendrecv
a=msid:{stream} WhatsAppTrack1
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=rtcp-fb:{opus} transport-cc
a=fmtp:{opus} maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1
a=rtpmap:{dtmf} telephone-event/8000
a=maxptime:20
a=ptime:20
a=ssrc:{ssrc} cname:WhatsAppAudioStream1
"""  # noqa: E501  One line of SDP is one line.
)

_PRINTED = (
    _HEAD
    + """\
a=ice-lite
m=audio {port} UDP/TLS/RTP/SAVPF {opus} {dtmf}
c=IN {net}
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1000000001 1 udp 2122260223 {host} {port} typ host generation 0 network-cost 50 ufrag {ufrag}
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=fingerprint:sha-256 {fingerprint}
a=setup:actpass
a=mid:audio
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=sendrecv
a=msid:{stream} audio#{ssrc}
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=rtcp-fb:{opus} transport-cc
a=fmtp:{opus} minptime=10;useinbandfec=1
a=rtpmap:{dtmf} telephone-event/8000
a=ssrc:{ssrc} cname:WhatsAppAudioStream1
"""  # noqa: E501
)

_SDES = (
    _HEAD
    + """\
m=audio {port} RTP/SAVP {opus} {dtmf}
c=IN {net}
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}
a=mid:audio
a=sendrecv
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=fmtp:{opus} maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1
a=rtpmap:{dtmf} telephone-event/8000
a=maxptime:20
a=ptime:20
a=ssrc:{ssrc} cname:WhatsAppAudioStream1
"""  # noqa: E501
)

_VARIANTS = {"today": _TODAY, "printed": _PRINTED, "sdes": _SDES}


def read_answer(sdp: str) -> Answer:
    """Read what a phone needs of a business's answer.

    Args:
        sdp: The answer, as the business gave it to pre_accept or accept.

    Raises:
        AnswerError: It is not an answer that can carry a call; the message says why.
    """
    if len(sdp) > MAX_ANSWER:
        raise AnswerError("the answer is too long")
    setup = _line(sdp, r"setup:(\S+)")
    if setup not in ("active", "passive"):
        raise AnswerError(f"an answer's a=setup is active or passive, not {setup}")
    dtmf, ssrc = _find(sdp, _rtpmap("telephone-event/8000")), _find(sdp, r"ssrc:(\d+)\b.*")
    return Answer(
        ufrag=_line(sdp, r"ice-ufrag:(\S+)"),
        pwd=_line(sdp, r"ice-pwd:(\S+)"),
        fingerprint=_line(sdp, r"fingerprint:sha-256 ((?:[0-9a-f]{2}:){31}[0-9a-f]{2})").upper(),
        setup=setup,
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
        raise AnswerError(f"the answer has no a={pattern.split(':')[0]} that WhatsApp can use")
    return found
