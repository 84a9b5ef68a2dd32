from __future__ import annotations

import datetime

import pytest
from aiortc import (
    RTCInboundRtpStreamStats,
    RTCOutboundRtpStreamStats,
    RTCRemoteInboundRtpStreamStats,
    RTCStatsReport,
)

from pipecat_whatsapp.media.mos import estimate_mos
from pipecat_whatsapp.media.quality import LATELY, CallQuality, QualityMeter
from pipecat_whatsapp.media.receiver import ReceiverStatistics

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def stats(
    *,
    packets_sent: int = 0,
    bytes_sent: int = 0,
    fraction_lost: int | None = None,
    jitter: int = 0,
    round_trip: float | None = None,
) -> RTCStatsReport:
    """What aiortc counts; without a report of the far end unless something was lost of it."""
    report = RTCStatsReport()
    report.add(
        RTCOutboundRtpStreamStats(
            timestamp=NOW,
            type="outbound-rtp",
            id="out",
            ssrc=1,
            kind="audio",
            transportId="transport",
            packetsSent=packets_sent,
            bytesSent=bytes_sent,
            trackId="track",
        )
    )
    if fraction_lost is not None:
        report.add(
            RTCRemoteInboundRtpStreamStats(
                timestamp=NOW,
                type="remote-inbound-rtp",
                id="far",
                ssrc=1,
                kind="audio",
                transportId="transport",
                packetsReceived=packets_sent,
                packetsLost=0,
                jitter=jitter,
                roundTripTime=round_trip,  # type: ignore[arg-type] # None before it is known
                fractionLost=fraction_lost,
            )
        )
    return report


class Meter:
    """A meter on a clock moved by hand, second by second."""

    def __init__(self) -> None:
        self.now = 100.0
        self._meter = QualityMeter(started=100.0)

    def assess(
        self,
        incoming: ReceiverStatistics | None = None,
        report: RTCStatsReport | None = None,
        first_audio_out: float | None = None,
    ) -> CallQuality:
        self.now += 1.0
        return self._meter.assess(
            incoming or ReceiverStatistics(),
            report or RTCStatsReport(),
            now=self.now,
            first_audio_out=first_audio_out,
        )


def heard(seconds: float, *, concealed: float = 0.0, recovered: float = 0.0) -> ReceiverStatistics:
    return ReceiverStatistics(
        packets=round(seconds * 50), concealed=concealed, recovered=recovered, jitter=0.005
    )


def score(quality: CallQuality) -> float:
    assert quality.mos is not None
    return quality.mos


def score_lately(quality: CallQuality) -> float:
    assert quality.mos_lately is not None
    return quality.mos_lately


def test_before_anything_came_nothing_is_claimed() -> None:
    assert Meter().assess() == CallQuality()
    assert Meter().assess(report=stats()) == CallQuality()
    assert CallQuality().loss_in == 0


def test_what_the_receiver_counted_is_told_in_whole_milliseconds() -> None:
    quality = Meter().assess(
        ReceiverStatistics(
            packets=90,
            octets=4500,
            lost=10,
            late=3,
            reordered=4,
            duplicates=5,
            recovered=0.12,
            concealed=0.08,
            jitter=0.0125,
            first_audio=101.5,
        )
    )
    assert (quality.packets_in, quality.lost_in, quality.loss_in) == (90, 10, 0.1)
    assert (quality.late_in, quality.reordered_in, quality.duplicates_in) == (3, 4, 5)
    assert (quality.recovered_ms, quality.concealed_ms) == (120, 80)
    assert quality.jitter_ms == pytest.approx(12.5)
    assert quality.bitrate_in == 20_000
    assert quality.first_audio_in == pytest.approx(1.5)


def test_what_the_far_end_reports_is_told() -> None:
    quality = Meter().assess(
        report=stats(
            packets_sent=100, bytes_sent=6000, fraction_lost=64, jitter=480, round_trip=0.12
        ),
        first_audio_out=100.7,
    )
    assert (quality.packets_out, quality.bitrate_out) == (100, 24_000)
    assert quality.lost_out == 0.25
    assert quality.jitter_out_ms == 10
    assert quality.round_trip_ms == pytest.approx(120)
    assert quality.first_audio_out == pytest.approx(0.7)


def test_a_report_without_a_round_trip_claims_none() -> None:
    quality = Meter().assess(report=stats(fraction_lost=0))
    assert quality.round_trip_ms is None
    assert (quality.lost_out, quality.jitter_out_ms) == (0, 0)


def test_what_aiortc_received_is_told_as_far_as_it_goes() -> None:
    """It conceals without a word, so that no score can be honest."""
    report = stats(packets_sent=10, bytes_sent=600)
    report.add(
        RTCInboundRtpStreamStats(
            timestamp=NOW,
            type="inbound-rtp",
            id="in",
            ssrc=2,
            kind="audio",
            transportId="transport",
            packetsReceived=500,
            packetsLost=20,
            jitter=480,
        )
    )
    quality = QualityMeter(0.0).assess(None, report, now=1.0, first_audio_out=None)
    assert (quality.packets_in, quality.lost_in, quality.jitter_ms) == (500, 20, 10)
    assert (quality.mos, quality.mos_lately, quality.first_audio_in) == (None, None, None)
    assert quality.packets_out == 10
    nothing = QualityMeter(0.0).assess(None, stats(), now=1.0, first_audio_out=None)
    assert nothing == CallQuality()


def test_a_clean_line_is_good_and_every_loss_costs() -> None:
    scores = [
        score(Meter().assess(heard(10, concealed=seconds))) for seconds in (0, 0.1, 0.5, 1.0, 5.0)
    ]
    assert scores[0] > 4.2
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert scores[-1] < 2.5


def test_what_was_recovered_was_not_lost() -> None:
    assert score(Meter().assess(heard(10, recovered=2.0))) == score(Meter().assess(heard(10)))


def test_the_model_is_asked_for_the_share_concealed_and_the_delay_known() -> None:
    far = stats(fraction_lost=0, round_trip=0.4)
    # 20 ms of packet and 5 ms of jitter; half of the round trip.
    assert score(Meter().assess(heard(9, concealed=1))) == pytest.approx(
        estimate_mos(loss=0.1, delay=0.025)
    )
    assert score(Meter().assess(heard(9, concealed=1), far)) == pytest.approx(
        estimate_mos(loss=0.1, delay=0.225)
    )


def test_delay_costs_too() -> None:
    near = Meter().assess(heard(10), stats(fraction_lost=0, round_trip=0.05))
    far = Meter().assess(heard(10), stats(fraction_lost=0, round_trip=0.8))
    assert score(far) < score(near) - 0.5


def test_lately_looks_back_a_few_seconds_only() -> None:
    meter = Meter()
    second = 0
    # 10 s in which half was lost, then a good line.
    for second in range(1, 11):
        quality = meter.assess(heard(second / 2, concealed=second / 2))
        assert score_lately(quality) < 2
    for good in range(1, int(LATELY) + 1):
        quality = meter.assess(heard(second / 2 + good, concealed=second / 2))
    assert score_lately(quality) > 4.2, "the bad seconds are forgotten"
    assert score(quality) < 3, "but not in the sum"
    quality = meter.assess(heard(second / 2 + good + 1, concealed=second / 2 + 1))
    assert score_lately(quality) < score_lately(meter.assess(heard(20, concealed=second / 2 + 1)))


def test_a_line_that_turns_bad_is_noticed_though_the_call_was_long() -> None:
    meter = Meter()
    for second in range(1, 601):
        meter.assess(heard(second))
    for bad in range(1, 6):
        quality = meter.assess(heard(600 + bad / 2, concealed=bad / 2))
    assert score_lately(quality) < 2
    assert score(quality) > 4


def test_nothing_is_claimed_of_seconds_in_which_nothing_came() -> None:
    meter = Meter()
    meter.assess(heard(1))
    for _ in range(int(LATELY) + 1):
        quality = meter.assess(heard(1))
    assert quality.mos_lately is None
    assert quality.mos is not None
