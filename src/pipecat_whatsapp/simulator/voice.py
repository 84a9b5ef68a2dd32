"""The phone's microphone: a stream of packets of speech, silence and keys."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable

from pipecat_whatsapp.media.dtmf import tone_payloads
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.rtp import RtpStream
from pipecat_whatsapp.simulator.sound import FRAME_BYTES, FRAME_TICKS, OpusEncoder

OPUS_PT = 111
DTMF_PT = 126
PACKET_TIME = 0.02
"""Seconds of sound in one packet."""

_HANGOVER = 10  # Packet times of silence before DTX begins: 200 ms, as libopus has it.
_COMFORT = 20  # Packet times between two packets during DTX: 400 ms, as libopus has it.
_PATIENCE = 0.1  # Seconds until a microphone that sends nothing is taken to be off.
_PAUSE = 5  # Packet times between two keys: RFC 4733 asks for 40 ms, a thumb takes longer.


class Voice:
    """Sends one packet every 20 ms on the monotonic clock: keys first, then speech, else silence.

    A real microphone (`relay`) sets the pace itself, and falls silent when nothing comes from it.

    Silence is real Opus-coded silence. With DTX it is sent for 200 ms, then one packet of it every
    400 ms (RFC 7587 section 3.1.3); speech is whatever has been queued, loud or not. A stalled
    event loop makes the stream late, never denser.

    Parameters:
        stream: Numbering of the outgoing stream.
        send: Sends one RTP packet.
        on_tick: Called after each packet time with their number so far, from 0.
        dtx: Whether nearly nothing is sent while nobody speaks.

    Attributes:
        opus_pt: Payload type of Opus.
        dtmf_pt: Payload type of telephone-events.
        spoken: Frames of speech that have been sent.
        pressed: Packet times of keys, pauses included, that have been sent.
    """

    def __init__(
        self,
        stream: RtpStream,
        *,
        send: Callable[[RtpPacket], None],
        on_tick: Callable[[int], None],
        dtx: bool = False,
    ) -> None:
        self.opus_pt = OPUS_PT
        self.dtmf_pt = DTMF_PT
        self.spoken = 0
        self.pressed = 0
        self._stream = stream
        self._send = send
        self._on_tick = on_tick
        self._dtx = dtx
        self._silent = 0
        self._relayed_at: float | None = None
        self._encoder = OpusEncoder()
        self._speech: deque[bytes] = deque()
        self._keys: deque[tuple[int, list[bytes]]] = deque()

    def say(self, pcm: bytes) -> int:
        """Queue speech.

        Args:
            pcm: 16-bit mono at 16000 Hz.

        Returns:
            What `spoken` will be when all of it has been sent.
        """
        self._speech.extend(pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm), FRAME_BYTES))
        return self.spoken + len(self._speech)

    def press(self, keys: str, ticks: int = 5) -> int:
        """Queue key presses; they interrupt speech.

        Args:
            keys: One or more of `dtmf.KEYS`.
            ticks: Length of each tone, in packet times.

        Returns:
            What `pressed` will be when all of them have been sent.

        Raises:
            ValueError: There is no such key.
        """
        tones = [tone_payloads(key, ticks) for key in keys]
        for tone in tones:
            self._keys.extend(enumerate([*tone, *[[]] * _PAUSE]))
        return self.pressed + len(self._keys)

    def relay(self, packet: bytes, units: int) -> None:
        """Send what a real microphone took up, as it is; what is queued is sent in its place.

        Args:
            packet: An Opus packet.
            units: Time since its packet before this one, RTP timestamp units.
        """
        was_live = self._is_live()
        self._relayed_at = time.monotonic()
        if self._keys or self._speech:
            self._next()
            return
        if was_live:
            self._stream.advance(units - FRAME_TICKS)
        self._send(self._stream.packet(self.opus_pt, packet))
        self._stream.advance(FRAME_TICKS)

    async def run(self) -> None:
        """Send until cancelled."""
        due = time.monotonic()
        for tick in itertools.count():
            if not self._is_live():
                self._next()
            self._on_tick(tick)
            due = max(due + PACKET_TIME, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _is_live(self) -> bool:
        at = self._relayed_at
        return at is not None and time.monotonic() < at + _PATIENCE

    def _next(self) -> None:
        since, events = self._keys.popleft() if self._keys else (0, None)
        self.pressed += events is not None
        if events:
            self._send_events(events, since)
        elif self._speech:
            self._send_speech(self._speech.popleft())
        else:
            self._send_silence()
        self._stream.advance(FRAME_TICKS)

    def _send_events(self, payloads: list[bytes], since: int) -> None:
        """All packets of one event bear the time at which it began (RFC 4733 section 2.2.1)."""
        for payload in payloads:
            packet = self._stream.packet(
                self.dtmf_pt, payload, marker=since == 0, back=since * FRAME_TICKS
            )
            self._send(packet)

    def _send_speech(self, pcm: bytes) -> None:
        # The first packet after DTX is marked (RFC 3551 section 4.1).
        self._send_audio(pcm, marker=self._dtx and self._silent > _HANGOVER)
        self._silent = 0
        self.spoken += 1

    def _send_silence(self) -> None:
        beyond = self._silent - _HANGOVER
        self._silent += 1
        if not self._dtx or beyond < 0 or beyond % _COMFORT == _COMFORT - 1:
            self._send_audio(b"", marker=False)

    def _send_audio(self, pcm: bytes, *, marker: bool) -> None:
        packet = self._encoder.encode(pcm)
        self._send(self._stream.packet(self.opus_pt, packet, marker=marker))
