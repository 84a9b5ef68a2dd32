"""Tells a voice from silence and comfort noise, in a stream that nobody listens to yet."""

from __future__ import annotations

from collections.abc import Callable

from pipecat_whatsapp.media.level import level
from pipecat_whatsapp.media.opus import create_decoder
from pipecat_whatsapp.media.rtp import RtpPacket

LOUD = -40.0
"""Level above which a packet may be a voice, dBFS. Speech lies around -25, comfort noise below -50.
"""

LASTING = 0.2
"""Seconds for which it must be loud, less a quarter of the quiet between: a word, not a click."""

_RATE = 8000


class VoiceDetector:
    """Listens to a stream until it hears a voice.

    Args:
        on_voice: Told, once, that there is one.
    """

    def __init__(self, on_voice: Callable[[], None]) -> None:
        self._on_voice = on_voice
        self._decoder = create_decoder(_RATE)
        self._payload_types: set[int] = set()
        self._loud = 0.0

    def expect(self, opus: int) -> None:
        """Listen to packets of this payload type, too."""
        self._payload_types.add(opus)

    def receive(self, datagram: bytes) -> None:
        """Take a decrypted RTP packet; anything else is dropped."""
        if self._loud >= LASTING:
            return
        try:
            packet = RtpPacket.parse(datagram)
            if packet.payload_type not in self._payload_types:
                return
            pcm = self._decoder.decode(packet.payload)
        except ValueError:
            return
        seconds = len(pcm) / 2 / _RATE
        # Between two syllables it is quiet, too.
        self._loud = max(self._loud + (seconds if level(pcm) > LOUD else -seconds / 4), 0.0)
        if self._loud >= LASTING:
            self._on_voice()
