"""Figures for Prometheus; needs the extra `metrics`. Their names are listed in observability.md."""

from __future__ import annotations

import math
import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.media.quality import PACKET_SECONDS, CallQuality
from pipecat_whatsapp.meta.events import Direction

ANSWER_BUCKETS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 25.0)
FIRST_SOUND_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
DURATION_BUCKETS = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
RATIO_BUCKETS = (0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
MOS_BUCKETS = (1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.5)
REQUEST_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class PrometheusMetrics(Observer):
    """Counts what happens.

    With the environment variable PROMETHEUS_MULTIPROC_DIR, which must be set before
    `prometheus_client` is first imported, all processes that share the directory are counted
    together, and each of them can `render` the whole. Whoever starts the processes calls
    `prometheus_client.multiprocess.mark_process_dead` when one has ended.

    Attributes:
        registry: The figures of this process, for an application that serves them with its own.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._active = Gauge(
            "whatsapp_calls_active",
            "Calls that are going on, from ring to end.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._capacity = Gauge(
            "whatsapp_max_calls",
            "Calls that are taken at once; infinite without a limit.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._started = Counter(
            "whatsapp_calls_started", "Calls that began.", ["direction"], registry=registry
        )
        self._ended = Counter(
            "whatsapp_calls_ended",
            "Calls that ended, and why.",
            ["direction", "cause"],
            registry=registry,
        )
        self._webhooks = Counter(
            "whatsapp_webhooks",
            "Webhook events, and what became of them.",
            ["kind", "result"],
            registry=registry,
        )
        self._requests = Counter(
            "whatsapp_graph_requests",
            "Attempts of requests to the Graph API.",
            ["action", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "whatsapp_graph_request_seconds",
            "How long attempts of requests to the Graph API took.",
            ["action"],
            registry=registry,
            buckets=REQUEST_BUCKETS,
        )
        self._answer = self._histogram(
            "answer_seconds", "From a user's call to accept's 200.", ANSWER_BUCKETS
        )
        self._first_sound = self._histogram(
            "first_sound_seconds", "From the answer to the bot's first word.", FIRST_SOUND_BUCKETS
        )
        self._duration = self._histogram(
            "call_duration_seconds", "From the answer to the end.", DURATION_BUCKETS
        )
        self._loss = self._histogram(
            "call_loss_ratio", "Share of the user's packets that never came.", RATIO_BUCKETS
        )
        self._concealed = self._histogram(
            "call_concealed_ratio", "Share of the user's sound that was made up.", RATIO_BUCKETS
        )
        self._mos = self._histogram(
            "call_mos", "Estimated mean opinion score of the user's sound.", MOS_BUCKETS
        )
        self._lag = self._histogram(
            "event_loop_lag_seconds", "How late the event loop woke up.", LAG_BUCKETS
        )
        for direction in Direction:
            # A series that is there from the start has a rate from its first call on.
            self._started.labels(direction.value)
            for cause in Cause:
                self._ended.labels(direction.value, cause.value)

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"whatsapp_{name}", words, registry=self.registry, buckets=buckets)

    def render(self) -> tuple[bytes, str]:
        """The figures as Prometheus reads them.

        Returns:
            Body, and content type.
        """
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def webhook(self, kind: str, result: str) -> None:
        """Count an event."""
        self._webhooks.labels(kind, result).inc()

    def graph_request(self, action: str, status: str, seconds: float) -> None:
        """Count and time an attempt of a request."""
        self._requests.labels(action, status).inc()
        self._request_seconds.labels(action).observe(seconds)

    def call_began(self, call: Call) -> None:
        """Count a call."""
        self._active.inc()
        self._started.labels(call.direction.value).inc()

    def call_ended(self, report: CallReport) -> None:
        """Count a call's end, and measure the call."""
        # The process that died has taken its gauge with it.
        if report.cause is not Cause.PROCESS_DIED:
            self._active.dec()
        self._ended.labels(report.direction.value, report.cause.value).inc()
        if report.answered_after is not None:
            self._measure(report, report.answered_after)

    def lag(self, seconds: float) -> None:
        """Measure the event loop."""
        self._lag.observe(seconds)

    def capacity(self, max_calls: int | None) -> None:
        """Note how many calls there may be."""
        self._capacity.set(math.inf if max_calls is None else max_calls)

    def _measure(self, report: CallReport, answered_after: float) -> None:
        quality = report.quality
        self._duration.observe(report.duration)
        if report.direction is Direction.INBOUND:
            self._answer.observe(answered_after)
        if quality.first_audio_out is not None:
            self._first_sound.observe(max(quality.first_audio_out - answered_after, 0.0))
        if quality.packets_in:
            self._loss.observe(quality.loss_in)
            self._concealed.observe(_concealed_ratio(quality))
        if quality.mos is not None:
            self._mos.observe(quality.mos)


def _concealed_ratio(quality: CallQuality) -> float:
    """Share of the user's sound that was made up or left silent, 0 to 1."""
    sound = (quality.packets_in + quality.lost_in) * PACKET_SECONDS
    return min(quality.concealed_ms / 1000 / sound, 1.0)
