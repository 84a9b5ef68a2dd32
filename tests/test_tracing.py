from __future__ import annotations

import asyncio
import contextvars
import hmac
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.workers.runner import WorkerRunner

from bots import PlainBot, run_worker
from finished_calls import PHONE, answer, fail, our_call, users_call
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.bot import WhatsAppRunnerArguments
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.law import Signal
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.runner import create_transport
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.tracing import Tracing
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport


class Spans:
    """What was exported."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def children(self, parent: ReadableSpan) -> dict[str, ReadableSpan]:
        assert parent.context is not None
        own = parent.context.span_id
        return {s.name: s for s in self.all if s.parent is not None and s.parent.span_id == own}


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """The application's choice of where spans go, which a process makes once."""
    exporter = InMemorySpanExporter()
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    # Somebody else in this process, such as pipecat's evals, may have chosen first.
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[Spans]:
    exporter.clear()
    yield Spans(exporter)
    exporter.clear()


def trace_call(call: Call, end: Callable[[Call], None], *tracings: Tracing) -> None:
    """Trace a call in a context of its own, as a session does."""
    told = tracings or (Tracing(),)

    def run() -> None:
        for tracing in told:
            tracing.call_began(call)
        end(call)
        for tracing in told:
            tracing.call_ended(call.report())

    contextvars.copy_context().run(run)


def seconds_since(call: Call, nanoseconds: int | None) -> float:
    assert nanoseconds is not None
    return nanoseconds / 1e9 - call.began_at


def about(seconds: float) -> Any:
    return pytest.approx(seconds, abs=1e-3)


def test_a_call_has_one_trace_with_its_stages(spans: Spans) -> None:
    call = users_call()
    trace_call(call, answer)
    root = spans.one("whatsapp.call")
    assert root.parent is None
    assert seconds_since(call, root.start_time) == about(0.0)
    assert seconds_since(call, root.end_time) == about(10.0)
    stages = {
        name: (seconds_since(call, span.start_time), seconds_since(call, span.end_time))
        for name, span in spans.children(root).items()
    }
    assert stages == {
        "bot": (about(0.25), about(1.5)),
        "ice": (about(0.5), about(0.75)),
        "dtls": (about(0.75), about(1.0)),
    }


def test_the_calls_span_says_what_became_of_it(spans: Spans) -> None:
    trace_call(users_call(), answer)
    root = spans.one("whatsapp.call")
    said = dict(root.attributes or {})
    assert said["whatsapp.call_id"] == "wacid.A"
    assert said["whatsapp.phone_number_id"] == "200"
    assert said["whatsapp.direction"] == "inbound"
    assert said["whatsapp.cause"] == "caller hung up"
    assert said["whatsapp.answer_seconds"] == 2.0
    assert said["whatsapp.mos"] == 4.1
    assert root.status.status_code is StatusCode.UNSET


def test_a_failed_call_is_an_error_and_its_stages_are_unfinished(spans: Spans) -> None:
    def end(call: Call) -> None:
        call.apply(Signal.ANSWERED, after=0.5)
        call.apply(Signal.PRE_ACCEPTED, after=1.0)
        fail(call, after=3.0)

    call = users_call()
    trace_call(call, end)
    root = spans.one("whatsapp.call")
    assert root.status.status_code is StatusCode.ERROR
    assert root.status.description == "graph failed"
    ice = spans.children(root)["ice"]
    assert (ice.attributes or {})["whatsapp.unfinished"] is True
    assert seconds_since(call, ice.end_time) == about(3.0)


def test_a_call_of_ours_has_a_ring(spans: Spans) -> None:
    def end(call: Call) -> None:
        call.apply(Signal.OFFERED, after=0.1)
        call.id = "wacid.B"
        call.apply(Signal.PLACED, after=0.5)
        call.apply(Signal.PICKED_UP, after=7.0)
        call.apply(Signal.TERMINATED, after=9.0)

    call = our_call()
    trace_call(call, end)
    root = spans.one("whatsapp.call")
    assert (root.attributes or {})["whatsapp.call_id"] == "wacid.B"
    ring = spans.children(root)["ring"]
    assert seconds_since(call, ring.start_time) == about(0.5)
    assert seconds_since(call, ring.end_time) == about(7.0)


def test_what_meta_is_asked_in_a_call_is_in_its_trace(spans: Spans) -> None:
    tracing = Tracing()

    def end(call: Call) -> None:
        tracing.graph_request("accept", "500", 0.25)
        fail(call)

    trace_call(users_call(), end, tracing)
    accept = spans.children(spans.one("whatsapp.call"))["accept"]
    assert accept.status.status_code is StatusCode.ERROR
    assert (accept.attributes or {})["whatsapp.graph.status"] == "500"
    assert accept.start_time is not None
    assert accept.end_time is not None
    assert (accept.end_time - accept.start_time) / 1e9 == about(0.25)


def test_what_meta_is_asked_outside_of_calls_makes_no_trace(spans: Spans) -> None:
    Tracing().graph_request("GET {id}", "200", 0.25)
    assert spans.all == ()


def test_a_call_is_a_child_of_its_webhooks_span(spans: Spans) -> None:
    with trace.get_tracer("web").start_as_current_span("POST /whatsapp"):
        trace_call(users_call(), answer)
    webhook = spans.one("POST /whatsapp")
    assert list(spans.children(webhook)) == ["whatsapp.call"]


def test_no_span_holds_a_phone_number(spans: Spans) -> None:
    for make in (users_call, our_call):
        for end in (answer, fail):
            trace_call(make(), end)
    assert PHONE not in "".join(span.to_json() for span in spans.all)


def test_two_that_trace_do_each_other_no_harm(spans: Spans) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_call(users_call(), answer, Tracing(), Tracing(provider))
    elsewhere = Spans(exporter)
    for each in (spans, elsewhere):
        assert len(each.all) == 4
        assert set(each.children(each.one("whatsapp.call"))) >= {"bot", "ice", "dtls"}


async def test_pipecats_spans_hang_under_the_calls(spans: Spans) -> None:
    async def bot(call: Call) -> None:
        worker = PipelineWorker(
            Pipeline([IdentityFilter()]),
            enable_tracing=True,
            conversation_id=call.id,
            additional_span_attributes=call.span_attributes,
        )
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await worker.stop_when_done()
        await runner.run()

    async def serve(call: Call, run_bot: Callable[[Call], Coroutine[Any, Any, None]]) -> None:
        context, tracing = contextvars.copy_context(), Tracing()
        context.run(tracing.call_began, call)
        await asyncio.create_task(run_bot(call), context=context)
        answer(call)
        context.run(tracing.call_ended, call.report())

    calls = [users_call() for _ in range(2)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(serve(call, bot) for call in calls))

    roots = spans.named("whatsapp.call")
    assert len(roots) == 2
    for root in roots:
        conversation = spans.children(root)["conversation"]
        assert (conversation.attributes or {})["whatsapp.call_id"] == "wacid.A"
        assert "turn" in spans.children(conversation)


async def traced_bot(runner_args: WhatsAppRunnerArguments) -> None:
    """A bot that lets pipecat trace."""
    transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
    assert isinstance(transport, WhatsAppTransport)
    worker = PipelineWorker(
        Pipeline([transport.input(), transport.output()]),
        enable_tracing=True,
        conversation_id=transport.call.id,
        additional_span_attributes=transport.call.span_attributes,
    )
    await run_worker(worker)


async def test_a_real_call_is_one_trace_to_the_last_word_to_meta(
    whatsapp: WhatsApp, phone: Phone, spans: Spans
) -> None:
    adapter = await whatsapp.serve(traced_bot, observers=[Tracing()])
    call = await phone.dial()
    await call.answered()
    assert await adapter.terminate(call.id)
    assert await adapter.drain(30)
    children = spans.children(spans.one("whatsapp.call"))
    stages = ["pre_accept", "ice", "dtls", "accept", "terminate"]
    assert set(children) == {*stages, "bot", "conversation"}
    ends = [children[stage].end_time or 0 for stage in stages]
    assert ends == sorted(ends)
    assert not any("whatsapp.unfinished" in (span.attributes or {}) for span in spans.all)
    assert len({span.context.trace_id for span in spans.all if span.context}) == 1


async def test_what_outlives_the_first_webhook_is_no_part_of_its_trace(
    whatsapp: WhatsApp, spans: Spans
) -> None:
    current = asyncio.Queue[trace.Span]()

    class Witness(Observer):
        def lag(self, seconds: float) -> None:
            current.put_nowait(trace.get_current_span())

    body = b'{"object":"whatsapp_business_account","entry":[]}'
    secret = whatsapp.meta.account.app_secret.encode()
    headers = {"x-hub-signature-256": "sha256=" + hmac.digest(secret, body, "sha256").hex()}
    adapter = WebhookAdapter(whatsapp.config(), PlainBot(), observers=[Witness()])
    try:
        with trace.get_tracer("web").start_as_current_span("POST /whatsapp"):
            assert (await adapter.handle("POST", {}, headers, body)).status == 200
        span = await asyncio.wait_for(current.get(), 30)
        assert span is trace.INVALID_SPAN
    finally:
        await adapter.close()
