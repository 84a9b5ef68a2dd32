"""What the phone of an evaluated call hears, as `pipecat eval` wants to hear a bot."""

from __future__ import annotations

from collections.abc import Callable

from pipecat_whatsapp.media.level import is_quiet
from pipecat_whatsapp.media.receiver import AudioReceiver
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.sound import RATE

_HANGOVER = 25  # Pieces of silence after sound that are passed on: 0.5 s.


class Ear:
    """Turns the bot's packets into sound: in order, with lost ones concealed, as a phone does.

    A bot's transport gives `pipecat eval` sound only while the bot speaks; so does this.

    Args:
        on_sound: Gets 20 ms of PCM, as `sound` has it.
    """

    def __init__(self, on_sound: Callable[[bytes], None]) -> None:
        self._on_sound = on_sound
        self._silent = _HANGOVER
        self._receiver = AudioReceiver()
        self._receiver.start(RATE, on_audio=self._hear, on_key=lambda _key: None)

    def take(self, packet: RtpPacket) -> None:
        """Take in one packet of the bot's audio."""
        self._receiver.expect(packet.payload_type, None)
        self._receiver.receive(bytes(packet))

    def close(self) -> None:
        """Listen no longer."""
        self._receiver.stop()

    def _hear(self, pcm: bytes) -> None:
        self._silent = self._silent + 1 if is_quiet(pcm) else 0
        if self._silent <= _HANGOVER:
            self._on_sound(pcm)
