"""The browser's leg of a call: WebRTC between the page and the simulator, on this machine.

The simulator is ICE-lite here too, and offers Opus as WhatsApp does, so that the browser encodes
what the bot can be given as it is. Nothing is transcoded.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Self

from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.offer import read_answer
from pipecat_whatsapp.simulator.sound import FRAME_TICKS
from pipecat_whatsapp.simulator.voice import OPUS_PT

_LONGEST_PAUSE = 250 * FRAME_TICKS  # After 5 s a microphone begins anew.


class BrowserLeg:
    """A connection to the page for the sound of one call. Make one with `open`.

    Attributes:
        on_opus: Called with each Opus packet of the microphone, and the time since the one before,
            RTP timestamp units.
    """

    def __init__(self, endpoint: LiteEndpoint) -> None:
        self.on_opus: Callable[[bytes, int], None] = lambda _packet, _units: None
        self._endpoint = endpoint
        self._ssrc = secrets.randbits(32)
        self._played: int | None = None
        self._opus_pt = OPUS_PT
        self._timestamp: int | None = None
        endpoint.on_rtp = self._on_rtp

    @classmethod
    async def open(cls, host: str) -> Self:
        """Open one end.

        Args:
            host: The address at which the browser reaches this machine.

        Raises:
            OSError: The address cannot be bound.
        """
        return cls(await LiteEndpoint.open(host))

    @property
    def offer(self) -> str:
        """What the page has to answer."""
        return self._endpoint.offer(self._ssrc)

    @property
    def connected(self) -> bool:
        """Whether sound can flow."""
        return self._endpoint.connected

    def start(self, answer_sdp: str) -> None:
        """Connect, now that the page has answered.

        Raises:
            AnswerError: The answer cannot carry a call.
        """
        answer = read_answer(answer_sdp)
        self._opus_pt = answer.opus_pt
        self._endpoint.start(answer)

    def play(self, packet: RtpPacket) -> None:
        """Let the page hear a packet of the bot's.

        Only the first SSRC is heard: another one breaks the sound on WhatsApp (Meta: media).
        """
        if self._played in (None, packet.ssrc):
            self._played = packet.ssrc
            heard = replace(packet, ssrc=self._ssrc, payload_type=self._opus_pt)
            self._endpoint.send_rtp(bytes(heard))

    async def close(self) -> None:
        """Say goodbye to the page."""
        await self._endpoint.close()

    def _on_rtp(self, data: bytes, _arrival: float) -> None:
        with suppress(ValueError):
            packet = RtpPacket.parse(data)
            if packet.payload_type == self._opus_pt and packet.payload:
                self.on_opus(packet.payload, self._units_since(packet.timestamp))

    def _units_since(self, timestamp: int) -> int:
        """Time since the packet before; that of one packet where the clock jumped."""
        before, self._timestamp = self._timestamp, timestamp
        units = FRAME_TICKS if before is None else (timestamp - before) & 0xFFFFFFFF
        return units if 0 < units <= _LONGEST_PAUSE else FRAME_TICKS
