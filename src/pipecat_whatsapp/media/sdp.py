"""Reads Meta's offer, and writes our answer by Meta's rules.

Meta: WhatsApp calling, integration patterns and API reference. An offer is signed by Meta, yet it
is read with limits: nothing that arrives over a network is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipecat_whatsapp.errors import SdpError

MAX_SDP_BYTES = 64 * 1024
MAX_SDP_LINES = 400
MAX_CANDIDATES = 64

MAX_PAYLOAD_TYPE = 127
"""7 bits (RFC 3550 section 5.1)."""

PTIME_MS = 20
"""The one packet duration that WhatsApp takes."""

DTMF_CLOCK_RATE = 8000
"""The one clock at which WhatsApp takes telephone-events."""

_SOURCE = re.compile(r"^a=ssrc:(\d+) cname:(\S+)", re.MULTILINE)
_RTPMAP = re.compile(r"a=rtpmap:(\d{1,3}) ([\w.-]+)/(\d{1,9})(?:/(\d{1,9}))?\Z")
_FMTP = re.compile(r"a=fmtp:(\d{1,3}) (.+)\Z")


@dataclass(frozen=True)
class Offer:
    """What this package needs to know of an offer.

    Parameters:
        sdp: The offer as it came.
        opus_payload_type: Payload type of opus/48000.
        telephone_event_payload_type: Payload type of telephone-event/8000, None without one.
        max_average_bitrate: Opus bit rate that the far end asks for, bit/s; None when it does not.
        max_playback_rate: Highest sample rate that the far end plays, Hz; None when not said.
        use_in_band_fec: Whether the far end makes use of in-band FEC.
    """

    sdp: str = field(repr=False)
    opus_payload_type: int
    telephone_event_payload_type: int | None = None
    max_average_bitrate: int | None = None
    max_playback_rate: int | None = None
    use_in_band_fec: bool = False


def read_offer(sdp: str) -> Offer:
    """Check that an offer can carry a WhatsApp call, and read it.

    Raises:
        SdpError: It cannot; the message says why and what to do.
    """
    lines = _bounded_lines(sdp)
    media = [line for line in lines if line.startswith("m=")]
    if len(media) != 1 or not media[0].startswith("m=audio "):
        raise SdpError(
            f"The offer has {len(media)} media lines where a WhatsApp call has one, for audio; "
            "the call is rejected."
        )
    _require_dtls(lines)
    _require(lines, "a=ice-ufrag:", "ICE user name")
    _require(lines, "a=ice-pwd:", "ICE password")
    payload_types = media[0].split()[3:]
    rtpmaps = {
        (match[2].lower(), int(match[3])): int(match[1])
        for match in map(_RTPMAP.match, lines)
        if match and match[1] in payload_types and int(match[1]) <= MAX_PAYLOAD_TYPE
    }
    opus = rtpmaps.get(("opus", 48000))
    if opus is None:
        raise SdpError("The offer lacks opus/48000, the codec of WhatsApp; the call is rejected.")
    return Offer(
        sdp=sdp,
        opus_payload_type=opus,
        telephone_event_payload_type=rtpmaps.get(("telephone-event", DTMF_CLOCK_RATE)),
        max_average_bitrate=_format_parameter(lines, opus, "maxaveragebitrate"),
        max_playback_rate=_format_parameter(lines, opus, "maxplaybackrate"),
        use_in_band_fec=_format_parameter(lines, opus, "useinbandfec") == 1,
    )


def read_source(sdp: str) -> tuple[int, str]:
    """The SSRC and the name of the one stream that a description announces.

    Raises:
        SdpError: It announces none.
    """
    match = _SOURCE.search(sdp)
    if match is None:
        raise SdpError("The session description names no RTP source.")
    return int(match[1]), match[2]


def write_answer(answer: str, offer: Offer) -> str:
    """Rewrite the answer of a peer connection by Meta's rules.

    One sha-256 fingerprint, CRLF line ends, 20 ms packets, in-band FEC wanted, and the offer's
    telephone-event kept. The string returned is the one for pre-accept and accept alike.
    """
    return "".join(f"{line}\r\n" for line in _answer_lines(answer, offer))


def _answer_lines(answer: str, offer: Offer) -> Iterator[str]:
    dtmf = offer.telephone_event_payload_type
    for line in answer.splitlines():
        if line.startswith("a=fingerprint:") and not line.startswith("a=fingerprint:sha-256 "):
            continue
        if line.startswith("m=audio ") and dtmf is not None:
            line = f"{line} {dtmf}"
        yield line
        if line.startswith(f"a=rtpmap:{offer.opus_payload_type} "):
            yield f"a=fmtp:{offer.opus_payload_type} minptime={PTIME_MS};useinbandfec=1"
            if dtmf is not None:
                yield f"a=rtpmap:{dtmf} telephone-event/{DTMF_CLOCK_RATE}"
            yield f"a=ptime:{PTIME_MS}"
            yield f"a=maxptime:{PTIME_MS}"


def _bounded_lines(sdp: str) -> list[str]:
    if len(sdp) > MAX_SDP_BYTES:
        raise SdpError(
            f"The offer has {len(sdp)} characters, more than {MAX_SDP_BYTES}; the call is rejected."
        )
    lines = sdp.splitlines()
    candidates = sum(line.startswith("a=candidate:") for line in lines)
    if len(lines) > MAX_SDP_LINES or candidates > MAX_CANDIDATES:
        raise SdpError(
            f"The offer has {len(lines)} lines and {candidates} candidates, more than "
            f"{MAX_SDP_LINES} and {MAX_CANDIDATES}; the call is rejected."
        )
    if not lines or lines[0] != "v=0":
        raise SdpError("The offer is not a session description; the call is rejected.")
    return lines


def _require_dtls(lines: list[str]) -> None:
    if any(line.startswith("a=fingerprint:") for line in lines):
        return
    if any(line.startswith("a=crypto:") for line in lines):
        raise SdpError(
            "The offer uses SDES, which WebRTC cannot speak: set the number's "
            "srtp_key_exchange_protocol to DTLS (POST /<phone number id>/settings)."
        )
    raise SdpError("The offer has no DTLS fingerprint, so no media can flow; the call is rejected.")


def _require(lines: list[str], prefix: str, name: str) -> None:
    if not any(line.startswith(prefix) and len(line) > len(prefix) for line in lines):
        raise SdpError(f"The offer has no {name}, so no media can flow; the call is rejected.")


def _format_parameter(lines: list[str], payload_type: int, name: str) -> int | None:
    for match in map(_FMTP.match, lines):
        if match and int(match[1]) == payload_type:
            for parameter in match[2].split(";"):
                key, _, value = parameter.strip().partition("=")
                if key == name and re.fullmatch(r"[0-9]{1,9}", value):
                    return int(value)
    return None
