"""RTP in: what the caller says, as 20 ms of mono PCM at the pipeline's rate, and what they press.

Everything happens on the event loop as packets arrive: no thread, no task and no queue per packet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loguru import logger

from pipecat_whatsapp.media.dtmf import KeyReceiver
from pipecat_whatsapp.media.jitter import Arrival, JitterBuffer, Kind, Slot
from pipecat_whatsapp.media.level import is_quiet
from pipecat_whatsapp.media.opus import Decoder, create_decoder
from pipecat_whatsapp.media.opus_packet import RTP_CLOCK_RATE, has_fec, packet_ticks
from pipecat_whatsapp.media.reception import Reception
from pipecat_whatsapp.media.rtp import ReportBlock, RtpPacket, SenderReport, read_rtcp

STALL = 0.02
"""A timer that is later than this, s, tells of a loop that stalled: packets wait to be read."""

STALL_GRACE = 0.01
"""Seconds that such packets get."""

TIMER_GRAIN = 0.001
"""Seconds that the timers of event loops are exact to."""

MAX_STREAMS = 8
"""SSRCs that are counted at one time; a call has one."""


@dataclass(frozen=True)
class ReceiverStatistics:
    """What came in, since the start of the call.

    Parameters:
        packets: RTP packets.
        octets: Bytes of their payload.
        lost: Packets that never came, as the sequence numbers tell.
        late: Packets too late to be played.
        reordered: Packets that came in another order than they were sent, and were played.
        duplicates: Packets that came again.
        recovered: Seconds of lost audio recovered from in-band FEC.
        concealed: Seconds of lost audio made up, or left silent.
        jitter: Interarrival jitter, s (RFC 3550 section 6.4.1).
        first_audio: When the first audio came, seconds of the loop's clock; None before.
    """

    packets: int = 0
    octets: int = 0
    lost: int = 0
    late: int = 0
    reordered: int = 0
    duplicates: int = 0
    recovered: float = 0.0
    concealed: float = 0.0
    jitter: float = 0.0
    first_audio: float | None = None


class AudioReceiver:
    """Receives one call's audio stream. What comes before the start is counted only."""

    def __init__(self) -> None:
        self._audio_types: set[int] = set()
        self._key_types: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._jitter = JitterBuffer()
        self._keys = KeyReceiver()
        self._decoder: Decoder | None = None
        self._pcm = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._pardoned = False
        self._streams: dict[int, Reception] = {}
        self._octets = 0
        self._first_audio: float | None = None

    def expect(self, opus: int, telephone_event: int | None) -> None:
        """Take packets of these payload types, too, for audio and for keys."""
        self._audio_types.add(opus)
        if telephone_event is not None:
            self._key_types.add(telephone_event)

    def start(
        self, sample_rate: int, on_audio: Callable[[bytes], None], on_key: Callable[[str], None]
    ) -> None:
        """Listen from now on.

        Args:
            sample_rate: Rate of the audio wanted, Hz, one of `opus.SAMPLE_RATES`.
            on_audio: Gets 16-bit mono PCM, 20 ms at a time.
            on_key: Gets each key pressed, one of `dtmf.KEYS`.

        Raises:
            ConfigError: Opus cannot decode to the sample rate.
        """
        self._decoder = create_decoder(sample_rate)
        self._sample_rate = sample_rate
        self._on_audio, self._on_key = on_audio, on_key

    def stop(self) -> None:
        """Stop listening."""
        self._decoder = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def receive(self, datagram: bytes) -> None:
        """Take a decrypted RTP packet; anything else is dropped."""
        now = self._loop.time()
        try:
            packet = RtpPacket.parse(datagram)
        except ValueError:
            return
        is_audio = packet.payload_type in self._audio_types
        if not is_audio and packet.payload_type not in self._key_types:
            return
        self._count(packet, now, is_audio=is_audio)
        if self._decoder is not None:
            self._pardoned = False
            self._take(packet, now, is_audio=is_audio)
            self._arm()

    def receive_rtcp(self, datagram: bytes) -> None:
        """Take a decrypted RTCP packet; anything else is dropped."""
        now = self._loop.time()
        try:
            packets = read_rtcp(datagram)
        except ValueError:
            return
        for packet in packets:
            if isinstance(packet, SenderReport) and packet.ssrc in self._streams:
                self._streams[packet.ssrc].note(packet, now)

    def reports(self) -> list[ReportBlock]:
        """What to tell the far end of its stream; empty before its first packet."""
        now = self._loop.time()
        return [stream.report(now) for stream in list(self._streams.values())[-1:]]

    def statistics(self) -> ReceiverStatistics:
        """What came in so far."""
        streams, jitter = list(self._streams.values()), self._jitter
        return ReceiverStatistics(
            packets=sum(stream.received for stream in streams),
            octets=self._octets,
            lost=sum(max(stream.lost, 0) for stream in streams),
            late=jitter.late,
            reordered=jitter.reordered,
            duplicates=jitter.duplicates,
            recovered=jitter.recovered / RTP_CLOCK_RATE,
            concealed=jitter.concealed / RTP_CLOCK_RATE,
            jitter=streams[-1].jitter / RTP_CLOCK_RATE if streams else 0.0,
            first_audio=self._first_audio,
        )

    def _count(self, packet: RtpPacket, now: float, *, is_audio: bool) -> None:
        stream = self._streams.get(packet.ssrc)
        if stream is None:
            if len(self._streams) == MAX_STREAMS:
                del self._streams[next(iter(self._streams))]
            stream = self._streams[packet.ssrc] = Reception(packet, RTP_CLOCK_RATE)
        stream.add(packet, now, timed=is_audio)
        self._octets += len(packet.payload)

    def _take(self, packet: RtpPacket, now: float, *, is_audio: bool) -> None:
        if is_audio:
            try:
                ticks, fec = packet_ticks(packet.payload), has_fec(packet.payload)
            except ValueError:
                return
            if self._first_audio is None:
                self._first_audio = now
        else:
            ticks, fec = 0, False
            if (key := self._keys.receive(packet)) is not None:
                self._on_key(key)
        arrival = Arrival(
            packet.ssrc, packet.sequence, packet.timestamp, ticks, packet.payload, fec
        )
        self._play(self._jitter.push(arrival, now))

    def _play(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            pcm = self._render(slot)
            if self._jitter.surplus and is_quiet(pcm) and self._jitter.repay(slot.ticks):
                continue
            self._pcm += pcm
        size = self._sample_rate // 50 * 2
        while len(self._pcm) >= size:
            frame = bytes(self._pcm[:size])
            del self._pcm[:size]
            self._on_audio(frame)

    def _render(self, slot: Slot) -> bytes:
        assert self._decoder is not None  # noqa: S101 - nothing is played before the start
        try:
            match slot.kind:
                case Kind.PLAY:
                    return self._decoder.decode(slot.payload)
                case Kind.RECOVER:
                    return self._decoder.recover(slot.payload, slot.ticks)
                case Kind.CONCEAL:
                    return self._decoder.conceal(slot.ticks)
        except ValueError as error:
            logger.debug("A packet could not be decoded: {}", error)
        return bytes(2 * (slot.ticks * self._sample_rate // RTP_CLOCK_RATE))

    def _arm(self) -> None:
        deadline = self._jitter.deadline
        if deadline is None:
            return
        if self._timer is not None:
            if self._timer_due <= deadline:
                return  # It looks again when it fires: cheaper than to move it for every packet.
            self._timer.cancel()
        self._set_timer(deadline)

    def _set_timer(self, due: float) -> None:
        self._timer_due = due
        # A little later, because uvloop turns what is left of a timer into a busy loop.
        self._timer = self._loop.call_at(due + TIMER_GRAIN, self._on_timer)

    def _on_timer(self) -> None:
        now = self._loop.time()
        if now - self._timer_due > STALL and not self._pardoned:
            self._pardoned = True
            self._set_timer(now + STALL_GRACE)
            return
        self._pardoned = False
        self._timer = None
        self._play(self._jitter.poll(now))
        self._arm()
