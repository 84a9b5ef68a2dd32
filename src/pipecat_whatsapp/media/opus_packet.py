"""What an Opus packet says of itself in its first bytes (RFC 6716, RFC 7587). Pure."""

from __future__ import annotations

RTP_CLOCK_RATE = 48000
"""The clock of Opus in RTP whatever the audio's rate, Hz (RFC 7587 section 4.1)."""

FRAME_TICKS = RTP_CLOCK_RATE // 50
"""RTP clock units in 20 ms."""

MAX_PACKET_TICKS = RTP_CLOCK_RATE * 120 // 1000
"""The longest Opus packet, 120 ms (RFC 6716 section 3.2.5)."""


def packet_ticks(packet: bytes) -> int:
    """How long a packet plays, in RTP clock units (RFC 6716 sections 3.1 and 3.2).

    Raises:
        ValueError: It is not Opus.
    """
    if not packet:
        raise ValueError("an Opus packet has at least one byte")
    config, code = packet[0] >> 3, packet[0] & 0b11
    if code == 0b11 and len(packet) < 2:
        raise ValueError("an Opus packet lacks its frame count")
    frames = packet[1] & 0x3F if code == 0b11 else (1, 2, 2)[code]
    ticks = frames * _frame_ticks(config)
    if not 0 < ticks <= MAX_PACKET_TICKS:
        raise ValueError("an Opus packet says that it lasts longer than 120 ms, or not at all")
    return ticks


def has_fec(packet: bytes) -> bool:
    """Whether a packet holds the one before it a second time (RFC 6716 section 4.2.4).

    Not looked for in packets of many frames (code 3), which are longer than 60 ms.
    """
    if len(packet) < 2 or packet[0] >> 3 >= 16:  # Only SILK, alone or in hybrid, has it.
        return False
    # In code 2 the length of the first frame comes before it (RFC 6716 section 3.2.4).
    start = {0: 1, 1: 1, 2: 3 if packet[1] >= 252 else 2}.get(packet[0] & 0b11)
    if start is None or start >= len(packet):
        return False
    silk_frames = max(1, _frame_ticks(packet[0] >> 3) // FRAME_TICKS)
    return bool(packet[start] >> (7 - silk_frames) & 1)


def _frame_ticks(config: int) -> int:
    if config < 12:  # SILK: 10, 20, 40, 60 ms
        return (480, 960, 1920, 2880)[config & 0b11]
    if config < 16:  # Hybrid: 10, 20 ms
        return (480, 960)[config & 0b1]
    return (120, 240, 480, 960)[config & 0b11]  # CELT: 2.5, 5, 10, 20 ms
