"""How good a call sounds, in figures."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeVar

from aiortc import (
    RTCInboundRtpStreamStats,
    RTCOutboundRtpStreamStats,
    RTCRemoteInboundRtpStreamStats,
    RTCStatsReport,
)

from pipecat_whatsapp.media.mos import estimate_mos
from pipecat_whatsapp.media.opus_packet import RTP_CLOCK_RATE
from pipecat_whatsapp.media.receiver import ReceiverStatistics

PACKET_SECONDS = 0.02

LATELY = 5.0
"""What `mos_lately` looks back on, s."""

_S = TypeVar("_S")


@dataclass(frozen=True, kw_only=True)
class CallQuality:
    """A call's figures since its start. What comes from the caller is "in", the bot's voice "out".

    Parameters:
        packets_in: RTP packets received.
        lost_in: Packets that never came.
        late_in: Packets that came too late to be played.
        reordered_in: Packets that came out of order and were played.
        duplicates_in: Packets that came again.
        recovered_ms: Lost audio recovered from in-band FEC, ms.
        concealed_ms: Lost audio made up or left silent, ms.
        jitter_ms: Interarrival jitter, ms (RFC 3550 section 6.4.1).
        bitrate_in: Opus received, bit/s on average.
        packets_out: RTP packets sent.
        lost_out: Share of them that the far end lately reports lost, 0 to 1; None before a report.
        jitter_out_ms: Jitter that the far end reports, ms; None before a report.
        bitrate_out: Opus sent, bit/s on average.
        round_trip_ms: Network round trip, ms (RTCP); None before it is known.
        mos: Estimated mean opinion score of what comes in, 1 to 4.5; None before audio came, and
            where aiortc receives.
        mos_lately: The same of the last `LATELY` seconds.
        first_audio_in: When the first audio came, s since the call's webhook; None before.
        first_audio_out: When the bot's first word left, s since the call's webhook; None before.
    """

    packets_in: int = 0
    lost_in: int = 0
    late_in: int = 0
    reordered_in: int = 0
    duplicates_in: int = 0
    recovered_ms: int = 0
    concealed_ms: int = 0
    jitter_ms: float = 0.0
    bitrate_in: int = 0
    packets_out: int = 0
    lost_out: float | None = None
    jitter_out_ms: float | None = None
    bitrate_out: int = 0
    round_trip_ms: float | None = None
    mos: float | None = None
    mos_lately: float | None = None
    first_audio_in: float | None = None
    first_audio_out: float | None = None

    @property
    def loss_in(self) -> float:
        """Share of the caller's packets that never came, 0 to 1."""
        return self.lost_in / max(self.packets_in + self.lost_in, 1)


class QualityMeter:
    """Makes a call's figures out of what its parts count.

    Args:
        started: When the call's webhook arrived, seconds of the loop's clock.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._history: deque[tuple[float, ReceiverStatistics]] = deque()

    def assess(
        self,
        incoming: ReceiverStatistics | None,
        report: RTCStatsReport,
        *,
        now: float,
        first_audio_out: float | None,
    ) -> CallQuality:
        """The figures of this moment.

        Args:
            incoming: What this package's receiver counted; None when aiortc receives.
            report: What aiortc counted.
            now: Seconds of the loop's clock.
            first_audio_out: When the bot's first word left, on the same clock; None before.
        """
        out = find_stats(report, RTCOutboundRtpStreamStats)
        far = find_stats(report, RTCRemoteInboundRtpStreamStats)
        round_trip = far.roundTripTime if far else None
        measured, incoming = incoming is not None, incoming or _received_by_aiortc(report)
        before = self._remember(now, incoming)
        return CallQuality(
            packets_in=incoming.packets,
            lost_in=incoming.lost,
            late_in=incoming.late,
            reordered_in=incoming.reordered,
            duplicates_in=incoming.duplicates,
            recovered_ms=round(incoming.recovered * 1000),
            concealed_ms=round(incoming.concealed * 1000),
            jitter_ms=incoming.jitter * 1000,
            bitrate_in=_bitrate(incoming.octets, incoming.packets),
            packets_out=out.packetsSent if out else 0,
            lost_out=far.fractionLost / 256 if far else None,
            jitter_out_ms=far.jitter * 1000 / RTP_CLOCK_RATE if far else None,
            bitrate_out=_bitrate(out.bytesSent, out.packetsSent) if out else 0,
            round_trip_ms=None if round_trip is None else round_trip * 1000,
            mos=_mos(incoming, ReceiverStatistics(), round_trip) if measured else None,
            mos_lately=_mos(incoming, before, round_trip) if measured else None,
            first_audio_in=self._since_start(incoming.first_audio),
            first_audio_out=self._since_start(first_audio_out),
        )

    def _remember(self, now: float, incoming: ReceiverStatistics) -> ReceiverStatistics:
        """Keep what was counted. Returns what had been counted `LATELY` seconds ago."""
        self._history.append((now, incoming))
        while len(self._history) > 1 and self._history[1][0] <= now - LATELY:
            self._history.popleft()
        then, before = self._history[0]
        return before if then <= now - LATELY else ReceiverStatistics()

    def _since_start(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._started


def _received_by_aiortc(report: RTCStatsReport) -> ReceiverStatistics:
    """What is known where aiortc receives, which tells nothing of what it conceals."""
    inbound = find_stats(report, RTCInboundRtpStreamStats)
    if inbound is None:
        return ReceiverStatistics()
    return ReceiverStatistics(
        packets=inbound.packetsReceived,
        lost=max(inbound.packetsLost, 0),
        jitter=inbound.jitter / RTP_CLOCK_RATE,
    )


def find_stats(report: RTCStatsReport, kind: type[_S]) -> _S | None:
    """The figures of one kind in aiortc's report; a call has one stream each way."""
    return next((entry for entry in report.values() if isinstance(entry, kind)), None)


def _bitrate(octets: int, packets: int) -> int:
    return round(octets * 8 / (packets * PACKET_SECONDS)) if packets else 0


def _mos(
    now: ReceiverStatistics, before: ReceiverStatistics, round_trip: float | None
) -> float | None:
    """Estimate from what was concealed, and from the delay as far as it is known."""
    concealed = now.concealed - before.concealed
    played = (now.packets - before.packets) * PACKET_SECONDS
    if played <= 0:
        return None
    # The far end's jitter buffer is not known; ours waits only where something is missing.
    delay = (round_trip or 0.0) / 2 + PACKET_SECONDS + now.jitter
    return estimate_mos(loss=concealed / (played + concealed), delay=delay)
