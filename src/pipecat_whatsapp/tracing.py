"""One trace for every call, by OpenTelemetry; needs the extra `otel`.

The call's span is current while the bot runs, so that pipecat's own spans hang under it.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.law import Signal
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.meta.events import Direction


class Tracing(Observer):
    """Makes a span of every call, of its stages, and of what Meta is asked in it.

    Args:
        tracer_provider: Where spans go; by default wherever the application has decided.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("pipecat_whatsapp", tracer_provider=tracer_provider)
        # Its own, so that several of them can send the same call to several places.
        self._call_span: ContextVar[Span | None] = ContextVar("whatsapp_call_span", default=None)

    def call_began(self, call: Call) -> None:
        """Begin the call's span, and make it current for the bot."""
        inbound = call.direction is Direction.INBOUND
        span = self._tracer.start_span(
            "whatsapp.call",
            kind=SpanKind.SERVER if inbound else SpanKind.CLIENT,
            attributes=call.span_attributes,
            start_time=_nanoseconds(call.began_at),
        )
        self._call_span.set(span)
        # Never detached: the context ends with the call.
        context.attach(trace.set_span_in_context(span))

    def graph_request(self, action: str, status: str, seconds: float) -> None:
        """Make a span of what Meta was asked in a call."""
        if (call_span := self._call_span.get()) is None:
            return
        now = time.time()
        span = self._tracer.start_span(
            action,
            context=trace.set_span_in_context(call_span),
            kind=SpanKind.CLIENT,
            attributes={"whatsapp.graph.status": status},
            start_time=_nanoseconds(now - seconds),
        )
        if not status.startswith("2"):
            span.set_status(Status(StatusCode.ERROR, status))
        span.end(_nanoseconds(now))

    def call_ended(self, report: CallReport) -> None:
        """Make spans of the call's stages, and end the call's own."""
        if (span := self._call_span.get()) is None:
            return
        for name, begin, end in _stages(report):
            self._trace_stage(span, name, report, begin, end)
        span.set_attributes(_attributes(report))
        if report.cause.is_failure:
            span.set_status(Status(StatusCode.ERROR, report.cause.value))
        span.end(_nanoseconds(report.began_at + report.ended_after))

    def _trace_stage(
        self, parent: Span, name: str, report: CallReport, begin: float, end: float | None
    ) -> None:
        """Make a span of a stage, which lasted until the call's end where it had none."""
        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(parent),
            start_time=_nanoseconds(report.began_at + begin),
        )
        if end is None:
            span.set_attribute("whatsapp.unfinished", True)
        span.end(_nanoseconds(report.began_at + (report.ended_after if end is None else end)))


def _stages(report: CallReport) -> list[tuple[str, float, float | None]]:
    """The stages that the call reached: name, begin and end, in seconds since the beginning."""
    inbound = report.direction is Direction.INBOUND
    stages = report.stages
    reached = (
        ("bot", stages.get(Signal.ANSWERED if inbound else Signal.PLACED), Signal.READY),
        ("ring", None if inbound else stages.get(Signal.PLACED), Signal.PICKED_UP),
    )
    found = [(name, begin, stages.get(end)) for name, begin, end in reached if begin is not None]
    link = stages.get(Signal.PRE_ACCEPTED if inbound else Signal.ANSWERED)
    ice = report.ice_up_after
    if link is not None:
        found.append(("ice", link, ice))
    if ice is not None:
        found.append(("dtls", ice, stages.get(Signal.LINKED)))
    return found


def _attributes(report: CallReport) -> dict[str, str | bool | float]:
    """What is known of a call in the end, but for phone numbers."""
    quality = report.quality
    figures = {
        "whatsapp.call_id": report.call_id,
        "whatsapp.cause": report.cause.value,
        "whatsapp.outcome": report.outcome.value,
        "whatsapp.answered": report.answered,
        "whatsapp.duration": report.duration,
        "whatsapp.answer_seconds": report.answered_after,
        "whatsapp.first_audio_in": quality.first_audio_in,
        "whatsapp.first_audio_out": quality.first_audio_out,
        "whatsapp.loss_in": quality.loss_in if quality.packets_in else None,
        "whatsapp.concealed_ms": quality.concealed_ms if quality.packets_in else None,
        "whatsapp.jitter_ms": quality.jitter_ms if quality.packets_in else None,
        "whatsapp.round_trip_ms": quality.round_trip_ms,
        "whatsapp.mos": quality.mos,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
