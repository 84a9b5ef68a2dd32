"""Reads Meta's session descriptions, and writes ours by Meta's rules.

Meta: WhatsApp calling, integration patterns and API reference. What Meta sends is signed, yet it is
read with limits: nothing that arrives over a network is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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

DTMF_PAYLOAD_TYPE = 126
"""What WhatsApp sends telephone-events as, offered or not."""

_SOURCE = re.compile(r"^a=ssrc:(\d+) cname:(\S+)", re.MULTILINE)
_RTPMAP = re.compile(r"a=rtpmap:(\d{1,3}) ([\w.-]+)/(\d{1,9})(?:/(\d{1,9}))?\Z")
_FMTP = re.compile(r"a=fmtp:(\d{1,3}) (.+)\Z")
_ROLES = ({"a=setup:active"}, {"a=setup:passive"})


@dataclass(frozen=True)
class RemoteDescription:
    """What this package needs to know of the far end's offer or answer.

    Parameters:
        sdp: The description, for aiortc.
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


def read_offer(sdp: str) -> RemoteDescription:
    """Check that an offer can carry a WhatsApp call, and read it.

    Raises:
        SdpError: It cannot; the message says why and what to do.
    """
    return _read(sdp, "offer")


def read_answer(sdp: str) -> RemoteDescription:
    """Check that an answer can carry a WhatsApp call, and read it.

    `actpass`, which no answer may say but Meta has said, becomes `passive`: DTLS begins with us, as
    Meta's media page wants it (RFC 5763 section 5).

    Raises:
        SdpError: It cannot; the message says why.
    """
    lines = ["a=setup:passive" if line == "a=setup:actpass" else line for line in sdp.splitlines()]
    answer = _read(_join(lines), "answer")
    if {line for line in lines if line.startswith("a=setup:")} not in _ROLES:
        raise SdpError(
            "The answer does not say who begins DTLS (a=setup:active or passive); "
            "the call cannot take place."
        )
    return answer


def read_source(sdp: str) -> tuple[int, str]:
    """The SSRC and the name of the one stream that a description announces.

    Raises:
        SdpError: It announces none.
    """
    match = _SOURCE.search(sdp)
    if match is None:
        raise SdpError("The session description names no RTP source.")
    return int(match[1]), match[2]


def read_payload_types(sdp: str) -> tuple[int, int | None]:
    """The payload types of Opus and, where there is one, of telephone-event.

    Raises:
        SdpError: There is no Opus.
    """
    return _payload_types(sdp.splitlines(), "session description")


def write_answer(answer: str, offer: RemoteDescription) -> str:
    """Rewrite the answer of a peer connection by Meta's rules.

    One sha-256 fingerprint, CRLF line ends, 20 ms packets, in-band FEC wanted, and the offer's
    telephone-event kept. The string returned is the one for pre-accept and accept alike.
    """
    return _join(
        _by_metas_rules(
            answer.splitlines(), offer.opus_payload_type, offer.telephone_event_payload_type
        )
    )


def write_offer(offer: str) -> str:
    """Rewrite the offer of a peer connection, which has Opus only, by Meta's rules.

    As `write_answer` does; and without the header extensions that Meta no longer offers either.
    """
    lines = [line for line in offer.splitlines() if not line.startswith("a=extmap:")]
    opus, _ = _payload_types(lines, "offer")
    return _join(_by_metas_rules(lines, opus, DTMF_PAYLOAD_TYPE))


def _by_metas_rules(lines: Iterable[str], opus: int, dtmf: int | None) -> Iterator[str]:
    for line in lines:
        if line.startswith("a=fingerprint:") and not line.startswith("a=fingerprint:sha-256 "):
            continue
        if line.startswith("m=audio ") and dtmf is not None:
            line = f"{line} {dtmf}"
        yield line
        if line.startswith(f"a=rtpmap:{opus} "):
            yield f"a=fmtp:{opus} minptime={PTIME_MS};useinbandfec=1"
            if dtmf is not None:
                yield f"a=rtpmap:{dtmf} telephone-event/{DTMF_CLOCK_RATE}"
            yield f"a=ptime:{PTIME_MS}"
            yield f"a=maxptime:{PTIME_MS}"


def _join(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def _read(sdp: str, kind: str) -> RemoteDescription:
    lines = _bounded_lines(sdp, kind)
    media = [line for line in lines if line.startswith("m=")]
    if len(media) != 1 or not media[0].startswith("m=audio "):
        raise SdpError(
            f"The {kind} has {len(media)} media lines where a WhatsApp call has one, for audio; "
            "the call cannot take place."
        )
    _require_dtls(lines, kind)
    _require(lines, "a=ice-ufrag:", kind, "ICE user name")
    _require(lines, "a=ice-pwd:", kind, "ICE password")
    opus, dtmf = _payload_types(lines, kind)
    return RemoteDescription(
        sdp=sdp,
        opus_payload_type=opus,
        telephone_event_payload_type=dtmf,
        max_average_bitrate=_format_parameter(lines, opus, "maxaveragebitrate"),
        max_playback_rate=_format_parameter(lines, opus, "maxplaybackrate"),
        use_in_band_fec=_format_parameter(lines, opus, "useinbandfec") == 1,
    )


def _bounded_lines(sdp: str, kind: str) -> list[str]:
    if len(sdp) > MAX_SDP_BYTES:
        raise SdpError(
            f"The {kind} has more than {MAX_SDP_BYTES} characters; the call cannot take place."
        )
    lines = sdp.splitlines()
    candidates = sum(line.startswith("a=candidate:") for line in lines)
    if len(lines) > MAX_SDP_LINES or candidates > MAX_CANDIDATES:
        raise SdpError(
            f"The {kind} has {len(lines)} lines and {candidates} candidates, and {MAX_SDP_LINES} "
            f"and {MAX_CANDIDATES} are the most; the call cannot take place."
        )
    if not lines or lines[0] != "v=0":
        raise SdpError(f"The {kind} is not a session description; the call cannot take place.")
    return lines


def _require_dtls(lines: list[str], kind: str) -> None:
    if any(line.startswith("a=fingerprint:") for line in lines):
        return
    if any(line.startswith("a=crypto:") for line in lines):
        raise SdpError(
            f"The {kind} uses SDES, which WebRTC cannot speak: `pipecat-whatsapp settings set "
            "srtp_key_exchange_protocol=DTLS` cures that."
        )
    raise SdpError(
        f"The {kind} has no DTLS fingerprint, so no media can flow; the call cannot take place."
    )


def _require(lines: list[str], prefix: str, kind: str, name: str) -> None:
    if not any(line.startswith(prefix) and len(line) > len(prefix) for line in lines):
        raise SdpError(
            f"The {kind} has no {name}, so no media can flow; the call cannot take place."
        )


def _payload_types(lines: list[str], kind: str) -> tuple[int, int | None]:
    listed = next((line.split()[3:] for line in lines if line.startswith("m=audio ")), [])
    # Of two that say the same, aiortc takes the first.
    codecs = {
        (match[2].lower(), int(match[3])): int(match[1])
        for match in map(_RTPMAP.match, reversed(lines))
        if match and match[1] in listed and int(match[1]) <= MAX_PAYLOAD_TYPE
    }
    opus = codecs.get(("opus", 48000))
    if opus is None:
        raise SdpError(
            f"The {kind} lacks opus/48000, the codec of WhatsApp; the call cannot take place."
        )
    return opus, codecs.get(("telephone-event", DTMF_CLOCK_RATE))


def _format_parameter(lines: list[str], payload_type: int, name: str) -> int | None:
    for match in map(_FMTP.match, lines):
        if match and int(match[1]) == payload_type:
            for parameter in match[2].split(";"):
                key, _, value = parameter.strip().partition("=")
                if key == name and re.fullmatch(r"[0-9]{1,9}", value):
                    return int(value)
    return None
