"""Audio out: encode, pace; key presses in the same stream.

WhatsApp wants one stream of 20 ms Opus packets that never stops, mono, at about 20 kbit/s. aiortc
sends an encoded packet that a track gives it as it is, so the encoder here replaces aiortc's, which
is fixed at 96 kbit/s stereo.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamError, MediaStreamTrack

from pipecat_whatsapp.media.dtmf import tone_payloads
from pipecat_whatsapp.media.effort import EffortControl
from pipecat_whatsapp.media.level import is_quiet
from pipecat_whatsapp.media.opus import DEFAULT_BITRATE, DEFAULT_COMPLEXITY, Encoder
from pipecat_whatsapp.media.opus_packet import RTP_CLOCK_RATE
from pipecat_whatsapp.media.pacer import Pacer
from pipecat_whatsapp.media.rate import RateControl
from pipecat_whatsapp.media.sdp import RemoteDescription

MAX_DTX_BYTES = 2
"""Packets of this size say that there is nothing to say, and need not be sent (libopus)."""

PAUSE_SLOTS = 5
"""Between two keys, 100 ms: RFC 4733 section 2.6.1 asks for 40 ms, switches may want more."""

MIN_FEC_COMPLEXITY = 2
"""Below it libopus adds no FEC to a 20 kbit/s stream."""

_TIME_BASE = Fraction(1, RTP_CLOCK_RATE)


@dataclass(frozen=True)
class _Event:
    """One telephone-event packet.

    Parameters:
        payload: Its payload.
        starts: Whether the press begins with it: it gets the marker bit, and its timestamp is
            that of all packets of the press.
        repeats: Whether it only says again what the one before it said, and follows at once.
    """

    payload: bytes
    starts: bool
    repeats: bool


class AudioSender(MediaStreamTrack):
    """The track that carries a bot's voice.

    Silence is sent whenever nothing is written, so that packets never stop. The first packet is
    due as soon as it is asked for.

    Args:
        encoder: Codes 20 ms of what is written.
        sample_rate: Rate of the audio written, Hz.
        rate: Chooses the encoder's bit rate and FEC.
        max_complexity: What the encoder starts with and never exceeds, 0 (cheap) to 10 (best).
        dtx: Whether packets that say nothing are left out.

    Attributes:
        first_audio: When the first audio that was written went out, seconds of the loop's clock.
    """

    kind = "audio"

    def __init__(
        self,
        encoder: Encoder,
        sample_rate: int,
        *,
        rate: RateControl | None = None,
        max_complexity: int = DEFAULT_COMPLEXITY,
        dtx: bool = False,
    ) -> None:
        super().__init__()
        self.first_audio: float | None = None
        self._encoder = encoder
        self._rate = rate or RateControl(DEFAULT_BITRATE)
        self._effort = EffortControl(max_complexity)
        self._frame_bytes = sample_rate // 50 * 2
        self._dtx = dtx
        self._key_type: int | None = None
        self._event_timestamp = 0
        self._running_loop = asyncio.get_running_loop()
        self._pacer = Pacer()
        self._buffer = bytearray()
        self._keys: deque[_Event | None] = deque()
        self._is_audio = True
        self._marker = False
        self._paused = False
        self._last_sequence: int | None = None
        self._sent = asyncio.Event()
        self._sleep: asyncio.Future[None] | None = None

    @property
    def sends_keys(self) -> bool:
        """Whether keys can be pressed."""
        return self._key_type is not None

    def agree(self, remote: RemoteDescription, *, with_keys: bool) -> None:
        """Keep to what the far end has asked for.

        Args:
            remote: Its offer or answer.
            with_keys: Whether `stamp` is applied, without which no key leaves.
        """
        self._rate.agree(remote.max_average_bitrate, fec=remote.use_in_band_fec)
        self._encoder.set_max_playback_rate(remote.max_playback_rate or RTP_CLOCK_RATE)
        self._tune()
        self._key_type = remote.telephone_event_payload_type if with_keys else None

    async def write(self, pcm: bytes) -> bool:
        """Queue 16-bit mono audio, and wait until all but its last 20 ms is on the wire.

        Returns:
            Whether the audio was taken: False once the track has stopped.
        """
        if self.readyState != "live":
            return False
        had_audio = self._has_audio
        self._buffer += pcm
        if not had_audio:
            self._wake()
        await self._until_at_most(self._frame_bytes)
        return self.readyState == "live"

    async def drain(self) -> None:
        """Wait until everything written is on the wire."""
        await self._until_at_most(0)

    def clear(self) -> None:
        """Drop the audio that has not been sent."""
        self._buffer.clear()
        self._sent.set()

    def press(self, keys: str) -> None:
        """Press keys, one after the other, from now on. Audio waits while a key is down.

        Args:
            keys: Of `dtmf.KEYS`.

        Raises:
            ValueError: There is no such key.
        """
        for tone in [tone_payloads(key) for key in keys]:
            for slot, payloads in enumerate(tone):
                for index, payload in enumerate(payloads):
                    self._keys.append(_Event(payload, slot == index == 0, index > 0))
            self._keys.extend([None] * PAUSE_SLOTS)
        self._wake()

    async def released(self) -> None:
        """Wait until all keys pressed are on the wire."""
        while self._keys and self.readyState == "live":
            self._sent.clear()
            await self._sent.wait()

    def follow(self, loss: float) -> None:
        """Take the far end's report: the share of packets lost since the one before, 0 to 1."""
        self._rate.update(loss)
        self._tune()

    def ease(self) -> None:
        """Spend less on coding when the event loop is busy, and more when it is not."""
        before = self._effort.complexity
        self._effort.update()
        if self._effort.complexity != before:
            self._tune()

    def _tune(self) -> None:
        loss, complexity = self._rate.expected_loss, self._effort.complexity
        self._encoder.adapt(bitrate=self._rate.bitrate, expected_loss=loss)
        self._encoder.set_complexity(max(complexity, MIN_FEC_COMPLEXITY) if loss else complexity)

    def stamp(self, packet: bytes) -> bytes | None:
        """Give the RTP packet that `recv()` led to its payload type and marker bit.

        Returns:
            The packet; None for one that aiortc sends again, which has lost its type and its use.
        """
        sequence = int.from_bytes(packet[2:4])
        if self._last_sequence is not None:
            ahead = (sequence - self._last_sequence) & 0xFFFF
            if not 0 < ahead < 0x8000:
                return None
        self._last_sequence = sequence
        payload_type = packet[1] & 0x7F if self._is_audio else self._key_type or 0
        second = payload_type | (0x80 if self._marker else 0)
        return packet[:1] + bytes([second]) + packet[2:]

    def stop(self) -> None:
        """End the track; waiting writers return."""
        super().stop()
        self._keys.clear()
        self.clear()
        self._wake()

    async def recv(self) -> av.Packet[Any]:
        """The next packet, when it is due.

        Raises:
            MediaStreamError: The track has stopped.
        """
        while True:
            was_waiting = await self._until_due()
            if self.readyState != "live":
                raise MediaStreamError
            event = self._keys.popleft() if self._keys else None
            if event is None:
                packet = self._audio_packet(was_waiting=was_waiting)
            else:
                packet = self._event_packet(event)
            self._sent.set()
            if packet is not None:
                packet.time_base = _TIME_BASE
                return packet

    @property
    def _has_audio(self) -> bool:
        return len(self._buffer) >= self._frame_bytes

    async def _until_due(self) -> bool:
        """Wait. Returns whether speech stood in line meanwhile, which live speech never does."""
        was_waiting = False
        while self.readyState == "live":
            event = self._keys[0] if self._keys else None
            if event is not None and event.repeats:
                break
            has_audio = event is not None or self._has_audio
            seconds = self._pacer.wait(self._running_loop.time(), has_audio=has_audio)
            if seconds <= 0:
                break
            self._sleep = self._running_loop.create_future()
            timer = self._running_loop.call_later(seconds, self._wake)
            try:
                await self._sleep
            finally:
                timer.cancel()
                self._sleep = None
            # Nobody else has run since the slot began, however late that is.
            was_waiting = len(self._buffer) >= 2 * self._frame_bytes
        return was_waiting

    def _wake(self) -> None:
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    async def _until_at_most(self, size: int) -> None:
        while len(self._buffer) > size and self.readyState == "live":
            self._sent.clear()
            await self._sent.wait()

    def _audio_packet(self, *, was_waiting: bool) -> av.Packet[Any] | None:
        pcm = bytes(self._buffer[: self._frame_bytes])
        if pcm and self._pacer.behind and is_quiet(pcm):
            del self._buffer[: self._frame_bytes]
            self._pacer.behind -= 1
            return None
        now = self._running_loop.time()
        timestamp = self._pacer.take(now, has_audio=self._has_audio, was_waiting=was_waiting)
        del self._buffer[: self._frame_bytes]
        if pcm and self.first_audio is None:
            self.first_audio = now
        payload = self._encoder.encode(pcm.ljust(self._frame_bytes, b"\0"))
        if self._dtx and len(payload) <= MAX_DTX_BYTES:
            self._paused = True
            return None
        # Set where speech follows upon a pause without packets (RFC 3551 section 4.1).
        self._is_audio, self._marker, self._paused = True, self._paused, False
        packet: av.Packet[Any] = av.Packet(payload)
        packet.pts = timestamp
        return packet

    def _event_packet(self, event: _Event) -> av.Packet[Any]:
        if not event.repeats:
            timestamp = self._pacer.take(self._running_loop.time(), has_audio=True)
            if event.starts:
                self._event_timestamp = timestamp
        self._is_audio, self._marker = False, event.starts
        packet: av.Packet[Any] = av.Packet(event.payload)
        packet.pts = self._event_timestamp
        return packet
