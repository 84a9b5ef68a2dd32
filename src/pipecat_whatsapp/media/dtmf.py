"""Telephone keys in RTP: named events, both ways, no I/O.

Source: RFC 4733. WhatsApp sends them as telephone-event/8000 within the audio stream, on its
sequence numbers and its 48000 Hz timestamps, while their durations count in 8000 Hz units
(Meta: DTMF).
"""

from __future__ import annotations

import struct
from collections import deque

from pipecat_whatsapp.media.rtp import RtpPacket

KEYS = "0123456789*#ABCD"
"""The keys of a telephone, at the index that is their event code (RFC 4733 section 3.2)."""

_TICK = 160  # 20 ms in 8000 Hz units.
_LONGEST = 0xFFFF  # 8.2 s in 8000 Hz units.
_SEGMENT = _LONGEST * 48_000 // 8_000  # The same in timestamp units.
_REMEMBERED = 64


class KeyReceiver:
    """Turns telephone-event packets into keys, each press once, whatever is lost or repeated.

    All packets of a press bear the timestamp of its beginning (RFC 4733 section 2.2.1), so that
    the first of them to arrive tells the key, and the rest, late ones included, tell nothing.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)

    def receive(self, packet: RtpPacket) -> str | None:
        """Take in one packet of the telephone-event payload type.

        Args:
            packet: The packet; the first event counts when it holds several.

        Returns:
            One of `KEYS` when the packet is the first seen of a press, else None.
        """
        code = packet.payload[0] if len(packet.payload) >= 4 else len(KEYS)
        if code >= len(KEYS):
            return None
        press = (packet.timestamp, code)
        if press in self._seen:
            return None
        # A press beyond the longest duration goes on as a new segment, exactly where the one
        # before it ended and without the marker bit (RFC 4733 section 2.5.1.3).
        before = ((packet.timestamp - _SEGMENT) & 0xFFFFFFFF, code)
        goes_on = before in self._seen and not packet.marker
        self._seen.append(press)
        return None if goes_on else KEYS[code]


def event_payload(key: str, duration: int, *, end: bool = False, volume: int = 10) -> bytes:
    """Pack one telephone-event payload (RFC 4733 section 2.3).

    Args:
        key: One of `KEYS`, in either case.
        duration: Time since the event began, in 8000 Hz units, 16 bits.
        end: Whether the key has been released.
        volume: Level below full scale, dB, 0 to 63.

    Raises:
        ValueError: There is no such key.
    """
    code = KEYS.find(key.upper()) if len(key) == 1 else -1
    if code < 0:
        raise ValueError(f"a telephone has no key {key!r}, only {KEYS}")
    return struct.pack("!BBH", code, (0x80 if end else 0) | volume, duration)


def tone_payloads(key: str, ticks: int = 5) -> list[list[bytes]]:
    """The packets of one key press, by packet time of 20 ms.

    All of them bear the timestamp of the first packet time, and the first one the marker bit
    (RFC 4733 section 2.5.1.2).

    Args:
        key: One of `KEYS`.
        ticks: Length of the tone, in 20 ms, 1 to 409.

    Returns:
        One payload for each packet time; for the last one the end, three times
        (RFC 4733 section 2.5.1.4).

    Raises:
        ValueError: There is no such key, or the tone has no length that one event can hold.
    """
    if not 1 <= ticks <= _LONGEST // _TICK:
        raise ValueError(f"a tone lasts 1 to {_LONGEST // _TICK} packet times, not {ticks}")
    payloads = [[event_payload(key, _TICK * tick)] for tick in range(1, ticks)]
    return [*payloads, [event_payload(key, _TICK * ticks, end=True)] * 3]
