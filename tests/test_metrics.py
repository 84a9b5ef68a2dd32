from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from prometheus_client.parser import text_string_to_metric_families

from bots import PlainBot
from finished_calls import answer, fail, our_call, users_call
from pipecat_whatsapp.calls.law import Signal
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.metrics import PrometheusMetrics
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> PrometheusMetrics:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return PrometheusMetrics()


def figure(rendered: bytes, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(rendered.decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def read(metrics: PrometheusMetrics, name: str, **labels: str) -> float | None:
    return figure(metrics.render()[0], name, **labels)


def names(metrics: PrometheusMetrics) -> set[str]:
    counted = {family.name: family.type for family in metrics.registry.collect()}
    return {f"{n}_total" if kind == "counter" else n for n, kind in counted.items()}


def test_a_call_is_counted_from_its_beginning_to_its_end(metrics: PrometheusMetrics) -> None:
    call = users_call()
    metrics.call_began(call)
    assert read(metrics, "whatsapp_calls_active") == 1
    assert read(metrics, "whatsapp_calls_started_total", direction="inbound") == 1
    answer(call)
    metrics.call_ended(call.report())
    assert read(metrics, "whatsapp_calls_active") == 0
    labels = {"direction": "inbound", "cause": "caller hung up"}
    assert read(metrics, "whatsapp_calls_ended_total", **labels) == 1


def test_every_end_has_a_rate_from_its_first_call_on(metrics: PrometheusMetrics) -> None:
    for direction in ("inbound", "outbound"):
        for cause in Cause:
            labels = {"direction": direction, "cause": cause.value}
            assert read(metrics, "whatsapp_calls_ended_total", **labels) == 0


def test_an_answered_call_is_measured(metrics: PrometheusMetrics) -> None:
    call = users_call()
    metrics.call_began(call)
    answer(call)
    metrics.call_ended(call.report())
    for name, value in {
        "answer_seconds": 2.0,
        "first_sound_seconds": 0.4,
        "call_duration_seconds": 8.0,
        "call_loss_ratio": 20 / 400,
        "call_concealed_ratio": 0.2 / 8,
        "call_mos": 4.1,
    }.items():
        assert read(metrics, f"whatsapp_{name}_count") == 1
        assert read(metrics, f"whatsapp_{name}_sum") == pytest.approx(value)


def test_a_call_that_was_not_answered_has_no_quality(metrics: PrometheusMetrics) -> None:
    for call in (users_call(), our_call()):
        metrics.call_began(call)
        fail(call)
        metrics.call_ended(call.report())
        labels = {"direction": call.direction.value, "cause": "graph failed"}
        assert read(metrics, "whatsapp_calls_ended_total", **labels) == 1
    for name in ("answer_seconds", "call_duration_seconds", "call_loss_ratio", "call_mos"):
        assert read(metrics, f"whatsapp_{name}_count") == 0


def test_the_call_of_a_dead_process_was_never_active_here(metrics: PrometheusMetrics) -> None:
    call = users_call()
    call.apply(Signal.HANG_UP, after=0.0, cause=Cause.PROCESS_DIED)
    metrics.call_ended(call.report())
    assert read(metrics, "whatsapp_calls_active") == 0
    labels = {"direction": "inbound", "cause": "process died"}
    assert read(metrics, "whatsapp_calls_ended_total", **labels) == 1


def test_webhooks_requests_and_lag_are_counted(metrics: PrometheusMetrics) -> None:
    metrics.webhook("connect", "served")
    metrics.graph_request("accept", "200", 0.3)
    metrics.graph_request("accept", "unreachable", 10.0)
    metrics.lag(0.004)
    assert read(metrics, "whatsapp_webhooks_total", kind="connect", result="served") == 1
    requests = "whatsapp_graph_requests_total"
    assert read(metrics, requests, action="accept", status="200") == 1
    assert read(metrics, requests, action="accept", status="unreachable") == 1
    assert read(metrics, "whatsapp_graph_request_seconds_count", action="accept") == 2
    assert read(metrics, "whatsapp_event_loop_lag_seconds_sum") == pytest.approx(0.004)


def test_no_limit_is_infinite(metrics: PrometheusMetrics) -> None:
    metrics.capacity(40)
    assert read(metrics, "whatsapp_max_calls") == 40
    metrics.capacity(None)
    assert read(metrics, "whatsapp_max_calls") == math.inf


def test_two_sets_of_figures_do_not_meet(metrics: PrometheusMetrics) -> None:
    metrics.call_began(users_call())
    assert read(PrometheusMetrics(), "whatsapp_calls_active") == 0


def test_what_is_rendered_says_what_it_is(metrics: PrometheusMetrics) -> None:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    assert body.endswith(b"\n")


async def test_a_real_call_is_counted(
    metrics: PrometheusMetrics, whatsapp: WhatsApp, phone: Phone
) -> None:
    adapter = await whatsapp.serve(PlainBot(), observers=[metrics], max_calls=3)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    assert await adapter.drain(30)
    await adapter.handle("POST", {}, {}, b"unsigned")
    webhooks = "whatsapp_webhooks_total"
    assert read(metrics, webhooks, kind="CallConnect", result="served") == 1
    assert read(metrics, webhooks, kind="CallTerminate", result="served") == 1
    assert read(metrics, webhooks, kind="request", result="401") == 1
    for action in ("pre_accept", "accept"):
        assert read(metrics, "whatsapp_graph_requests_total", action=action, status="200") == 1
    assert read(metrics, "whatsapp_calls_active") == 0
    assert read(metrics, "whatsapp_answer_seconds_count") == 1
    assert read(metrics, "whatsapp_max_calls") == 3


WORKER = """
from finished_calls import answer, users_call
from pipecat_whatsapp.metrics import PrometheusMetrics
import os, sys
metrics, call = PrometheusMetrics(), users_call()
metrics.call_began(users_call())
metrics.call_began(call)
metrics.capacity(10)
answer(call)
metrics.call_ended(call.report())
print(os.getpid())
"""

READER = """
import sys
from prometheus_client.multiprocess import mark_process_dead
from pipecat_whatsapp.metrics import PrometheusMetrics
for pid in sys.argv[1:]:
    mark_process_dead(int(pid))
sys.stdout.buffer.write(PrometheusMetrics().render()[0])
"""


def python(code: str, folder: Path, *arguments: str) -> bytes:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parent,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_several_processes_are_counted_together(tmp_path: Path) -> None:
    pids = [python(WORKER, tmp_path).decode().strip() for _ in range(2)]
    rendered = python(READER, tmp_path)
    assert figure(rendered, "whatsapp_calls_active") == 2
    assert figure(rendered, "whatsapp_max_calls") == 20
    assert figure(rendered, "whatsapp_calls_started_total", direction="inbound") == 4
    assert figure(rendered, "whatsapp_call_mos_count") == 2

    rendered = python(READER, tmp_path, pids[0])
    assert figure(rendered, "whatsapp_calls_active") == 1
    assert figure(rendered, "whatsapp_calls_started_total", direction="inbound") == 4


def test_the_docs_list_every_figure_and_no_other(metrics: PrometheusMetrics) -> None:
    listed = re.findall(r"^\| `(whatsapp_\w+)", (DOCS / "observability.md").read_text(), re.M)
    assert sorted(listed) == sorted(names(metrics))


def test_the_dashboard_shows_figures_that_exist(metrics: PrometheusMetrics) -> None:
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for expression in expressions
        for name in re.findall(r"whatsapp_\w+", expression)
    }
    assert shown == names(metrics)
