"""What is allowed in a bot's SDP, but should be known or done otherwise.

Source: Meta, WhatsApp calling, media rules and FAQ; real offers of 2025 and 2026; the field.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from pipecat_whatsapp.media.sdp import DTMF_CLOCK_RATE, DTMF_PAYLOAD_TYPE, PTIME_MS
from pipecat_whatsapp.simulator.description import Description

_KEYS = "telephone-event"
_CODECS = ("opus", _KEYS)
_PCM = ("pcma", "pcmu")
_OPUS_FORMAT = {"maxaveragebitrate": "20000", "maxplaybackrate": "16000"}
"""What WhatsApp says of its own Opus."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Look = Callable[[Description, Description | None], Iterator[str]]
"""Looks at a bot's SDP, and at the offer that it answers; None when it is itself an offer."""


def notes(sdp: Description, offer: Description | None) -> list[str]:
    """All that there is to say of an SDP that has one m-line; of another nothing.

    Args:
        sdp: The bot's SDP.
        offer: The offer that it answers; None when it is itself an offer.

    Returns:
        One sentence each.
    """
    looks = _LOOKS if len(sdp.media) == 1 else ()
    return [note for look in looks for note in look(sdp, offer)]


def _sdes(sdp: Description, offer: Description | None) -> Iterator[str]:
    if offer is not None and offer.values("crypto"):
        yield (
            "The offer is for SDES, which WebRTC does not speak: `pipecat-whatsapp settings set "
            "srtp_key_exchange_protocol=DTLS` cures that."
        )
    if sdp.values("crypto"):
        yield (
            "It has keys for SDES (a=crypto), which WhatsApp uses only with numbers that are set "
            "to it: leave them out, and let DTLS agree on keys."
        )


def _codecs(sdp: Description, offer: Description | None) -> Iterator[str]:
    if offer is not None:
        return
    extra = dict.fromkeys(codec.name for codec in sdp.codecs if codec.name not in _CODECS)
    unsupported = [name for name in extra if name not in _PCM]
    if unsupported:
        yield (
            f"WhatsApp has no use for {', '.join(unsupported)}, which does no harm: "
            f"offering opus and {_KEYS} is enough."
        )
    if len(extra) > len(unsupported):
        yield (
            "WhatsApp takes PCMA and PCMU only when the number's settings list them in "
            "audio.additional_codecs: opus is enough, and what WhatsApp speaks itself."
        )


def _payload_types(sdp: Description, offer: Description | None) -> Iterator[str]:
    if offer is None:
        return
    for name in _CODECS:
        ours, theirs = sdp.codec(name), offer.codec(name)
        if ours and theirs and ours.payload_type != theirs.payload_type:
            yield (
                f"It gives {name} payload type {ours.payload_type}, where the offer has "
                f"{theirs.payload_type}: keep that of the offer."
            )


def _keys(sdp: Description, offer: Description | None) -> Iterator[str]:
    if sdp.codec(_KEYS) is not None:
        return
    if offer is None:
        yield (
            f"It offers no {_KEYS}, but WhatsApp sends keys all the same, as payload type "
            f"{DTMF_PAYLOAD_TYPE} with clock {DTMF_CLOCK_RATE}: offer it, or be ready for it."
        )
    elif offer.codec(_KEYS) is not None:
        yield (
            f"It leaves out the offer's {_KEYS}, so the bot may hear no keys: answer it too, "
            f"with clock {DTMF_CLOCK_RATE}."
        )


def _packet_length(sdp: Description, _: Description | None) -> Iterator[str]:
    only = f"WhatsApp takes packets of {PTIME_MS} ms only"
    for name in ("ptime", "maxptime"):
        if sdp.value(name) is None:
            yield f"It has no a={name}: {only}, so better say a={name}:{PTIME_MS}."
    for value in sdp.values("maxptime"):
        if value != str(PTIME_MS):
            yield f"It has a=maxptime:{value}: {only}, so say a=maxptime:{PTIME_MS}."


def _opus(sdp: Description, _: Description | None) -> Iterator[str]:
    opus = sdp.codec("opus")
    if opus is None:
        return
    asked = sdp.format_of(opus)
    if asked.get("useinbandfec") != "1":
        yield (
            "It does not ask for in-band FEC, of which WhatsApp's Opus is capable: add "
            "useinbandfec=1 to a=fmtp of Opus, to repair lost packets."
        )
    for name, theirs in _OPUS_FORMAT.items():
        value = asked.get(name, theirs)
        if value != theirs:
            yield (
                f"It has {name}={value}, where WhatsApp's Opus has {theirs}: "
                "leave it out, or say the same."
            )
    if asked.get("usedtx") == "1":
        yield (
            "It has usedtx=1, but WhatsApp gives up a call after 30 s without a packet from the "
            "bot: switch DTX off, or see to it that packets flow in silence."
        )


def _role(sdp: Description, offer: Description | None) -> Iterator[str]:
    if offer is not None and sdp.value("setup") == "passive":
        yield "It has Meta begin DTLS, which Meta wants from the bot: answer a=setup:active."


def _extensions(sdp: Description, offer: Description | None) -> Iterator[str]:
    if sdp.values("extmap") and not (offer and offer.values("extmap")):
        yield (
            "It has header extensions (a=extmap), but today's offers of WhatsApp have none: "
            "leave them out, and do not count on them."
        )


def _trickling(sdp: Description, _: Description | None) -> Iterator[str]:
    if any("trickle" in value.split() for value in sdp.values("ice-options")):
        yield (
            "It announces trickle ICE, but nothing can be added to an SDP that WhatsApp has: "
            "send it when all candidates are gathered."
        )


def _candidates(sdp: Description, offer: Description | None) -> Iterator[str]:
    candidates = sdp.candidates
    if offer is not None and not candidates:
        yield (
            "It has no candidates, which is fine in an answer: the bot's own checks tell WhatsApp "
            "where it is, so they must come."
        )
    if offer is not None and any(candidate.transport != "udp" for candidate in candidates):
        yield "It has candidates that are not UDP, all that WhatsApp uses: leave them out."
    kinds = {candidate.kind for candidate in candidates}
    if "srflx" in kinds:
        yield (
            "It has a candidate from a STUN server, which WhatsApp does not need, because the bot "
            "begins the checks: without one, the SDP is ready earlier."
        )
    if "relay" in kinds:
        yield (
            "It has a candidate from a TURN server, needed only where UDP to Meta is blocked: "
            "Meta's relays are public, so elsewhere leave it out."
        )


def _addresses(sdp: Description, _: Description | None) -> Iterator[str]:
    addresses = [
        address
        for candidate in sdp.candidates
        if candidate.transport == "udp" and (address := _address(candidate.address))
    ]
    if not addresses:
        return
    if all(address.is_loopback for address in addresses):
        yield (
            "All its addresses are those of this machine to itself, which is fine for a "
            "simulation: from them, nothing gets to the real WhatsApp, so open others there."
        )
    elif not any(address.is_global for address in addresses):
        yield (
            "All its addresses are private, which is fine behind NAT too, because the bot begins "
            "the checks: the call fails only where UDP to Meta does not get out."
        )
    if all(address.version == 6 for address in addresses):
        yield (
            "All its addresses are IPv6, so no call works where IPv6 to Meta is broken: "
            "offer IPv4 too."
        )


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


_LOOKS: tuple[_Look, ...] = (
    _sdes,
    _codecs,
    _payload_types,
    _keys,
    _packet_length,
    _opus,
    _role,
    _extensions,
    _trickling,
    _candidates,
    _addresses,
)
